"""Comparing experiments: how they are found and grouped, and how what is missing is shown."""

from __future__ import annotations

import csv
import os
import random
import shutil
from importlib import import_module
from pathlib import Path

import pytest
from fake_members import fake_tools
from hypothesis import given, settings
from hypothesis import strategies as st
from results import ALL, POOL, edit, write_benchmark, write_experiment

from nnactive_ext.cli import compare as command
from nnactive_ext.compare.compare import compare
from nnactive_ext.compare.figures_curves import learning_curves
from nnactive_ext.compare.names import Names
from nnactive_ext.compare.settings import group
from nnactive_ext.compare.sources import results_folders
from nnactive_ext.compare.summary import summarise
from nnactive_ext.compare.trajectories import read_trajectories
from nnactive_ext.experiment.record import read_record
from nnactive_ext.loop.cycles import run_cycles

CURVE = (0.4, 0.5, 0.6)


@pytest.fixture(autouse=True)
def without_figures(request, monkeypatch):
    """Figures take longer than all else; only tests that are about them draw them."""
    if "figures" not in request.node.name:
        monkeypatch.setattr(import_module("nnactive_ext.compare.compare"), "_draw", lambda *_: {})


def quiet(text: str) -> None:
    pass


def rows(out: Path, name: str) -> list[dict[str, str]]:
    with open(out / "tables" / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def written(folders, out: Path, **options) -> str:
    return compare(folders, out, quiet, **options).read_text(encoding="utf-8")


# Which experiments are meant


def test_folders_names_numbers_and_patterns_mean_the_same(nnunet_folders, monkeypatch):
    folder = write_experiment(nnunet_folders.results, 501, CURVE)
    words = ["501", "Dataset501_X", str(folder), str(folder.parent), "Dataset50*", str(folder.parent / "nn*")]
    for word in words:
        assert [found.resolve() for found in results_folders([word], quiet)] == [folder.resolve()], word
    monkeypatch.chdir(nnunet_folders.results)
    assert results_folders(["Dataset501_X", "*501*"], quiet) == [Path("Dataset501_X/nnactive")] * 2


def test_a_folder_counts_once_however_often_it_is_given(tmp_path):
    folder = write_experiment(tmp_path, 501, CURVE)
    (tmp_path / "link").symlink_to(folder.parent)
    assert len(read_trajectories([folder, tmp_path / "link" / "nnactive", Path(os.path.relpath(folder))])) == 1


def test_what_a_pattern_matches_and_is_no_experiment_is_left_out(nnunet_folders):
    folder = write_experiment(nnunet_folders.results, 501, CURVE)
    (nnunet_folders.results / "Dataset502_Plain" / "nnUNetTrainer__nnUNetPlans__3d_fullres").mkdir(parents=True)
    told: list[str] = []
    assert results_folders(["Dataset50*"], told.append) == [folder]
    assert "Dataset502_Plain" in told[0]
    assert "501" not in told[0]


def test_a_real_run_and_one_of_an_earlier_version(planned, tmp_path):
    """Written by the real code, with members that cost nothing; the copy stands for another machine."""
    run_cycles(planned, fake_tools(classes=3), progress=False, say=quiet)
    copy = Path(shutil.copytree(planned.results, tmp_path / "copied"))
    (planned.results / "experiment.json").unlink()
    found = results_folders([str(planned.number)], quiet)
    assert (planned.results / "experiment.json").read_bytes() == (copy / "experiment.json").read_bytes()
    queries = read_record(copy)["queries"]
    assert [(query["cycle"], query["method"], query["seed"]) for query in queries] == [
        (cycle, planned.plan.method, planned.plan.seed) for cycle in (1, 2)
    ]
    assert all(query["options"] == planned.plan.method_options for query in queries)
    assert all(len(query["members"]) == planned.plan.folds for query in queries)
    text = written(found, tmp_path / "out")
    assert text == written([copy], tmp_path / "other")
    points = rows(tmp_path / "out", "trajectories")
    assert [point["patches"] for point in points] == ["6", "10", "14"]
    assert {point["method"] for point in points} == {planned.plan.method}
    assert all(0 <= float(point["mean_dice"]) <= 1 for point in points)
    queried = [row for row in rows(tmp_path / "out", "queries") if row["label"] == "lesion"]
    assert [row["cycle"] for row in queried] == ["0", "1", "2"]
    assert rows(tmp_path / "out", "summary")[0]["seeds_complete"] == "1"


def test_a_planned_experiment_that_never_ran_is_shown(planned, tmp_path):
    text = written(results_folders([planned.name], quiet), tmp_path / "out")
    assert "no cycle 0" in text
    assert rows(tmp_path / "out", "trajectories")[0]["mean_dice"] == ""


# Settings


def test_what_makes_a_setting(tmp_path):
    write = [
        {},
        {"method": "bald"},
        {"seed": 2},
        {"query_size": 20},
        {"starting_budget": 40},
        {"patch_size_mm": [3, 3, 3]},
        {"source": "Dataset005_Hippocampus", "method": "clasp_pe"},
    ]
    folders = [write_experiment(tmp_path, 500 + i, CURVE, **changes) for i, changes in enumerate(write)]
    grouped = group(read_trajectories(folders))
    assert {setting.name: len(setting.trajectories) for setting in grouped.settings} == {
        "Organs, 6 x 6 x 6 mm, 20 + 10 patches": 3,
        "Organs, 6 x 6 x 6 mm, 20 + 20 patches": 1,
        "Organs, 6 x 6 x 6 mm, 40 + 10 patches": 1,
        "Organs, 3 x 3 x 3 mm, 20 + 10 patches": 1,
        "Hippocampus": 1,
    }


def test_datasets_of_one_name_keep_their_numbers(tmp_path):
    folders = [write_experiment(tmp_path, 500 + i, CURVE, source=f"Dataset00{i}_Organs") for i in range(2)]
    assert [setting.name for setting in group(read_trajectories(folders)).settings] == [
        "Dataset000_Organs",
        "Dataset001_Organs",
    ]


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6))
def test_the_order_of_folders_does_not_matter(ordered, seed):
    folders, text, out = ordered
    shuffled = random.Random(seed).sample(folders, len(folders))
    assert written(shuffled + shuffled[:3], out) == text


