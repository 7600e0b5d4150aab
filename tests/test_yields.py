"""What strata found: counted the slow way, from what is annotated only, in simulations and roll-outs, and in old files."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import phantoms
import pytest
import scripted_expert as expert
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from open_tasks import OpenTasks
from results import edit, write_experiment

from nnactive_ext.compare import compare
from nnactive_ext.experiment.loops import loop_file
from nnactive_ext.experiment.result import CycleResult, StratumYield, read_results, result_file
from nnactive_ext.files import read_json, write_json
from nnactive_ext.geometry.patch import Patch, centred
from nnactive_ext.labelling.tasks import Task, tasks_of
from nnactive_ext.loop.findings import missed, missed_words, nothing_predicted
from nnactive_ext.loop.status import status, status_text
from nnactive_ext.loop.tables import yields_table
from nnactive_ext.members.yields import of_labels, yields_of
from nnactive_ext.nnunet.dataset import Labels
from nnactive_ext.report.facts import gather
from nnactive_ext.report.page import write_report
from nnactive_ext.report.section_queries import queries
from nnactive_ext.report.verdict import EMPTY

PLAIN = Labels({"background": 0, "bladder": 1, "stone": 2, "ignore": 3})
REGIONS = Labels({"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}, (1, 2))


def task(number: int, stratum: str, start, method: str = "clasp_pe", case: str = "a", size=(2, 3, 4), score=1.0) -> Task:
    return Task(f"c001_{number:03d}_{case}", 1, number, Patch(case, start, size), stratum, score, method)


@given(st.integers(0, 2**31), st.sampled_from([PLAIN, REGIONS]))
def test_counts_are_those_of_sets_of_voxels(seed, labels):
    """Patches that overlap, some of them not or only partly annotated."""
    rng = np.random.default_rng(seed)
    whole = rng.choice([0, 0, 0, 1, 2, 3], (4, 6, 8))
    names = [*labels.classes, "all"]
    tasks = [task(i, names[rng.integers(3)], tuple(rng.integers(0, (3, 4, 5)).tolist())) for i in range(7)]
    answers = {t.id: None if rng.random() < 0.2 else whole[t.patch.slices] for t in tasks}
    found = of_labels(((t, answers[t.id]) for t in tasks), labels)
    held, voxels = defaultdict(int), defaultdict(set)
    for t in tasks:
        for name, values in [*labels.classes.items(), ("any", (1, 2))]:
            for place in np.ndindex(t.patch.size):
                if answers[t.id] is not None and answers[t.id][place] in values:
                    voxels[t.stratum, name].add(tuple(np.add(place, t.patch.start).tolist()))
            held[t.stratum, name] += answers[t.id] is not None and bool(np.isin(answers[t.id], values).any())
    assert set(found) == {t.stratum for t in tasks}
    for stratum, one in found.items():
        of_it = [t for t in tasks if t.stratum == stratum]
        assert one.patches == len(of_it)
        assert one.annotated == sum(answers[t.id] is not None and bool((answers[t.id] != 3).any()) for t in of_it)
        assert (one.patches_with_any, one.voxels_of_any) == (held[stratum, "any"], len(voxels[stratum, "any"]))
        for name in labels.classes:
            assert one.patches_per_class.get(name, 0) == held[stratum, name]
            assert one.voxels_per_class.get(name, 0) == len(voxels[stratum, name])
        about = stratum if stratum != "all" else "any"
        assert (one.held, one.voxels) == (held[stratum, about], len(voxels[stratum, about]))


@pytest.mark.parametrize(
    ("stratum", "method", "about"),
    [
        ("border", "clasp_pe", "border"),
        ("border", "random_fg_66", ""),
        ("all", "clasp_pe", ""),
        ("marked: random", "points", "random"),
        ("random", "starting_budget", ""),
        ("border", "starting_budget", "border"),
        ("border", "my_methods.py:mine", "border"),
        ("evenly", "my_methods.py:evenly", ""),
        ("border", "precomputed", ""),
    ],
)
def test_the_method_decides_what_a_stratum_is_about(stratum, method, about):
    """Classes may be called what methods call the rest."""
    labels = Labels({"background": 0, "border": 1, "random": 2, "ignore": 3})
    said = np.full((2, 3, 4), 2)
    (found,) = of_labels([(task(1, stratum, (0, 0, 0), method), said)], labels).values()
    assert found.chosen_for == about
    assert found.held == (about != "border")


def test_simulations_count_what_was_annotated_and_nothing_else(finished):
    """Against the loop files and the reference inside the patches; the labels around them are poisoned first."""
    for case in finished.plan.pool:
        file = finished.dataset.cases[case].label
        image = sitk.ReadImage(str(file))
        assert (sitk.GetArrayFromImage(image) == finished.dataset.labels.ignore).any(), "partial labels, not references"
    results = read_results(finished.results)
    assert [sum(one.patches for one in result.new_yields.values()) for result in results] == [6, 4, 4]
    for cycle, result in enumerate(results):
        assert result.new_yields == yields_of(finished, cycle)
        for name in ("organ", "lesion"):
            assert (
                sum(one.patches_per_class.get(name, 0) for one in result.new_yields.values())
                == (result.new_patches_per_class[name])
            )
            voxels = sum(one.voxels_per_class.get(name, 0) for one in result.new_yields.values())
            assert voxels == result.new_voxels_per_label[name]
        assert all(one.annotated == one.patches for one in result.new_yields.values())


def test_results_of_earlier_versions_have_none(finished):
    file = result_file(finished.results, 1)
    content = read_json(file)
    for key in ("new_yields", "predicted_voxels_per_class"):
        del content[key]
    write_json(file, content)
    old = CycleResult.read(file)
    assert not old.new_yields
    assert not old.predicted_voxels_per_class
    assert read_json(loop_file(finished.raw, 1))["predicted"] == ["organ", "lesion"]


def yields(**strata) -> dict:
    """Stratum -> (patches, held, voxels), of the class that it is called by; ``rest`` is the rest."""
    return {
        name: StratumYield(
            patches=n,
            annotated=n,
            chosen_for="" if name == "rest" else name,
            patches_with_any=held,
            voxels_of_any=voxels,
            patches_per_class={} if not held else {"tumour" if name == "rest" else name: held},
            voxels_per_class={} if not held else {"tumour" if name == "rest" else name: voxels},
        )
        for name, (n, held, voxels) in strata.items()
    }


@pytest.mark.parametrize(
    ("found", "names"),
    [
        (yields(liver=(4, 3, 90), tumour=(4, 0, 0), rest=(4, 1, 5)), ["tumour"]),
        (yields(liver=(4, 0, 0), tumour=(1, 1, 9)), ["liver"]),
        (yields(rest=(9, 2, 7)), ["liver"]),
        (yields(liver=(1, 1, 1), tumour=(1, 1, 1)), []),
        ({"liver": StratumYield(patches=4, annotated=1, chosen_for="liver")}, []),
        (yields(liver=(1, 0, 0), rest=(9, 2, 7), tumour=(2, 0, 0)), ["liver"]),
    ],
    ids=["a stratum", "another", "no strata", "nothing missed", "hardly any answer yet", "few patches, and others hold it"],
)
def test_a_class_is_missed_when_its_patches_do_not_hold_it(found, names):
    assert [one.name for one in missed(found, ["liver", "tumour"])] == names


def compared(tmp_path, found: dict[str, list[dict]]) -> tuple[str, list[dict]]:
    """The page and the table for programs; method -> yields of each seed's only query."""
    folders = []
    for number, (method, seeds) in enumerate(found.items()):
        for seed, strata in enumerate(seeds, start=1):
            folder = write_experiment(tmp_path, 500 + 10 * number + seed, (0.4, 0.5), method, seed)
            plain = {name: asdict(one) for name, one in strata.items()}
            edit(folder / "cycle_001.json", **({"new_yields": plain} if strata else {}))
            folders.append(folder)
    page = compare(folders, tmp_path / "out", say=lambda text: None)
    with open(tmp_path / "out" / "tables" / "yields.csv", newline="") as file:
        return page.read_text(), list(csv.DictReader(file))


