"""What changed an experiment beside its plan is told and repeated: environment variables, points, structures."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest
import report_facts
from fake_members import fake_train
from printed import understood
from results import write_experiment
from rollout_states import POINTS

from nnactive_ext.cli import status
from nnactive_ext.cli.plan import parser
from nnactive_ext.compare.compare import compare
from nnactive_ext.experiment.environment import Environment, observe
from nnactive_ext.experiment.marks import ENVIRONMENTS, MEMBER, read_mark
from nnactive_ext.experiment.observed import differences
from nnactive_ext.files import write_json
from nnactive_ext.members.ensemble import fold_folder
from nnactive_ext.planning.settings import command_of
from nnactive_ext.report.facts import gather
from nnactive_ext.report.section_settings import commands

ITERATIONS = "nnactive_iterations_per_epoch"


def trained(experiment, fold: int, **variables: str) -> None:
    """A member as a training with these variables leaves it."""
    fake_train(experiment, fold)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        seen = observe("cpu", training=True)
    folder = fold_folder(experiment, fold)
    write_json(folder / MEMBER, {**read_mark(folder), ENVIRONMENTS: [vars(seen)]})


@pytest.mark.parametrize(("name", "value"), [(ITERATIONS, "8"), ("nnactive_val_iterations_per_epoch", "3")])
def test_members_trained_with_a_variable(planned, capsys, name, value):
    for fold in range(3):
        trained(planned, fold, **{name: value})
    status.main(["-d", "101"])
    printed = capsys.readouterr().out
    assert f"{name}={value}" in printed
    assert "not all of this experiment" not in printed, "all members had the same"
    assert f"export {name}={value}" in "\n".join(commands(gather(planned, None, 0)))


def test_a_variable_that_one_member_had(planned, capsys):
    trained(planned, 0, **{ITERATIONS: "8"})
    trained(planned, 1)
    status.main(["-d", "101"])
    assert f"{ITERATIONS}: 8 (fold 0 of cycle 0); not set (fold 1 of cycle 0)" in " ".join(capsys.readouterr().out.split())


def test_members_of_earlier_versions_tell_nothing_about_variables():
    old = Environment.of({"versions": {"torch": "2"}, "device": "cpu"})
    new = Environment.of({"versions": {"torch": "2"}, "device": "cpu", "variables": {ITERATIONS: "8"}})
    assert old is not None
    assert new is not None
    assert differences([("fold 0", old), ("fold 1", new)]) == []
    assert new.variables == {ITERATIONS: "8"}


def test_a_comparison_tells_of_members_with_fewer_iterations(tmp_path):
    def trained_so(**variables: str) -> dict[str, object]:
        member = {"what": "fold 0 of cycle 0", "versions": {}, "device": "cpu", "variables": variables}
        return {"environments": [member]}

    folders = [
        write_experiment(tmp_path, 501, (0.4, 0.5), record=trained_so(**{ITERATIONS: "8"})),
        write_experiment(tmp_path, 502, (0.4, 0.5), "bald", record=trained_so()),
        write_experiment(tmp_path, 503, (0.4, 0.5), "power_bald"),
    ]
    compare(folders, tmp_path / "out")
    text = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    (told,) = [line for line in text.splitlines() if "iterations" in line]
    assert "8 in " in told
    assert "not set in " in told
    assert "503" not in told


def test_only_trainings_are_asked_for_variables(monkeypatch):
    monkeypatch.setenv(ITERATIONS, "5")
    assert observe("cpu").variables is observe().variables is None
    assert observe("cpu", training=True).variables == {ITERATIONS: "5"}


def test_structures_and_points_are_repeated(rollout, tmp_path):
    options = "--labels organ lesion -channels T1 T2 -structures lesion=6x5x4 organ=9 --hard lesion -cycles 3 -folds 2"
    experiment = rollout.plan(f"{options} --preset cpu -np 1 --disable_progress_bar -query_size 4 -starting_budget 6")
    texts = {"first": POINTS, "second": POINTS + "tiny_4,lesion,8,13,12\n"}
    for name, text in texts.items():
        (tmp_path / f"{name}.csv").write_text(text)
        rollout.annotate(f"points {tmp_path / name}.csv")
    rollout.annotate(f"points {tmp_path / 'first.csv'}")
    words = command_of(experiment.plan, labels=["organ", "lesion"], channels=["T1", "T2"])
    read = parser().parse_args(words[1:])
    assert (read.structures, read.hard) == (["lesion=6x5x4", "organ=9"], ["lesion"])
    lines = commands(gather(rollout.experiment, None, 0))
    (points,) = [line for line in lines if line.startswith("nnactive_annotate points")]
    typed = shlex.split(points.partition("   #")[0])
    assert sorted(typed[4:]) == ["FOLDER/first.csv", "FOLDER/second.csv"]
    kept = points.rpartition("kept as ")[2].split(", ")
    assert [(experiment.annotation / file).read_text() for file in kept] == list(texts.values())
    assert understood("\n".join(lines).replace("\\\n", " "))


def test_a_plan_without_structures_names_none():
    assert "-structures" not in command_of(replace(report_facts.facts().plan, annotator="human"))