@pytest.fixture(scope="module")
def ordered(tmp_path_factory):
    root = tmp_path_factory.mktemp("ordered")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(import_module("nnactive_ext.compare.compare"), "_draw", lambda *_: {})
        methods = {"random": 0.2, "clasp_pe": 0.5, "bald": 0.3}
        folders = write_benchmark(root / "results", methods, (1, 2), ("Dataset004_Organs", "Dataset005_H"), cycles=3)
        return folders, written(folders, root / "first"), root / "out"


def test_starts_are_left_out_and_counted(tmp_path):
    folders = [write_experiment(tmp_path, 501, CURVE), write_experiment(tmp_path, 502, CURVE[:1], purpose="start")]
    assert "1 experiment with only the cycle 0 of others left out" in written(folders, tmp_path / "out")
    assert len(rows(tmp_path / "out", "summary")) == 1


def test_all_labels_belong_where_all_else_is_equal(tmp_path):
    own = write_experiment(tmp_path, 501, CURVE)
    fits = [write_experiment(tmp_path, 510 + i, [dice], seed=i, purpose=ALL) for i, dice in enumerate((0.8, 0.9))]
    other = write_experiment(tmp_path, 520, [0.99], purpose=ALL, trainer="nnActiveTrainer_5epochs")
    text = written([own, *fits, other], tmp_path / "out")
    (row,) = rows(tmp_path / "out", "summary")
    assert float(row["full_dice"]) == pytest.approx(0.85)
    assert row["full_n"] == "2"
    assert "Dataset520\\_X" in text.split("Warnings")[1].split("##")[0]


