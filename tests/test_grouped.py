"""Grouped experiments from plan to cross-validation: no group on both sides of anything; ungrouped ones are as they were."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from fake_members import fake_tools
from rollouts import OPTIONS, later_images
from test_changes import _answer as answer

from nnactive_ext.cli import change, plan
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.plan import Plan
from nnactive_ext.files import read_json, write_json
from nnactive_ext.loop.cycles import run_cycles
from nnactive_ext.members.cross_validation import held_out_cases
from nnactive_ext.planning.changes import drop_cases
from nnactive_ext.planning.settings import command_of

SIMULATION = (
    "-d 100 -o 902 -name Grouped -patch_size 5 5 3 -query_size 4 -starting_budget 24 -cycles 2 -folds 3 --preset cpu -np 1"
)
GROUPS = {f"tiny_{i}": f"patient {i // 2}" for i in range(8)}


def table(folder: Path, groups=GROUPS) -> Path:
    file = folder / "who.csv"
    file.write_text("case,patient\n" + "".join(f"{case},{group}\n" for case, group in groups.items()))
    return file


def planned_with(words: str) -> Experiment:
    plan.main([*SIMULATION.split(), *shlex.split(words), "--disable_progress_bar"])
    return Experiment.find(902)


def splits_of(experiment: Experiment) -> list[dict[str, list[str]]]:
    return read_json(experiment.preprocessed.folder / "splits_final.json")


def assert_apart(experiment: Experiment) -> None:
    """By the table, not by what the plan says."""
    for split in splits_of(experiment):
        assert split["train"]
        assert split["val"]
        assert {GROUPS[case] for case in split["train"]}.isdisjoint(GROUPS[case] for case in split["val"])


@pytest.fixture
def grouped(tiny, quick_planning, tmp_path) -> Experiment:
    return planned_with(f"-groups {table(tmp_path)}")


def test_a_simulation_keeps_groups_together_in_all_its_cycles(grouped):
    made = grouped.plan
    assert made.groups == GROUPS
    assert len(made.test) == 2
    assert {GROUPS[case] for case in made.test}.isdisjoint(GROUPS[case] for case in made.pool)
    assert_apart(grouped)
    run_cycles(grouped, fake_tools(classes=3), progress=False, say=lambda text: None)
    assert grouped.state["cycle"] == 1
    assert_apart(grouped)


def test_the_plan_and_its_command_tell_the_groups(grouped, tmp_path):
    assert Plan.read(grouped.raw).groups == GROUPS
    words = command_of(grouped.plan)
    assert words[words.index("-groups") + 1] == "FOLDER/who.csv"
    assert "-test" not in words
    by_pattern = replace(grouped.plan, settings={"groups": "{patient}_{time}", "test": "FOLDER/mine.txt"})
    words = command_of(by_pattern)
    assert words[words.index("-groups") + 1] == "{patient}_{time}"
    assert words[words.index("-test") + 1] == "FOLDER/mine.txt"


def test_the_same_plan_again_by_a_pattern(tiny, quick_planning):
    for file in [*tiny.glob("imagesTr/*"), *tiny.glob("labelsTr/*")]:
        number = int(file.name.split("_")[1].split(".")[0])
        file.rename(file.with_name(file.name.replace(f"tiny_{number}", f"s{number // 2}_v{number % 2}")))
    made = planned_with("-groups '{patient}_{visit}'").plan
    assert made.groups == {f"s{i // 2}_v{i % 2}": f"s{i // 2}" for i in range(8)}
    assert {case[:2] for case in made.test}.isdisjoint(case[:2] for case in made.pool)
    words = command_of(made)
    plan.main([*words[1 : words.index("-o")], "-o", "903", *words[words.index("-name") :], "--disable_progress_bar"])
    again = Experiment.find(903).plan
    assert (again.pool, again.test, again.groups) == (made.pool, made.test, made.groups)


def test_a_plan_without_groups_holds_no_new_keys_and_old_plans_are_read(planned):
    content = json.loads((planned.raw / "nnactive_plan.json").read_text())
    assert {"groups", "test_folder", "settings"}.isdisjoint(content)
    assert planned.plan.test == ("tiny_0", "tiny_2"), "the test set that it always was"
    assert planned.plan.groups == {}
    assert planned.plan.group("tiny_1") == "tiny_1"
    assert [case.name for case in planned.test_cases()] == ["tiny_0", "tiny_2"]


def test_a_bad_table_makes_nothing(tiny, quick_planning, tmp_path, nnunet_folders, capsys):
    bad = table(tmp_path, {case: group for case, group in GROUPS.items() if case != "tiny_5"})
    with pytest.raises(SystemExit) as caught:
        planned_with(f"-groups {bad}")
    assert caught.value.code == 1
    assert "tiny_5" in capsys.readouterr().err
    assert [folder.name for folder in nnunet_folders.raw.iterdir() if folder.name.startswith("Dataset9")] == []


def test_a_group_with_all_annotated_cases_is_refused_with_the_reason(tiny, quick_planning, tmp_path, nnunet_folders, capsys):
    """The starting budget's two patches are in two cases; here these are of one patient."""
    start = planned_with(f"-groups {table(tmp_path)}")
    content = read_json(start.raw / "loop_000.json")
    pool = list(start.plan.pool)
    pair = [case for case in pool if GROUPS[case] == GROUPS[pool[0]]]
    content["patches"] = [{**content["patches"][0], "file": f"{case}.nii.gz", "coords": [0, 0, 0]} for case in pair]
    write_json(tmp_path / "loop_000.json", content)
    shutil.rmtree(start.raw)
    shutil.rmtree(start.preprocessed.folder)
    with pytest.raises(SystemExit):
        planned_with(f"-groups {tmp_path / 'who.csv'} -start_from {tmp_path / 'loop_000.json'}")
    assert GROUPS[pool[0]] in capsys.readouterr().err
    assert not start.raw.exists()


