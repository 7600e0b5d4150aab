"""What one cycle's results say: surfaces beside Dice, and what the new patches hold, counted another way."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

import numpy as np
import pytest
from fake_members import FakeEnsemble
from rollouts import OPTIONS

from conftest import PLAN
from nnactive_ext.cli import plan as plan_command
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import loop_file, read_loop
from nnactive_ext.experiment.result import result_file
from nnactive_ext.members.evaluation import evaluate, tolerance
from nnactive_ext.planning.settings import command_of


class Members(FakeEnsemble):
    """Say what they are told, of each test case in turn."""

    def __init__(self, experiment, change=lambda name, reference: reference):
        super().__init__(experiment)
        self.change = change

    def segment(self, case, inference=None) -> np.ndarray:
        return self.change(case.name, read(self.experiment, case.label).copy())


def read(experiment, file) -> np.ndarray:
    return experiment.source.reader_writer.read_seg(str(file))[0][0]


def results(experiment, change=lambda name, reference: reference) -> dict:
    evaluate(experiment, lambda folds: Members(experiment, change), experiment.folds(), progress=False)
    text = result_file(experiment.results, 0).read_text(encoding="utf-8")

    def no_number(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=no_number)


def test_a_perfect_prediction(planned):
    found = results(planned)
    test = planned.plan.test
    assert found["nsd_per_class"] == {"organ": 1, "lesion": 1}
    assert found["hd95_per_class"] == {"organ": 0, "lesion": 0}
    assert found["surface_cases_per_class"]["organ"] == {"nsd": len(test), "hd95": len(test), "infinite": 0}
    assert set(found["nsd_per_case"]) == set(found["hd95_per_case"]) == set(test)


def test_a_class_that_is_missed_has_no_distance_and_is_counted(planned):
    first = planned.plan.test[0]

    def change(name, reference):
        return np.where(reference == 2, 0, reference) if name == first else reference

    found = results(planned, change)
    assert found["nsd_per_case"][first]["lesion"] == 0
    assert found["hd95_per_case"][first]["lesion"] is None
    assert found["hd95_per_class"]["lesion"] == 0
    assert found["nsd_per_class"]["lesion"] == pytest.approx(1 - 1 / len(planned.plan.test))
    cases = {"nsd": len(planned.plan.test), "hd95": len(planned.plan.test) - 1, "infinite": 1}
    assert found["surface_cases_per_class"]["lesion"] == cases


def test_distances_are_in_the_mm_of_each_case(planned):
    """The coarse axis is x, with 2 or 2.5 mm: a lesion that is moved along it is so far away."""

    def change(name, reference):
        lesion = np.roll(reference == 2, 2, axis=2)
        return np.where(lesion, 2, np.where(reference == 2, 0, reference))

    found = results(planned, change)
    for case in planned.plan.test:
        _, properties = planned.source.reader_writer.read_seg(str(planned.source.cases[case].label))
        assert found["hd95_per_case"][case]["lesion"] == pytest.approx(2 * properties["spacing"][2])


def test_the_tolerance_is_planned_and_derived_where_it_was_not(planned):
    spacing = np.median([geometry.spacing for geometry in planned.plan.pool.values()], axis=0)
    assert planned.plan.tolerance_mm == np.median([sorted(g.spacing)[1] for g in planned.plan.pool.values()])
    assert results(planned)["tolerance_mm"] == planned.plan.tolerance_mm < spacing.max()
    assert tolerance(replace(planned.plan, tolerance_mm=0.0)).mm == spacing.max(), "of an experiment of an earlier version"
    assert tolerance(replace(planned.plan, tolerance_mm=7.5)).mm == 7.5


def test_a_tolerance_of_one_class(planned):
    """The organ is 1 mm off in all cases, the lesion with it; only the lesion's tolerance allows that."""

    def change(name, reference):
        return np.roll(reference, 1, axis=0)

    own = Experiment(planned.name, planned=replace(planned.plan, tolerance_mm=0.1, tolerances_mm={"lesion": 3.0}))
    found = results(own, change)
    assert found["nsd_per_class"]["lesion"] == 1 > 0.9 > found["nsd_per_class"]["organ"]
    assert (found["tolerance_mm"], found["tolerance_mm_per_class"]) == (0.1, {"lesion": 3.0})