def test_comparisons_show_what_strata_found_side_by_side(tmp_path):
    text, rows = compared(
        tmp_path,
        {
            "clasp_pe": [yields(tumour=(3, 0, 0), rest=(3, 2, 40)), yields(tumour=(4, 1, 11), rest=(3, 1, 7))],
            "random": [yields(rest=(6, 2, 30)), yields(rest=(6, 4, 60))],
        },
    )
    assert "| tumour | 0.5 of 3.5 / 6 | (3 of 6 / 45) |" in text.replace("\\", "")
    assert "| the rest | 1.5 of 3 / 24 | 3 of 6 / 45 |" in text.replace("\\", "")
    assert {(r["stratum"], r["class"]) for r in rows} == {
        (s, c) for s in ("tumour", "rest") for c in ("any", "liver", "tumour")
    }
    assert sum(int(r["voxels"]) for r in rows if r["class"] == "tumour") == 40 + 11 + 7 + 30 + 60


def test_comparisons_of_older_files_have_no_such_table(tmp_path):
    text, rows = compared(tmp_path, {"clasp_pe": [{}], "bald": [yields(rest=(6, 2, 30))]})
    assert "| tumour | (2 of 6 / 30) | - |" in text, "a method without numbers has a dash"
    assert len(rows) == 3
    text, rows = compared(tmp_path / "older", {"clasp_pe": [{}], "bald": [{}]})
    assert "what each stratum found" not in text.split("## What was queried")[1]
    assert rows == []