def test_the_last_groups_cannot_be_dropped(grouped):
    first, second, third = (
        [case for case in grouped.plan.pool if GROUPS[case] == group]
        for group in sorted({GROUPS[c] for c in grouped.plan.pool})
    )
    before = (grouped.raw / "nnactive_plan.json").read_bytes()
    with pytest.raises(NnActiveError, match="2 groups"):
        drop_cases(grouped, "boss", [*first, *second])
    assert (grouped.raw / "nnactive_plan.json").read_bytes() == before
    assert len(third) == 2
    drop_cases(grouped, "boss", first[:1])
    after = Experiment.find(902)
    assert after.plan.groups == GROUPS, "the dropped case keeps its group"
    assert_apart(after)


def test_a_case_is_not_held_out_where_another_one_of_its_patient_was_trained_on(grouped):
    cases = [case for case in grouped.plan.pool if case in grouped.state["annotated"]]
    by_group = {GROUPS[case]: [other for other in cases if GROUPS[other] == GROUPS[case]] for case in cases}
    (one, twin), *others = [found for found in by_group.values() if len(found) == 2]
    other = others[0][0]
    write_json(grouped.preprocessed.folder / "splits_final.json", [{"train": [twin], "val": [one, other]}])
    held_out, left_out = held_out_cases(grouped, [0])
    assert held_out == {0: [other]}
    assert one in left_out
    alone = Experiment(grouped.name, planned=replace(grouped.plan, groups={}))
    assert sorted(held_out_cases(alone, [0])[0][0]) == sorted([one, other])


@pytest.fixture
def second(tmp_path):
    return later_images(tmp_path)


def changed(line: str) -> None:
    change.main(["-d", "601", "-who", "boss", *shlex.split(line), "--disable_progress_bar"])


def test_a_grouped_rollout_needs_groups_for_new_cases(rollout, second, tmp_path, capsys):
    rollout.plan(f"{OPTIONS} -groups {table(tmp_path)}")
    answer(rollout, tmp_path / "out0")
    rollout.run()
    assert_apart(rollout.experiment)
    before = (rollout.experiment.raw / "nnactive_plan.json").read_bytes()
    wrong = tmp_path / "wrong.csv"
    for text, named in (
        (None, "-groups"),
        ("tiny_8,patient 0\n", "tiny_9"),
        ("tiny_8,patient 0\ntiny_9,patient 8\ntiny_1,patient 3\n", "tiny_1"),
        ("tiny_8,Patient 0\ntiny_9,patient 8\n", "Patient 0"),
    ):
        wrong.write_text(text or "")
        with pytest.raises(SystemExit):
            changed(f"-add {second.images}" + (f" -groups {wrong}" if text else ""))
        assert named in capsys.readouterr().err
        assert (rollout.experiment.raw / "nnactive_plan.json").read_bytes() == before
    good = tmp_path / "good.csv"
    good.write_text("tiny_8;patient 0\r\ntiny_9;patient 8\r\ntiny_1;patient 0\r\n")
    changed(f"-add {second.images} -groups {good}")
    after = rollout.experiment.plan
    assert after.groups == {**GROUPS, "tiny_8": "patient 0", "tiny_9": "patient 8"}
    assert after.changes[-1]["groups"] == "FOLDER/good.csv"


def test_a_rollout_with_all_cases_in_one_group_is_refused(rollout, capsys):
    with pytest.raises(SystemExit):
        rollout.plan(f"{OPTIONS} -groups {{group}}_{{number}}")
    assert "2 groups" in capsys.readouterr().err


def test_new_cases_of_a_rollout_with_a_pattern_get_groups_by_it(rollout, second):
    rollout.plan(f"{OPTIONS} -groups tiny_{{patient}}")
    changed(f"-add {second.images}")
    assert rollout.experiment.plan.groups == {f"tiny_{i}": str(i) for i in range(10)}
    assert "groups" not in rollout.experiment.plan.changes[-1]


def test_groups_come_with_new_cases_of_grouped_rollouts_only(rollout, second, tmp_path, capsys):
    rollout.plan()
    for line, named in ((f"-add {second.images} -groups {table(tmp_path)}", "without groups"), ("-groups x.csv", "-add")):
        with pytest.raises(SystemExit):
            changed(line)
        assert named in capsys.readouterr().err
    assert len(rollout.experiment.plan.pool) == 8


def test_new_images_that_look_like_another_one_of_a_patient_are_told(rollout, second, capsys):
    for file in rollout.images.iterdir():
        file.rename(file.with_name(file.name.replace("tiny_", "s_").replace("_T", "_baseline_T")))
    rollout.plan()
    assert "several images" not in capsys.readouterr().out
    for number, name in ((8, "s_3_followup"), (9, "s_9_baseline")):
        for channel in ("T1", "T2"):
            (second.images / f"tiny_{number}_{channel}.nii.gz").rename(second.images / f"{name}_{channel}.nii.gz")
    changed(f"-add {second.images}")
    warned = capsys.readouterr().out
    assert "WARNING" in warned
    assert "s_3_followup" in warned
