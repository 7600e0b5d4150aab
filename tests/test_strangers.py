"""Simulations whose pool holds cases that do not belong: they leave it once a patch of them is asked for."""

from __future__ import annotations

import shlex

import pytest
from fake_members import fake_tools
from printed import understood

from nnactive_ext.bench.clone import clone
from nnactive_ext.cli import change, plan, status
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import loop_file, read_loop
from nnactive_ext.experiment.plan import PLAN_FILE
from nnactive_ext.files import read_json
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.precision import Precision, advice, precision_by_cycle
from nnactive_ext.labelling.verdicts import irrelevant_cases, verdicts
from nnactive_ext.loop.cycles import run_cycles

WORDS = (
    "-d 100 -o 102 -patch_size 5 5 3 -starting_budget 6 -query_size 4 -cycles 3 -folds 2 --preset cpu -np 1 --method random "
    "--disable_progress_bar"
)


def planned_with(tmp_path, strangers, *more: str) -> Experiment:
    file = tmp_path / "strangers.txt"
    file.write_text("\n".join(strangers) + "\n")
    plan.main([*WORDS.split(), "-irrelevant", str(file), *more])
    return Experiment.find(102)


def asked(experiment: Experiment) -> list[list[str]]:
    ending, last = experiment.dataset.file_ending, experiment.last_loop
    return [[patch.case for patch in read_loop(loop_file(experiment.raw, c), ending)] for c in range(last + 1)]


@pytest.mark.slow
def test_a_stranger_leaves_the_pool_when_it_is_asked_for(tiny, quick_planning, tmp_path, capsys):
    strangers = ("tiny_2", "tiny_5")
    experiment = planned_with(tmp_path, strangers)
    assert not set(strangers) & set(experiment.plan.test)
    run_cycles(experiment, fake_tools(classes=3), progress=False, say=lambda text: None)
    experiment = Experiment.find(102)
    cycles = asked(experiment)
    met = {case for cycle in cycles for case in cycle} & set(strangers)
    assert met, "choose another seed"
    assert set(experiment.plan.called_irrelevant) == met == irrelevant_cases(experiment)
    first = {case: next(number for number, cycle in enumerate(cycles) if case in cycle) for case in met}
    assert {one.case: one.cycle for one in verdicts(experiment)} == first
    for case in met:
        assert all(case not in cycle for cycle in cycles[first[case] + 1 :]), "it is not asked for again"
        assert case not in experiment.state["annotated"]
    capsys.readouterr()
    status.main(["-d", "102"])
    assert f"Pool: {len(experiment.plan.pool)} cases, {len(met)} irrelevant" in capsys.readouterr().out
    found = precision_by_cycle(experiment)
    relevant = [case for case in (*experiment.plan.pool, *experiment.plan.dropped) if case not in strangers]
    seen: set[str] = set()
    for one, cases in zip(found, cycles, strict=True):
        seen |= set(cases) - set(strangers)
        wrong = sum(case in strangers for case in cases)
        assert one == Precision(one.cycle, len(cases), wrong, len(seen), len(relevant))
    capsys.readouterr()
    status.main(["-d", "102"])
    assert found[0].words in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_killed_between_verdict_and_pool_the_next_run_goes_on(tiny, quick_planning, tmp_path, monkeypatch):
    experiment = planned_with(tmp_path, ("tiny_0", "tiny_2", "tiny_5"))
    tools = fake_tools(classes=3)

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nnactive_ext.labelling.strangers.drop", killed)
        with pytest.raises(KeyboardInterrupt):
            run_cycles(experiment, tools, progress=False, say=lambda text: None)
    events = list(Ledger(experiment.annotation).events())
    run_cycles(Experiment.find(102), tools, progress=False, say=lambda text: None)
    after = list(Ledger(experiment.annotation).events())
    assert after[: len(events)] == events
    assert len({event["case"] for event in after}) == len(after), "each is said once"
    assert set(Experiment.find(102).plan.called_irrelevant) == {event["case"] for event in after}


@pytest.mark.slow
def test_an_experiment_that_begins_with_the_cycle_0_of_another_knows_its_verdicts(tiny, quick_planning, tmp_path):
    strangers = ("tiny_0", "tiny_2", "tiny_5")
    experiment = planned_with(tmp_path, strangers, "-cycles", "1")
    run_cycles(experiment, fake_tools(classes=3), progress=False, say=lambda text: None)
    start = Experiment.find(102)
    assert start.plan.called_irrelevant, "choose another seed"
    copied = clone(start, 103, {"dataset": "Dataset103_Tiny", "cycles": 3})
    assert verdicts(copied) == verdicts(start)
    run_cycles(copied, fake_tools(classes=3), progress=False, say=lambda text: None)
    assert set(start.plan.called_irrelevant) <= irrelevant_cases(copied.anew()) == set(copied.anew().plan.called_irrelevant)


@pytest.mark.slow
def test_the_first_query_does_not_know_the_strangers(tiny, quick_planning, tmp_path):
    """It is byte for byte that of an experiment without any, and so are the labels of all other cases."""
    test = tmp_path / "test.txt"
    test.write_text("tiny_1\ntiny_7\n")
    plan.main([*WORDS.replace("-o 102", "-o 103").split(), "-test", str(test)])
    experiment, other = planned_with(tmp_path, ("tiny_2", "tiny_5"), "-test", str(test)), Experiment.find(103)
    assert loop_file(experiment.raw, 0).read_bytes() == loop_file(other.raw, 0).read_bytes()
    for case in experiment.plan.pool:
        name = f"labelsTr/{case}.nii.gz"
        assert (experiment.raw / name).read_bytes() == (other.raw / name).read_bytes()


def test_without_strangers_there_is_no_trace_of_them(planned):
    assert not planned.annotation.exists()
    assert "irrelevant" not in read_json(planned.raw / PLAN_FILE)
    assert precision_by_cycle(planned) == []


def test_precision_and_recall_of_a_cycle(planned):
    one = Precision(2, 40, 7, 3, 12)
    assert one.precision == pytest.approx(0.825)
    assert one.recall == pytest.approx(0.25)
    assert one.words == "7 of 40 patches of cycle 2 were irrelevant (precision 82.5 %, recall 25.0 %)"
    assert Precision(0, 1, 1).words == "1 of 1 patch of cycle 0 was irrelevant (precision 0.0 %)"
    assert advice(planned, [Precision(0, 3, 2), Precision(1, 3, 1)]) == "", "a third of the last cycle is not more than a third"
    commands = understood(advice(planned, [Precision(1, 5, 2)]))
    assert [shlex.split(line)[0] for line in commands] == ["nnactive_screen", "nnactive_change"]
    change.main(shlex.split(commands[1])[1:])
    assert Experiment.find(101).plan.settings["screen"] == 0.5
    assert len(understood(advice(Experiment.find(101), [Precision(1, 5, 2)]))) == 1, "it is set already"


def test_the_test_set_holds_no_stranger(tiny, tmp_path):
    test = tmp_path / "test.txt"
    test.write_text("tiny_1\ntiny_2\n")
    file = tmp_path / "strangers.txt"
    file.write_text("tiny_2\n")
    with pytest.raises(SystemExit):
        plan.main([*WORDS.split(), "-irrelevant", str(file), "-test", str(test)])
