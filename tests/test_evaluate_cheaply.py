"""Cheaper evaluation of the cycles before the last: which are evaluated how, what results say, and what is compared then."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fake_members import FakeEnsemble, fake_tools
from results import cycle_result, edit, write_experiment

from nnactive_ext.cli import change
from nnactive_ext.cluster.steps import EVALUATE, shares
from nnactive_ext.compare.names import Names
from nnactive_ext.compare.overall import overall
from nnactive_ext.compare.setting_tables import main_table
from nnactive_ext.compare.settings import group, with_full
from nnactive_ext.compare.summary import summarise
from nnactive_ext.compare.trajectories import read_trajectory
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.evaluating import common_inference, comparable, inferences
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.inference import NNUNET, Evaluation, Inference
from nnactive_ext.experiment.loops import loop_file
from nnactive_ext.experiment.plan import START
from nnactive_ext.experiment.result import CycleResult, InferenceScores, read_results
from nnactive_ext.files import read_json
from nnactive_ext.loop.cycles import run_cycles
from nnactive_ext.loop.stages import stages
from nnactive_ext.loop.status import all_cycles_done
from nnactive_ext.loop.tables import final_report
from nnactive_ext.planning.settings import command_of

CHEAP = Inference(mirroring=False, step=0.75)
SETTINGS = {"evaluate_mirroring": "no", "evaluate_step": 0.75}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [(NNUNET,)] * 5),
        (SETTINGS, [(CHEAP,)] * 4 + [(NNUNET, CHEAP)]),
        ({"evaluate": "last"}, [()] * 4 + [(NNUNET,)]),
        ({"evaluate": "every 3"}, [(NNUNET,), (), (), (NNUNET,), (NNUNET,)]),
        ({"evaluate": "every 2", **SETTINGS}, [(CHEAP,), (), (CHEAP,), (), (NNUNET, CHEAP)]),
    ],
)
def test_the_last_cycle_is_always_evaluated_as_nnunet_does(settings, expected):
    found = Evaluation.of(settings)
    assert [found.inferences(cycle, cycle == 4) for cycle in range(5)] == expected


@pytest.mark.parametrize(
    "settings",
    [
        *({"evaluate": words} for words in ("never", "every", "every 0", "last 2")),
        *({"evaluate_step": step} for step in (0.0, 1.1, float("nan"))),
        {"evaluate": "last", **SETTINGS},
    ],
)
def test_what_is_not_possible_is_refused(settings):
    with pytest.raises(NnActiveError, match="-evaluate"):
        Evaluation.of(settings)


class Differently(FakeEnsemble):
    """Notes with which inference each case is segmented, and says something else with each."""

    def __init__(self, experiment, seen):
        super().__init__(experiment, 3)
        self.seen = seen

    def segment(self, case, inference=None) -> np.ndarray:
        self.seen.append((self.experiment.state["cycle"], inference))
        return np.roll(super().segment(case), 0 if inference == NNUNET else 1, axis=2)


def ran(experiment, settings, say=lambda text: None, **plan):
    """The experiment after its cycles with these settings, and with which inferences each cycle was predicted."""
    replace(experiment.plan, settings=settings, **plan).write(experiment.raw)
    seen: list = []
    experiment = Experiment(experiment.name)
    tools = replace(fake_tools(classes=3), open_ensemble=lambda experiment, folds: Differently(experiment, seen))
    run_cycles(experiment, tools, progress=False, say=say)
    return Experiment(experiment.name), seen


def test_a_run_with_a_cheap_evaluation(planned):
    said: list[str] = []
    experiment, seen = ran(planned, {"evaluate": "every 2", **SETTINGS}, said.append)
    tests = len(experiment.plan.test)
    assert seen == [(0, CHEAP)] * tests + [(2, NNUNET)] * tests + [(2, CHEAP)] * tests
    first, second, last = read_results(experiment.results)
    assert [first.inferences, second.inferences, last.inferences] == [[CHEAP], [], [NNUNET, CHEAP]]
    assert second.mean_dice is None
    assert second.new_patches > 0, "what was annotated is counted in every cycle"
    assert last.as_before is not None
    assert last.as_before.mean_dice != last.mean_dice
    assert set(last.as_before.dice_per_case) == set(experiment.plan.test)
    assert all_cycles_done(experiment)
    area = (first.mean_dice + last.as_before.mean_dice) / 2
    report = final_report(experiment)
    assert f"AUBC {100 * area:.2f} %   Final Dice {100 * last.mean_dice:.2f} %" in report, "the curve is of one inference"
    assert str(CHEAP) in report
    before = len(seen)
    ran(experiment, experiment.plan.settings)
    assert len(seen) == before, "what is evaluated is not evaluated again"


@pytest.mark.slow
def test_an_experiment_that_ends_earlier_than_planned_is_evaluated_as_nnunet_does(planned):
    """Its last cycle was to be a cheap one: two of three cycles are done when the third is given up."""
    experiment, _ = ran(planned, SETTINGS, cycles=3, purpose=START)
    assert [one.inferences for one in read_results(experiment.results)] == [[CHEAP]] * 3, "of a start none is the last one"
    planned_anew = Experiment(planned.name, planned=replace(experiment.plan, purpose=""))
    assert not all_cycles_done(planned_anew)
    assert [stage.done for stage in stages(planned_anew) if stage.name == "evaluation"] == [False]
    experiment, seen = ran(experiment, SETTINGS, purpose="")
    assert read_results(experiment.results)[2].inferences == [NNUNET, CHEAP]
    assert set(seen) == {(2, NNUNET)}, "the cheap scores are there already"


def test_it_can_be_changed_between_cycles_and_the_first_command_is_kept(planned, capsys):
    change.main(["-d", "101", "-evaluate_mirroring", "no", "-evaluate", "every", "2"])
    plan = Experiment(planned.name).plan
    assert plan.evaluation == Evaluation(Inference(mirroring=False), 2)
    assert "-evaluate" not in " ".join(command_of(plan))
    words = " ".join(command_of(replace(plan, changes=())))
    assert "-evaluate every 2 -evaluate_mirroring no" in words
    with pytest.raises(SystemExit):
        change.main(["-d", "101", "-evaluate_step", "2"])
    assert "-evaluate_step" in capsys.readouterr().err
    assert Experiment(planned.name).plan == plan


def test_a_plan_without_the_settings_is_evaluated_as_it_was(planned):
    assert "evaluate" not in str(read_json(planned.raw / "nnactive_plan.json").get("settings"))
    assert planned.plan.inferences(0) == planned.plan.inferences(2) == (NNUNET,)


def test_workers_get_no_share_of_what_is_not_evaluated(trained):
    kinds = {step.kind for step in shares(trained, 4)}
    replace(trained.plan, settings={"evaluate": "last"}).write(trained.raw)
    assert {step.kind for step in shares(Experiment(trained.name), 4)} == kinds - {EVALUATE} != kinds


def test_where_the_pool_is_used_up_the_last_cycle_comes_earlier(planned):
    """The loop of cycle 0 lacks patches, so cycle 1 of 3 will not come."""
    replace(planned.plan, settings=SETTINGS).write(planned.raw)
    assert inferences(Experiment(planned.name)) == (CHEAP,)
    edit(loop_file(planned.raw, 0), missing=2)
    assert inferences(Experiment(planned.name)) == (NNUNET, CHEAP)


def result(cycle: int, dice: float | None, inference: Inference | None = NNUNET, before: float | None = None) -> CycleResult:
    """``before``: the Dice with the cheap inference of a last cycle."""
    made = replace(CycleResult.of(cycle_result(cycle, dice, ("liver",), 0.01, 20, 10)), inference=inference)
    if before is None:
        return made
    tables = {"dice_per_case": {}, "nsd_per_case": {}, "hd95_per_case": {}}
    cheap = InferenceScores(cycle=cycle, mean_dice=before, dice_per_class={"liver": before}, inference=CHEAP, **tables)
    return replace(made, as_before=cheap)


def dices(results) -> list[float | None]:
    return [one.mean_dice for one in results]


def test_a_curve_is_of_one_inference():
    curve = [result(0, 0.5, CHEAP), result(1, None, None), result(2, 0.6, CHEAP), result(3, 0.8, NNUNET, before=0.7)]
    assert dices(comparable([curve])[0]) == [0.5, None, 0.6, 0.7]
    switched = [result(0, 0.5), result(1, 0.55), result(2, 0.6, CHEAP), result(3, 0.8, NNUNET, before=0.7)]
    assert dices(comparable([switched])[0]) == [0.5, 0.55, None, 0.8], "that of most cycles"


def test_two_curves_have_their_common_cycles_and_inference():
    whole = [result(c, (5 + c) / 10) for c in range(4)]
    cheap = [*(result(c, (4 + c) / 10, CHEAP) for c in range(3)), result(3, 0.9, NNUNET, before=0.7)]
    assert common_inference([whole, cheap]) == (NNUNET, frozenset({3}))
    assert [dices(one) for one in comparable([whole, cheap])] == [[None, None, None, 0.8], [None, None, None, 0.9]]
    every = [one if one.cycle in (0, 2, 3) else result(one.cycle, None, None) for one in cheap]
    assert [dices(one) for one in comparable([cheap, every])] == [[0.4, None, 0.6, 0.7]] * 2
    begun = cheap[:2]
    assert [dices(one) for one in comparable([cheap, begun])] == [[0.4, 0.5, 0.6, 0.7], [0.4, 0.5]], "one that is not done yet"


def written(root, number: int, dice, cheap: bool, method="random", **plan):
    """A results folder whose cycles before the last are cheap, and whose last cycle has 0.05 less then."""
    folder = write_experiment(root, number, dice, method, settings=SETTINGS if cheap else {}, **plan)
    if cheap:
        for cycle in range(len(dice) - 1):
            edit(folder / f"cycle_{cycle:03d}.json", inference={"mirroring": False, "step": 0.75})
        last = folder / f"cycle_{len(dice) - 1:03d}.json"
        scores = {k: v for k, v in read_json(last).items() if k in InferenceScores.__dataclass_fields__}
        scores |= {"mean_dice": dice[-1] - 0.05, "inference": {"mirroring": False, "step": 0.75}}
        edit(last, as_before={**scores, "nsd_per_case": {}, "hd95_per_case": {}})
    return read_trajectory(folder)


def test_methods_that_were_evaluated_alike_are_compared_by_one_inference(tmp_path):
    cheap = [written(tmp_path, 501, [0.5, 0.6, 0.8], True), written(tmp_path, 502, [0.5, 0.7, 0.9], True, "bald")]
    (setting,) = group(cheap).settings
    full = written(tmp_path, 503, [0.95], True, purpose="all labels")
    found = summarise(with_full(setting, [full]))
    assert setting.inference == CHEAP
    random = found.get("random")
    assert random.aubc.mean == pytest.approx((0.5 / 2 + 0.6 + 0.75 / 2) / 2)
    assert random.final.mean == pytest.approx(0.8), "as nnU-Net evaluates it"
    assert found.full.mean_dice.mean == pytest.approx(0.9), "what curves are measured by is of their inference"
    assert found.full.final.mean == pytest.approx(0.95), "and what Final Dice stands beside is nnU-Net's"


def test_all_labels_evaluated_as_nnunet_does_stand_beside_final_dice_alone(tmp_path):
    cheap = [written(tmp_path, 501, [0.5, 0.6, 0.8], True)]
    (setting,) = group(cheap).settings
    found = summarise(with_full(setting, [written(tmp_path, 503, [0.9], False, purpose="all labels")]))
    assert found.full.final.mean == pytest.approx(0.9)
    assert not found.full.mean_dice.n, "it was not evaluated as the curves were"
    method = found.get("random")
    assert method.efficiency is None
    assert not method.targets
    notes = " ".join(main_table(found, Names.of([setting])).notes)
    assert "no result" not in notes
    assert "not evaluated as the curves were" in notes


def test_methods_that_were_evaluated_differently_are_compared_in_the_last_cycle(tmp_path):
    mixed = [written(tmp_path, 501, [0.5, 0.6, 0.8], True), written(tmp_path, 502, [0.5, 0.7, 0.9], False, "bald")]
    (setting,) = group(mixed).settings
    found = summarise(setting)
    assert setting.inference == NNUNET
    assert [found.get(name).final.mean for name in ("random", "bald")] == pytest.approx([0.8, 0.9])
    assert [t.budgets for t in setting.trajectories] == [[40], [40]]
    assert not any(found.get(name).aubc.n or found.get(name).targets for name in ("random", "bald")), "one cycle is no curve"
    made = overall([found])
    assert [ranking.metric for ranking in made.rankings] == ["final"]