def test_all_labels_without_a_case_are_the_goal_of_those_that_dropped_it(tmp_path):
    left = {case: POOL[case] for case in list(POOL)[1:]}
    dropped = [{"what": "dropped", "before": None, "after": ["case_0"], "after_cycle": 0}]
    own = write_experiment(tmp_path, 501, CURVE, pool=left, changes=dropped, pool_foreground_voxels=0)
    late = write_experiment(tmp_path, 510, [0.8], purpose=ALL, pool=left, changes=dropped)  # trained with the case
    written([own, late], tmp_path / "out")
    assert rows(tmp_path / "out", "summary")[0]["full_n"] == "0"
    planned = write_experiment(tmp_path, 511, [0.9], purpose=ALL, pool=left)
    text = written([own, late, planned], tmp_path / "out")
    assert rows(tmp_path / "out", "summary")[0]["full_n"] == "1"
    assert "Dataset510\\_X" in text.split("Warnings")[1].split("##")[0]


# What is missing


def found(folders):
    (setting,) = group(read_trajectories(folders)).settings
    return {method.method: method for method in summarise(setting).methods}


def test_fewer_cycles_are_shown_and_not_ranked(tmp_path):
    folders = [
        write_experiment(tmp_path, 500 + i, CURVE, m, s) for i, (m, s) in enumerate([("a", 1), ("a", 2), ("b", 2), ("c", 1)])
    ]
    folders += [write_experiment(tmp_path, 510, CURVE[:2], "b", 1, cycles=3), write_experiment(tmp_path, 511, CURVE, "c", 2)]
    folders.append(write_experiment(tmp_path, 512, CURVE[:2], "short", 1, cycles=3))
    summaries = found(folders)
    assert summaries["a"].missing == {}
    assert summaries["b"].seeds == (2,)
    assert "2 of 3 cycles" in summaries["b"].missing[1]
    assert (summaries["short"].final.n, summaries["short"].aubc.n) == (0, 0)
    assert summaries["short"].missing[2] == "no experiment"
    text = written(folders, tmp_path / "out")
    assert "2 of 3 cycles" in text
    assert "short is not ranked: it is not complete in Organs" in text
    assert "Organs: seed 2; seed 1 is left out, for b lacks it" in text
    assert {row["method"] for row in rows(tmp_path / "out", "averages")} == {"a", "b", "c"}
    assert "no ranks, and no tests of them" in text, "all three share one seed only"
    assert not (tmp_path / "out" / "tables" / "ranks.csv").exists()
    incomplete = [row for row in rows(tmp_path / "out", "trajectories") if row["experiment"] == "Dataset510_X"]
    assert len(incomplete) == 2
    assert all("2 of 3 cycles" in row["incomplete"] for row in incomplete)


def test_failed_seeds_gaps_and_pools_that_are_used_up(tmp_path):
    folders = [write_experiment(tmp_path, 500, (0.4, 0.5, 0.6, 0.7), "a")]
    folders.append(write_experiment(tmp_path, 501, (None,) * 4, "failed"))
    folders.append(write_experiment(tmp_path, 502, (0.4, None, 0.6, 0.7), "gap"))
    folders.append(write_experiment(tmp_path, 503, (None, 0.5, 0.6), "without start"))
    folders.append(write_experiment(tmp_path, 504, (0.4, 0.5), "planned so", cycles=2))
    missed = {"queries": [{"cycle": 2, "patches": 4, "missing": 6}]}
    used_up = write_experiment(tmp_path, 505, (0.4, 0.5, 0.6), "used up", cycles=4, record=missed)
    fewer = write_experiment(tmp_path, 506, (0.4, 0.5, 0.6), "fewer", cycles=4)  # for a reason that is not told
    for folder in (used_up, fewer):
        edit(folder / "cycle_002.json", patches=34)
    summaries = found([*folders, used_up, fewer])
    why = {method: summary.missing.get(1, "") for method, summary in summaries.items()}
    assert why["a"] == ""
    assert "no cycle 0" in why["failed"]
    assert "cycle 1 is missing, although cycle 2 is there" in why["gap"]
    assert "no cycle 0" in why["without start"]
    assert "although cycle 1 is there" in why["without start"]
    assert "2 of 4 cycles (2 were planned)" in why["planned so"]
    assert "pool was used up: 34 patches" in why["used up"]
    assert "used up" not in why["fewer"]
    assert why["fewer"].startswith("3 of 4 cycles")
    assert all(summaries[method].final.n == 0 for method in why if method != "a")
    text = written([*folders, used_up], tmp_path / "out")
    assert "34 patches" in text
    assert "-cycles" not in text, "some have cycle 0 alone"


