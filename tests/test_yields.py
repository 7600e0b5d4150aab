"""What strata found: counted the slow way, from what is annotated only, in simulations and roll-outs, and in old files."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from nnactive_ext.experiment.loops import loop_file
from nnactive_ext.experiment.result import CycleResult, read_results, result_file
from nnactive_ext.files import read_json, write_json
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.labelling.tasks import Task
from nnactive_ext.members.yields import of_labels, yields_of
from nnactive_ext.nnunet.dataset import Labels

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
            assert sum(one.voxels_per_class.get(name, 0) for one in result.new_yields.values()) == (
                result.new_voxels_per_label["lesion"] + (result.new_voxels_per_label["organ"] if name == "organ" else 0)
                if isinstance(finished.dataset.labels.names[name], list)
                else result.new_voxels_per_label[name]
            )
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
