"""What strata found: counted the slow way, from what is annotated only, in simulations and roll-outs, and in old files."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import asdict

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from results import edit, write_experiment

from nnactive_ext.compare import compare
from nnactive_ext.experiment.loops import loop_file
from nnactive_ext.experiment.result import CycleResult, StratumYield, read_results, result_file
from nnactive_ext.files import read_json, write_json
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.labelling.tasks import Task, tasks_of
from nnactive_ext.loop.findings import missed, nothing_predicted
from nnactive_ext.loop.status import status, status_text
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
    ],
    ids=["a stratum", "another", "no strata", "nothing missed", "hardly any answer yet"],
)
def test_a_class_is_missed_when_its_patches_do_not_hold_it(found, names):
    answered = [one for one in missed(found, ["liver", "tumour"]) if one.asked or found.keys() == {"rest"}]
    assert [one.name for one in answered] == names


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
    assert "| tumour, cycle 1 | 0.5 of 3.5 / 6 | (3 of 6 / 45) |" in text.replace("\\", "")
    assert "| the rest, cycle 1 | 1.5 of 3 / 24 | 3 of 6 / 45 |" in text.replace("\\", "")
    assert {(r["stratum"], r["class"]) for r in rows} == {
        (s, c) for s in ("tumour", "rest") for c in ("any", "liver", "tumour")
    }
    assert sum(int(r["voxels"]) for r in rows if r["class"] == "tumour") == 40 + 11 + 7 + 30 + 60


def test_comparisons_of_older_files_have_no_such_table(tmp_path):
    text, rows = compared(tmp_path, {"clasp_pe": [{}], "bald": [yields(rest=(6, 2, 30))]})
    assert "| tumour, cycle 1 | (2 of 6 / 30) | - |" in text, "a method without numbers has a dash"
    assert len(rows) == 3
    text, rows = compared(tmp_path / "older", {"clasp_pe": [{}], "bald": [{}]})
    assert "what each stratum found" not in text
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


@pytest.mark.parametrize("where", ["the test set", "the pool"])
def test_members_that_predict_nothing_are_told_first(finished, where, tmp_path):
    assert not nothing_predicted(finished, read_results(finished.results))
    before = status_text(status(finished))
    if where == "the pool":
        write_json(loop_file(finished.raw, 3), {**read_json(loop_file(finished.raw, 2)), "predicted": []})
    else:
        file = result_file(finished.results, 2)
        write_json(file, {**read_json(file), "predicted_voxels_per_class": {"organ": 0, "lesion": 0}})
    said = nothing_predicted(finished, read_results(finished.results))
    assert where in said
    assert "nnactive_report -d 101" in said
    assert said not in before
    assert status_text(status(finished)).splitlines()[2] == f"WARNING: {said}"
    if where == "the test set":
        facts = gather(finished, None, boxes=0, progress=False)
        assert facts.advice.headline == EMPTY
        write_report(facts, tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text()
        assert page.index("No class is predicted at all") < page.index('class="answers"')