def test_all_as_far_as_each_other_but_not_as_planned(tmp_path):
    folders = [write_experiment(tmp_path, 501, CURVE, cycles=5), write_experiment(tmp_path, 502, CURVE, "bald", cycles=5)]
    text = written(folders, tmp_path / "out")
    assert "3 of 5 cycles" in text
    assert all(row["final_n"] == "1" for row in rows(tmp_path / "out", "summary"))


def test_a_benchmark_half_way_through(tmp_path):
    folders = [write_experiment(tmp_path, 501, (0.4, 0.5, 0.6))]
    folders += [
        write_experiment(tmp_path, 510 + i, (0.4, 0.5), m, s, cycles=3)
        for i, (m, s) in enumerate([("random", 2), ("b", 1), ("b", 2)])
    ]
    text = written(folders, tmp_path / "out")
    assert "No method has two complete seeds" in text
    assert "-cycles 2 compares them that far" in text
    assert rows(tmp_path / "out", "ppm") == []
    assert "needs two methods with three seeds in common" in written(folders, tmp_path / "out", cycles=2)


def test_the_first_cycles_only(tmp_path):
    folders = [write_experiment(tmp_path, 501, CURVE), write_experiment(tmp_path, 502, CURVE[:2], "bald", cycles=3)]
    written(folders, tmp_path / "out", cycles=2)
    assert [float(row["final_mean"]) for row in rows(tmp_path / "out", "summary")] == [0.5, 0.5]


def test_the_first_cycles_have_the_seed_they_were_made_with(tmp_path):
    changed = [{"what": "seed", "before": 1, "after": 2, "after_cycle": 1}]
    folder = write_experiment(tmp_path, 501, CURVE, seed=2, changes=changed)
    for cycles, seed in ((1, "1"), (2, "1"), (3, "2")):
        text = written([folder], tmp_path / "out", cycles=cycles)
        assert {row["seed"] for row in rows(tmp_path / "out", "trajectories")} == {seed}
        assert ("the seed of" in text) == (cycles == 3)


def test_budgets_that_part_at_the_end_are_compared_as_far_as_they_agree(tmp_path):
    folders = [write_experiment(tmp_path, 500 + i, CURVE, method) for i, method in enumerate(("a", "b"))]
    edit(folders[0] / "cycle_002.json", patches=36)
    assert "-cycles 2 compares them that far" in written(folders, tmp_path / "out")


def test_classes_without_a_value_are_told_and_left_out(tmp_path):
    never = {"liver": 0.5, "tumour": None}
    folder = write_experiment(tmp_path, 501, [never, never])
    text = written([folder], tmp_path / "out")
    assert "no test case has the class tumour" in text
    assert rows(tmp_path / "out", "summary")[0]["final_mean"] == "0.5"
    sometimes = write_experiment(tmp_path, 502, [never, {"liver": 0.5, "tumour": 0.1}], "bald")
    text = written([folder, sometimes], tmp_path / "out")
    assert "leaves out tumour in cycle 0 of Dataset502\\_X, cycle 0 of Dataset501\\_X, cycle 1 of Dataset501\\_X" in text
    tumour = [row for row in rows(tmp_path / "out", "per_class") if row["class"] == "tumour"]
    assert [(row["dice"], row["cases"]) for row in tumour] == [("", "0"), ("0.1", "2"), ("", "0"), ("", "0")]


def test_a_full_dice_over_other_classes_is_no_goal(tmp_path):
    """A class that no test case has counts as 0 where it is predicted, and not at all where it is not."""
    made_up = [{"liver": dice, "tumour": 0.0} for dice in (0.4, 0.5, 0.6)]
    folders = [write_experiment(tmp_path, 501, made_up)]
    folders.append(write_experiment(tmp_path, 510, [{"liver": 0.9, "tumour": None}], purpose=ALL))
    text = written(folders, tmp_path / "out")
    assert "leaves out tumour in cycle 0 of Dataset510\\_X" in text
    assert "FG-Eff of random: The mean Dice of its cycles, or that on all labels, leaves out a class" in text
    (row,) = rows(tmp_path / "out", "summary")
    assert (row["fg_eff"], row["full_dice"]) == ("", "0.9")
    assert (row["budget_to_95_percent"], row["budget_to_99_percent"]) == ("", "")