def test_status_and_report_say_what_was_missed_and_older_simulations_are_counted_anew(finished, capsys):
    """The tiny lesion is in no patch of the last query once its answers say so: the labels in place are the evidence."""
    for cycle in range(3):
        file = result_file(finished.results, cycle)
        content = read_json(file)
        del content["new_yields"]
        write_json(file, content)
    for case in {t.patch.case for t in tasks_of(finished, 2)}:
        file = finished.dataset.cases[case].label
        image = sitk.ReadImage(str(file))
        labels = sitk.GetArrayFromImage(image)
        labels[labels == 2] = 1
        changed = sitk.GetImageFromArray(labels)
        changed.CopyInformation(image)
        sitk.WriteImage(changed, str(file))
    assert status(finished)["yields"] == {}, "reading all label maps would take the status minutes on real images"
    facts = gather(finished, None, boxes=0, progress=False)
    assert list(facts.yields) == [0, 1, 2]
    assert "lesion" in facts.missed
    assert "random_fg_66" in facts.missed
    assert facts.missed in facts.advice.points
    (row,) = [row for row in queries(facts)["strata"] if row.name == "lesion"]
    assert row.values[2][1] is None or row.values[2][1].held == 0


@pytest.mark.parametrize("where", ["the test set", "the pool", "the annotated voxels of cases"])
def test_members_that_predict_nothing_are_told_first(finished, where, tmp_path):
    assert not nothing_predicted(finished, read_results(finished.results))
    before = status_text(status(finished))
    if where == "the pool":
        write_json(loop_file(finished.raw, 3), {**read_json(loop_file(finished.raw, 2)), "predicted": []})
    elif where.startswith("the annotated"):
        file, none = result_file(finished.results, 2), {"organ": 0, "lesion": 0}
        found = {"dice_per_class": {"organ": 0.0, "lesion": None}, "mean_dice": 0.0, "predicted_voxels_per_class": none}
        write_json(file, {**read_json(file), "cross_validation": found})
    else:
        file = result_file(finished.results, 2)
        write_json(file, {**read_json(file), "predicted_voxels_per_class": {"organ": 0, "lesion": 0}})
    said = nothing_predicted(finished, read_results(finished.results))
    assert where in said
    assert "section 3 of the report" in said
    assert said not in before
    assert status_text(status(finished)).splitlines()[2] == f"WARNING: {said}"
    if where == "the test set":
        facts = gather(finished, None, boxes=0, progress=False)
        assert facts.advice.headline == EMPTY
        write_report(facts, tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text()
        assert page.index("No class is predicted at all") < page.index('class="answers"')


@pytest.mark.parametrize(
    ("kind", "name"), [("abdominal_ct", "left_adrenal"), ("thick_mri", "left_kidney"), ("cardiac", None), ("brain_mri", "core")]
)
def test_patches_in_wrong_places_are_told_from_those_that_hold_the_class(kind, name):
    """Phantoms: around each structure a patch chosen for it, but those for one class lie in a corner of the image."""
    made = phantoms.KINDS[kind](3)
    name = name or made.names[-1]
    labels = Labels({"background": 0, **{n: i for i, n in enumerate(made.names, 1)}, "ignore": len(made.names) + 1})
    size, shape, asked = (3, 8, 8), made.labels.shape, []
    for value, about in enumerate(made.names, 1):
        voxels = np.argwhere(made.labels == value)
        middle = voxels[np.abs(voxels - voxels.mean(axis=0)).sum(axis=1).argmin()]
        place = (0, 0, 0) if about == name else centred("a", middle, size, shape).start
        asked += [task(10 * value + copy, about, place, size=size) for copy in range(3)]
    found = of_labels([(t, made.labels[t.patch.slices]) for t in asked], labels)
    assert list(found) == list(made.names), "rows are in the order of the classes"
    assert [one.name for one in missed(found, made.names)] == [name]
    for about, one in found.items():
        patch = next(t.patch for t in asked if t.stratum == about)
        expected = int((made.labels[patch.slices] == labels.names[about]).sum())
        assert (one.held, one.voxels) == (3 * int(expected > 0), expected)
    assert all(len(line) <= 100 for line in yields_table({1: found, 2: found}).splitlines())


def test_rollouts_count_answers_as_they_come_in(tasks: OpenTasks, capsys):
    """Nothing is known of open tasks; a class that its answered patches lack gets the advice to mark points."""
    experiment = tasks.experiment
    assert status(experiment)["yields"] == {}
    lesions = [t for t in tasks_of(experiment, 0) if t.stratum == "marked: lesion"]
    seen = {one.id: one for one in tasks.seen}
    for number, one in enumerate(lesions):
        labels = seen[one.id].answer()
        labels[seen[one.id].box] = np.where(labels[seen[one.id].box] == 2, 1, labels[seen[one.id].box])
        tasks.hand_in(seen[one.id].write(labels))
        found = status(experiment)["yields"]["0"]["marked: lesion"]
        assert (found["patches"], found["annotated"], found["chosen_for"]) == (len(lesions), number + 1, "lesion")
        assert found["patches_per_class"].get("lesion", 0) == 0
    now = status(experiment)
    assert "lesion" in now["missed"]
    assert "nnactive_annotate points -d 601 FILE..." in now["missed"]
    assert now["missed"] in status_text(now)
    tasks.hand_in(expert.in_place(seen[lesions[0].id]))
    now = status(experiment)
    assert now["yields"]["0"]["marked: lesion"]["patches_per_class"]["lesion"] == 1
    assert "lesion" not in now["missed"]
    tasks.annotate(f"withdraw {lesions[0].id} --disable_progress_bar")
    assert "lesion" in status(experiment)["missed"]


def test_rows_of_the_report_are_in_the_order_of_the_classes(finished):
    facts = gather(finished, None, boxes=0, progress=False)
    names = [row.name for row in queries(facts)["strata"]]
    classes = [name for name in facts.labels.classes if name in names]
    assert classes
    assert names[-len(classes) :] == classes  # those that are no class come first


def test_a_method_that_draws_around_structures_is_not_told_to_compare_with_itself(finished):
    """Nor is it said of its members that they do not know where to look: they were not asked."""
    plan = replace(finished.plan, method="random_fg_66")
    drawn = SimpleNamespace(plan=plan, commands=finished.commands, raw=finished.raw, dataset=finished.dataset)
    told = missed_words(drawn, {1: {"random": StratumYield(patches=4, annotated=4)}})
    assert "did not find organ" in told
    assert "-query_size" in told
    assert "Compare with" not in told
    assert "members" not in told