def test_the_tolerance_decides(planned):
    def change(name, reference):
        return np.roll(reference, 1, axis=0)  # about 1 mm

    exact = Experiment(planned.name, planned=replace(planned.plan, tolerance_mm=0.1))
    assert results(planned, change)["nsd_per_class"]["organ"] == 1
    assert results(exact, change)["nsd_per_class"]["organ"] < 0.9


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "organ=0", "spleen=2", "2mm3"])
def test_no_tolerance_is_refused(tiny, value, capsys):
    with pytest.raises(SystemExit):
        plan_command.main(["-d", "100", "-o", "102", "-tolerance", value, "--disable_progress_bar"])
    assert "-tolerance" in capsys.readouterr().err


def test_a_tolerance_as_asked_for(tiny, quick_planning):
    plan_command.main([*PLAN.replace("-o 101", "-o 102").split(), "-tolerance", "3.5"])
    assert Experiment.find(102).plan.tolerance_mm == 3.5
    plan_command.main([*PLAN.replace("-o 101", "-o 103").split(), "-tolerance", "lesion=0.4", "2"])
    found = Experiment.find(103).plan
    assert (found.tolerance_mm, found.tolerances_mm) == (2.0, {"lesion": 0.4})
    assert shlex.join(command_of(found)).partition("-tolerance ")[2].startswith("2 lesion=0.4 ")


def test_a_rollout_has_no_surfaces_to_measure(rollout, capsys):
    with pytest.raises(SystemExit):
        rollout.plan(f"{OPTIONS} -tolerance 2")
    assert "-tolerance" in capsys.readouterr().err


def test_what_the_new_patches_hold(planned):
    found = results(planned)
    patches = read_loop(loop_file(planned.raw, 0), ".nii.gz")
    voxels = {0: 0, 1: 0, 2: 0}
    for patch in patches:
        inside = read(planned, planned.source.cases[patch.case].label)[patch.slices]
        for label in voxels:
            voxels[label] += int((inside == label).sum())
    assert found["new_voxels_per_label"] == {"background": voxels[0], "organ": voxels[1], "lesion": voxels[2]}
    assert found["new_voxels_per_label"] == found["annotated_voxels_per_label"], "in cycle 0 all patches are new"
    assert found["new_foreground_share"] == pytest.approx((voxels[1] + voxels[2]) / sum(voxels.values()))
    for name, label in (("organ", 1), ("lesion", 2)):
        holders = [(read(planned, planned.source.cases[p.case].label)[p.slices] == label).any() for p in patches]
        assert found["new_patches_per_class"][name] == sum(holders) > 0


def test_patches_of_dropped_cases_count_nowhere(planned):
    patches = read_loop(loop_file(planned.raw, 0), ".nii.gz")
    dropped = patches[0].case
    before = results(planned)
    pool = {case: geometry for case, geometry in planned.plan.pool.items() if case != dropped}
    left = Experiment(planned.name, planned=replace(planned.plan, dropped=(dropped,), pool=pool))
    found = results(left)
    assert found["new_patches"] == found["patches"] == sum(p.case != dropped for p in patches)
    assert sum(found["new_voxels_per_label"].values()) == sum(p.voxels for p in patches if p.case != dropped)
    assert sum(found["new_voxels_per_label"].values()) < sum(before["new_voxels_per_label"].values())


def test_what_nobody_annotated_is_not_new(planned):
    """As where an expert leaves part of a box to be ignored, or all of it."""
    patch = read_loop(loop_file(planned.raw, 0), ".nii.gz")[0]
    before = results(planned)
    file, reader = planned.dataset.cases[patch.case].label, planned.source.reader_writer
    labels, properties = reader.read_seg(str(file))
    counts = np.bincount(labels[0][patch.slices].astype(int).ravel(), minlength=3)
    labels[0][patch.slices] = planned.source.labels.ignore
    reader.write_seg(labels[0].astype(np.uint8), str(file), properties)
    after = results(planned)
    for name, n in zip(("background", "organ", "lesion"), counts, strict=True):
        assert after["new_voxels_per_label"][name] == before["new_voxels_per_label"][name] - n
    for name, n in zip(("organ", "lesion"), counts[1:], strict=True):
        assert after["new_patches_per_class"][name] == before["new_patches_per_class"][name] - (n > 0)