def test_classes_that_not_every_test_case_has_are_told(tmp_path):
    folder = write_experiment(tmp_path, 501, CURVE)
    for cycle in range(3):
        edit(folder / f"cycle_{cycle:03d}.json", cases_per_class={"liver": 2, "tumour": 1})
    text = written([folder], tmp_path / "out")
    assert "Dice of tumour rests on 1 of 2 test cases" in text
    assert "Dice of liver" not in text


def test_distances_left_out_are_counted_as_what_they_are(tmp_path):
    folder = write_experiment(tmp_path, 501, CURVE)
    counts = {"liver": {"nsd": 2, "hd95": 1, "infinite": 1}, "tumour": {"nsd": 2, "hd95": 0, "infinite": 2}}
    edit(folder / "cycle_002.json", surface_cases_per_class=counts)
    assert "leaves out 3 of 4 distances" in written([folder], tmp_path / "out")


def test_a_cycle_in_which_nothing_has_a_value(tmp_path):
    nothing = {"liver": None, "tumour": None}
    folders = [write_experiment(tmp_path, 501, CURVE), write_experiment(tmp_path, 502, [0.4, nothing, 0.5], "bald")]
    assert "no mean Dice in cycle 1" in found(folders)["bald"].missing[1]
    written(folders, tmp_path / "out")


def test_nothing_but_failures(tmp_path):
    folders = [write_experiment(tmp_path, 500 + i, (None, None), method) for i, method in enumerate(("a", "b"))]
    text = written(folders, tmp_path / "out")
    assert text.count("no cycle 0") >= 2
    assert "no ranks" in text


def test_one_seed_claims_nothing(tmp_path):
    folders = write_benchmark(
        tmp_path / "r", {"a": 0.2, "b": 0.3, "c": 0.4}, (1,), ("Dataset004_O", "Dataset005_P", "Dataset006_Q")
    )
    text = written(folders, tmp_path / "out")
    assert "One seed only" in text
    assert not any(word in text for word in ("Friedman", "Nemenyi's", "paired t-test", "mean rank"))
    names = {path.name for path in (tmp_path / "out" / "tables").iterdir()}
    assert not names & {"ranks.csv", "nemenyi.csv", "kendall.csv", "nemenyi_aubc.tex"}
    assert rows(tmp_path / "out", "ppm") == []
    assert all(row["final_std"] == "" for row in rows(tmp_path / "out", "summary"))


def test_two_methods_or_one_setting_are_too_few_for_friedman(tmp_path):
    two = write_benchmark(tmp_path / "two", {"a": 0.2, "b": 0.5}, (1, 2, 3), ("Dataset004_O", "Dataset005_P"))
    assert "at least 3 methods, not 2" in written(two, tmp_path / "out")
    assert rows(tmp_path / "out", "ppm")
    one = write_benchmark(tmp_path / "one", {"a": 0.2, "b": 0.5, "c": 0.6}, (1, 2))
    text = written(one, tmp_path / "out")
    assert "at least 2 settings" in text
    assert "It takes two settings" in text


def test_a_single_experiment(tmp_path):
    text = written([write_experiment(tmp_path, 501, CURVE)], tmp_path / "out")
    assert "1 setting, 1 method (random), 1 seed (1)" in text
    assert "no experiment on all labels (nnactive\\_plan --all\\_labels, or nnactive\\_bench)" in text


def test_files_of_an_older_version(tmp_path):
    folders = [write_experiment(tmp_path, 501, CURVE, old=True), write_experiment(tmp_path, 502, CURVE, "bald", old=True)]
    written(folders, tmp_path / "out")
    (first, _) = rows(tmp_path / "out", "summary")
    assert (first["nsd_n"], first["hd95_n"], first["final_n"]) == ("0", "0", "1")


