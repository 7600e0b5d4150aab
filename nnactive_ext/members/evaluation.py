"""Evaluation of the current members on the test set: one JSON file per cycle, with what has been annotated for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from tqdm import tqdm

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.environment import Environment, observe
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.inputs import Inputs
from nnactive_ext.experiment.marks import Fold
from nnactive_ext.experiment.plan import Plan
from nnactive_ext.experiment.record import write_record
from nnactive_ext.experiment.result import CrossValidation, CycleResult, SurfaceCases, result_file
from nnactive_ext.members.annotated import annotation
from nnactive_ext.members.case_scores import CaseFiles, CaseScores, CrossValidationFile
from nnactive_ext.members.cross_validation import cross_validate
from nnactive_ext.members.ensemble import Ensemble, device_of
from nnactive_ext.metrics.overlap import aggregate, dice_per_case
from nnactive_ext.metrics.surface import Surface, Tolerance, mean_surface, one_voxel, surface_per_case
from nnactive_ext.nnunet.dataset import Case
from nnactive_ext.nnunet.trainers import check_trainer


def evaluate(
    experiment: Experiment,
    open_ensemble: Callable[[Sequence[int]], Ensemble],
    folds: Sequence[int],
    progress: bool = True,
    parts: tuple[int, int] = (0, 1),
) -> CycleResult | None:
    """Evaluate the members on the test set, count what was annotated for them, and write ``cycle_NNN.json``.

    The scores of each test case are kept in a file of its own, so an evaluation that was stopped continues.

    Without a test set there is a cross-validation on annotated voxels instead, which is not the same:
    :func:`nnactive_ext.members.cross_validation.cross_validate`. Voxels that are ``ignore`` in a reference do not count.

    Args:
        experiment: its members of the current cycle are trained.
        open_ensemble: gives the members of some folds; it is called only when something must be predicted.
        folds: the folds of the ensemble.
        progress: show a progress bar.
        parts: (part id, number of parts). With more than one part, only this share of the test cases is scored, or the first
            part cross-validates; a later call without parts finds their files.

    Returns:
        The result that was written: Dice and NSD (0 to 1), HD95 (mm). A class that is in neither prediction nor reference has
        None; one that is in only one of them has an NSD of 0 and None instead of an infinite distance. None with more than one
        part.
    """
    check_trainer(experiment.plan.trainer)  # also where all cases are scored and no member has to be opened
    cycle, tested = experiment.state["cycle"], bool(experiment.plan.test)
    classes = experiment.source.labels.classes
    part, number = parts
    opened, share = partial(open_ensemble, folds), slice(part, None, number)
    scored = scores_on_test_set(experiment, opened, folds, share, progress) if tested else {}
    validated = _validated(experiment, open_ensemble, folds, progress) if not tested and part == 0 else None
    if number > 1:
        return None
    predicted = {name: sum(scores.predicted[name] for scores in scored.values()) for name in classes} if tested else {}
    dice = {case: scores.dice for case, scores in scored.items()}
    surfaces = {case: scores.surfaces for case, scores in scored.items()}
    mean = aggregate(dice or {"": dict.fromkeys(classes, math.nan)})
    surface = mean_surface(surfaces or {"": dict.fromkeys(classes, Surface(math.nan, math.nan))})
    where = [scores.environment for scores in scored.values()] + ([validated[1]] if validated else [])
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
        cross_validation=validated[0] if validated else None,
        **vars(annotation(experiment, cycle)),
        label_version=experiment.plan.label_version,
        dice_per_case={case: _numbers(scores) for case, scores in dice.items()},
        nsd_per_case={case: _numbers({n: s.nsd for n, s in found.items()}) for case, found in surfaces.items()},
        hd95_per_case={case: _numbers({n: s.hd95 for n, s in found.items()}) for case, found in surfaces.items()},
        environment=where[0],
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


def scores_on_test_set(
    experiment: Experiment,
    open_ensemble: Callable[[], Ensemble],
    folds: Sequence[Fold],
    share: slice,
    progress: bool,
) -> dict[str, CaseScores]:
    """The scores of a share of the test cases, by name; those that are there already are read. ``open_ensemble`` is
    called when something must be predicted."""
    planned, inputs = tolerance(experiment.plan), Inputs.read(experiment.raw)
    limits = {name: planned.of(name) for name in experiment.source.labels.classes}
    files, found, ensemble, here = CaseFiles(experiment, folds, limits), {}, None, Environment()
    for case in tqdm(experiment.test_cases()[share], desc="Evaluating the test set", disable=not progress):
        if inputs:
            inputs.verify(case.name, case.label)
        scores = files.read(case)
        if scores is None:
            if ensemble is None:
                ensemble = open_ensemble()
                here = observe(device_of(ensemble))  # once: it reads the metadata of all packages
            scores = _scores(experiment, ensemble, case, limits, here)
            files.write(case, scores)
        found[case.name] = scores
    return found


def _validated(
    experiment: Experiment, open_ensemble: Callable[[Sequence[int]], Ensemble], folds: Sequence[int], progress: bool
) -> tuple[CrossValidation, Environment]:
    """The cross-validation, and where it was done; one that is there already is read."""
    file, devices = CrossValidationFile(experiment, folds), [""]

    def opened(folds: Sequence[int]) -> Ensemble:
        ensemble = open_ensemble(folds)
        devices[0] = device_of(ensemble)
        return ensemble

    if (kept := file.read()) is not None:
        return kept
    found = cross_validate(experiment, opened, folds, progress)
    file.write(found, observe(devices[0]))
    return found, observe(devices[0])


def _scores(
    experiment: Experiment, ensemble: Ensemble, case: Case, limits: Mapping[str, float], here: Environment
) -> CaseScores:
    labels = experiment.source.labels
    reference, properties = experiment.source.reader_writer.read_seg(str(case.label))
    try:
        prediction = ensemble.segment(case)
    except RuntimeError as error:  # torch's, for want of memory or because of infinite logits
        raise NnActiveError(f"{case.name}: its prediction failed: {error}") from error
    spacing = properties["spacing"]
    return CaseScores(
        dice=dice_per_case(prediction, reference[0], labels.classes, labels.ignore),
        surfaces=surface_per_case(prediction, reference[0], labels.classes, spacing, limits, labels.ignore),
        predicted={name: int(np.isin(prediction, values).sum()) for name, values in labels.classes.items()},
        environment=here,
    )


def _numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in values.items()}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
