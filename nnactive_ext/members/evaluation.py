"""Evaluation of the current members on the test set: one JSON file per cycle, with what has been annotated for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from tqdm import tqdm

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.environment import observe
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.inputs import Inputs
from nnactive_ext.experiment.plan import Plan
from nnactive_ext.experiment.record import write_record
from nnactive_ext.experiment.result import CycleResult, SurfaceCases, result_file
from nnactive_ext.members.annotated import annotation
from nnactive_ext.members.cross_validation import cross_validate
from nnactive_ext.members.ensemble import Ensemble, device_of
from nnactive_ext.metrics.overlap import aggregate, dice_per_case
from nnactive_ext.metrics.surface import Surface, Tolerance, mean_surface, one_voxel, surface_per_case


def evaluate(
    experiment: Experiment,
    open_ensemble: Callable[[Sequence[int]], Ensemble],
    folds: Sequence[int],
    progress: bool = True,
) -> CycleResult:
    """Evaluate the members on the test set, count what was annotated for them, and write ``cycle_NNN.json``.

    Without a test set there is a cross-validation on annotated voxels instead, which is not the same:
    :func:`nnactive_ext.members.cross_validation.cross_validate`. Voxels that are ``ignore`` in a reference do not count.

    Args:
        experiment: its members of the current cycle are trained.
        open_ensemble: gives the members of some folds.
        folds: the folds of the ensemble.
        progress: show a progress bar.

    Returns:
        The result that was written: Dice and NSD (0 to 1), HD95 (mm). A class that is in neither prediction nor reference has
        None; one that is in only one of them has an NSD of 0 and None instead of an infinite distance.
    """
    cycle = experiment.state["cycle"]
    tested = bool(experiment.plan.test)
    devices: list[str] = []

    def opened(folds: Sequence[int]) -> Ensemble:
        ensemble = open_ensemble(folds)
        devices.append(device_of(ensemble))
        return ensemble

    classes = experiment.source.labels.classes
    predicted: dict[str, int] = dict.fromkeys(classes, 0) if tested else {}
    dice, surfaces = _on_test_set(experiment, opened(folds), predicted, progress) if tested else ({}, {})
    mean = aggregate(dice or {"": dict.fromkeys(classes, math.nan)})
    surface = mean_surface(surfaces or {"": dict.fromkeys(classes, Surface(math.nan, math.nan))})
    result = CycleResult(
        cycle=cycle,
        mean_dice=_number(mean.mean),
        dice_per_class=_numbers(mean.per_class),
        cases_per_class=mean.cases,
        classes_left_out=mean.left_out,
        nsd_per_class=_numbers(surface.nsd),
        hd95_per_class=_numbers(surface.hd95),
        surface_cases_per_class={name: SurfaceCases(**cases) for name, cases in surface.cases.items()},
        tolerance_mm=tolerance(experiment.plan).mm,
        tolerance_mm_per_class=tolerance(experiment.plan).per_class,
        predicted_voxels_per_class=predicted,
        cross_validation=None if tested else cross_validate(experiment, opened, folds, progress),
        **vars(annotation(experiment, cycle)),
        label_version=experiment.plan.label_version,
        dice_per_case={case: _numbers(scores) for case, scores in dice.items()},
        nsd_per_case={case: _numbers({n: s.nsd for n, s in found.items()}) for case, found in surfaces.items()},
        hd95_per_case={case: _numbers({n: s.hd95 for n, s in found.items()}) for case, found in surfaces.items()},
        environment=observe(devices[0] if devices else ""),
    )
    with experiment.lock(wait=True):
        experiment.results.mkdir(parents=True, exist_ok=True)
        write_record(experiment)
        result.write(result_file(experiment.results, cycle))
    return result


def tolerance(plan: Plan) -> Tolerance:
    """Of the normalised surface distance: as planned; before it was planned it was one voxel of the pool's coarsest axis."""
    mm = plan.tolerance_mm or one_voxel(geometry.spacing for geometry in plan.pool.values())
    return Tolerance(mm, plan.tolerances_mm)


def _on_test_set(
    experiment: Experiment, ensemble: Ensemble, predicted: dict[str, int], progress: bool
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, Surface]]]:
    """By case and class: Dice, and surface metrics. Adds the voxels of each class to ``predicted``."""
    labels, planned = experiment.source.labels, tolerance(experiment.plan)
    limits = {name: planned.of(name) for name in labels.classes}
    dice, surfaces, inputs = {}, {}, Inputs.read(experiment.raw)
    for case in tqdm(experiment.test_cases(), desc="Evaluating the test set", disable=not progress):
        if inputs:
            inputs.verify(case.name, case.label)
        reference, properties = experiment.source.reader_writer.read_seg(str(case.label))
        try:
            prediction = ensemble.segment(case)
        except RuntimeError as error:  # torch's, for want of memory or because of infinite logits
            raise NnActiveError(f"{case.name}: its prediction failed: {error}") from error
        for name, values in labels.classes.items():
            predicted[name] += int(np.isin(prediction, values).sum())
        dice[case.name] = dice_per_case(prediction, reference[0], labels.classes, labels.ignore)
        spacing = properties["spacing"]
        surfaces[case.name] = surface_per_case(prediction, reference[0], labels.classes, spacing, limits, labels.ignore)
    return dice, surfaces


def _numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in values.items()}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