def test_surface_metrics_of_different_tolerances_are_left_out(tmp_path):
    folders = [write_experiment(tmp_path, 501, CURVE), write_experiment(tmp_path, 502, CURVE, "bald", old=True)]
    assert "tolerances differ: none, 3 mm" in written(folders, tmp_path / "out")
    assert {row["nsd_n"] for row in rows(tmp_path / "out", "summary")} == {"0"}


def test_numbers_of_cycles_planned_at_first_that_differ_are_a_warning(tmp_path):
    extended = [{"what": "cycles", "before": 3, "after": 9, "after_cycle": 2}]
    folders = [
        write_experiment(tmp_path, 501, CURVE, "clasp_pe", 1, cycles=9, changes=extended),
        write_experiment(tmp_path, 502, CURVE, "clasp_pe", 2, cycles=3),
        write_experiment(tmp_path, 503, CURVE, "bald", 1, cycles=3),
    ]
    assert "planned with different numbers" not in written(folders, tmp_path / "out")
    folders[2] = write_experiment(tmp_path, 504, CURVE, "bald", 1, cycles=10)
    text = written(folders, tmp_path / "out", cycles=3)  # which does not make schedules shorter
    shown = "(3 in Dataset501\\_X, Dataset502\\_X; 10 in Dataset504\\_X)"
    assert f"methods were planned with different numbers of cycles {shown}" in text
    folders.append(write_experiment(tmp_path, 505, CURVE, "bald", 2, cycles=3))
    text = written(folders, tmp_path / "out", cycles=3)
    assert "the seeds of bald were planned with different numbers of cycles (3 in Dataset505\\_X; 10 in Dataset504\\_X)" in text
    assert "the seeds of clasp" not in text


def test_versions_that_differ_are_a_warning(tmp_path):
    folders = [write_experiment(tmp_path, 501, CURVE)]
    folders.append(write_experiment(tmp_path, 502, CURVE, "bald", versions={"nnunetv2": "2.9", "torch": "2.9.0"}))
    text = written(folders, tmp_path / "out")
    assert "versions of nnunetv2 differ: 2.8.1 in Dataset501\\_X; 2.9 in Dataset502\\_X" in text
    assert "versions of torch" not in text


def test_the_noise_of_training_is_told(tmp_path):
    folders = [write_experiment(tmp_path, 501, (0.4, 0.5)), write_experiment(tmp_path, 502, (0.43, 0.5), "bald")]
    assert "by up to 3.00 percentage points" in written(folders, tmp_path / "out")


def test_all_figures_are_drawn_and_linked(tmp_path):
    methods = {"random": 0.2, "a_b&c$%^~{}<i>|": 0.5, "clasp_pe": 0.4}
    folders = write_benchmark(tmp_path / "r", methods, (1, 2, 3), ("Dataset004_O", "Dataset005_P", "Dataset006_Q"), cycles=2)
    (folders[0] / "cycle_001.json").unlink()
    page = compare(folders, tmp_path / "out", quiet)
    names = {f"{kind}_{setting}" for kind in ("curves", "classes", "foreground") for setting in "OPQ"}
    names |= {"ppm", "ranks_final", "ranks_aubc"}
    assert {path.name for path in (tmp_path / "out" / "figures").iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("png", "svg")
    }
    assert all(f"](figures/{name}.png)" in page.read_text(encoding="utf-8") for name in names)


def test_figures_are_the_same_again(tmp_path):
    grouped = group(read_trajectories([write_experiment(tmp_path, 501, CURVE)]))
    drawn = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        assert learning_curves(summarise(grouped.settings[0]), Names.of(grouped.settings), folder) == "curves_Organs"
        drawn.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert drawn[0] == drawn[1]


def test_the_command_says_what_it_did(tmp_path, capsys):
    folder = write_experiment(tmp_path, 501, CURVE, cycles=4)
    command.main(["-d", str(folder), "-o", str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert "WARNING: " in said
    assert str(tmp_path / "out" / "comparison.md") in said
