"""Evaluation of the current members on the test set: one JSON file per cycle, with what has been annotated for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial

from tqdm import tqdm

from nnactive_ext.engine.threads import thread_count
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.environment import Environment, observe
from nnactive_ext.experiment.evaluating import inferences
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.inference import NNUNET, Inference
from nnactive_ext.experiment.inputs import Inputs
from nnactive_ext.experiment.marks import Fold
from nnactive_ext.experiment.plan import Plan
from nnactive_ext.experiment.record import write_record
from nnactive_ext.experiment.result import CrossValidation, CycleResult, InferenceScores, Scores, SurfaceCases, result_file
from nnactive_ext.members.annotated import annotation
from nnactive_ext.members.case_scores import CaseFiles, CaseScores, CrossValidationFile
from nnactive_ext.members.cross_validation import cross_validate
from nnactive_ext.members.ensemble import Ensemble, device_of
from nnactive_ext.metrics.overlap import Confusion, aggregate
from nnactive_ext.metrics.surface import Tolerance, mean_surface, one_voxel, surface_per_case
from nnactive_ext.nnunet.dataset import Case, read_labels
from nnactive_ext.nnunet.trainers import check_trainer


def evaluate(
    experiment: Experiment,
    open_ensemble: Callable[[Sequence[int]], Ensemble],
    folds: Sequence[int],
    progress: bool = True,
    parts: tuple[int, int] = (0, 1),
) -> CycleResult | None:
    """Evaluate the members on the test set, count what was annotated for them, and write ``cycle_NNN.json``.

    The plan says with which inference: that of nnU-Net in the last cycle, and there also that of the cycles before it. A cycle
    that is not to be evaluated gets a file without scores. The scores of each test case are kept in a file of its own, so an
    evaluation that was stopped continues.

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
    cycle, tested, (part, number) = experiment.state["cycle"], bool(experiment.plan.test), parts
    opened, share = cache(partial(open_ensemble, folds)), slice(part, None, number)
    hows = inferences(experiment)
    scored = [(how, scores_on_test_set(experiment, opened, folds, share, progress, how)) for how in hows]
    validated = cross_validated(experiment, open_ensemble, folds, progress) if not tested and part == 0 else None
    if number > 1:
        return None
    found = [_over_cases(experiment, how, cases) for how, cases in scored]
    where = [scores.environment for _, cases in scored for scores in cases.values()] + ([validated[1]] if validated else [])
    first: InferenceScores | Scores = found[0] if found else _no_scores(experiment)
    known = {**vars(first), "cross_validation": validated[0] if validated else None}
    result = CycleResult(
        **{"inference": None, **known},
        **vars(annotation(experiment, cycle)),
        label_version=experiment.plan.label_version,
        environment=where[0] if where else None,
        as_before=found[1] if len(found) > 1 else None,
    )
    with experiment.lock(wait=True):
        experiment.results.mkdir(parents=True, exist_ok=True)
        write_record(experiment)
        result.write(result_file(experiment.results, cycle))
    return result


def _over_cases(experiment: Experiment, inference: Inference, scored: Mapping[str, CaseScores]) -> InferenceScores:
    """The means over test cases, and what they rest on."""
    dice = {case: scores.dice for case, scores in scored.items()}
    surfaces = {case: scores.surfaces for case, scores in scored.items()}
    mean, surface = aggregate(dice), mean_surface(surfaces)
    predicted = {name: sum(scores.predicted[name] for scores in scored.values()) for name in mean.per_class}
    return InferenceScores(
        **{
            **vars(_no_scores(experiment)),
            "mean_dice": _number(mean.mean),
            "dice_per_class": _numbers(mean.per_class),
            "cases_per_class": mean.cases,
            "classes_left_out": mean.left_out,
            "nsd_per_class": _numbers(surface.nsd),
            "hd95_per_class": _numbers(surface.hd95),
            "surface_cases_per_class": {name: SurfaceCases(**cases) for name, cases in surface.cases.items()},
            "predicted_voxels_per_class": predicted,
        },
        inference=inference,
        dice_per_case={case: _numbers(scores) for case, scores in dice.items()},
        nsd_per_case={case: _numbers({n: s.nsd for n, s in found.items()}) for case, found in surfaces.items()},
        hd95_per_case={case: _numbers({n: s.hd95 for n, s in found.items()}) for case, found in surfaces.items()},
    )


def _no_scores(experiment: Experiment) -> Scores:
    """Of a cycle whose members were not evaluated on a test set."""
    classes = list(experiment.source.labels.classes)
    return Scores(
        cycle=experiment.state["cycle"],
        mean_dice=None,
        dice_per_class=dict.fromkeys(classes),
        cases_per_class=dict.fromkeys(classes, 0),
        classes_left_out=tuple(classes),
        nsd_per_class=dict.fromkeys(classes),
        hd95_per_class=dict.fromkeys(classes),
        surface_cases_per_class={name: SurfaceCases(nsd=0, hd95=0, infinite=0) for name in classes},
        tolerance_mm=tolerance(experiment.plan).mm,
        tolerance_mm_per_class=tolerance(experiment.plan).per_class,
    )


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
    inference: Inference = NNUNET,
) -> dict[str, CaseScores]:
    """The scores of a share of the test cases, by name, predicted with an ``inference``; those that are there already are read.
    ``open_ensemble`` is called when something must be predicted."""
    planned, inputs = tolerance(experiment.plan), Inputs.read(experiment.raw)
    limits = {name: planned.of(name) for name in experiment.source.labels.classes}
    files, found, ensemble, here = CaseFiles(experiment, folds, limits, inference), {}, None, Environment()
    for case in tqdm(experiment.test_cases()[share], desc="Evaluating the test set", disable=not progress):
        if inputs:
            inputs.verify(case.name, case.label)
        scores = files.read(case)
        if scores is None:
            if ensemble is None:
                ensemble = open_ensemble()
                here = observe(device_of(ensemble))  # once: it reads the metadata of all packages
            scores = _scores(experiment, ensemble, case, limits, inference, here)
            files.write(case, scores)
        found[case.name] = scores
    return found


def cross_validated(
    experiment: Experiment, open_ensemble: Callable[[Sequence[int]], Ensemble], folds: Sequence[int], progress: bool
) -> tuple[CrossValidation, Environment]:
    """The cross-validation (:func:`cross_validate`), and where it was done; one that is there already is read."""
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
    experiment: Experiment, ensemble: Ensemble, case: Case, limits: Mapping[str, float], inference: Inference, here: Environment
) -> CaseScores:
    labels = experiment.source.labels
    reference, properties = read_labels(experiment.source.reader_writer, case.label)
    try:
        prediction = ensemble.segment(case, inference)
    except RuntimeError as error:  # torch's, for want of memory or because of infinite logits
        raise NnActiveError(f"{case.name}: its prediction failed: {error}") from error
    spacing, classes, ignore = properties["spacing"], labels.classes, labels.ignore
    overlap = Confusion(prediction, reference[0], classes, ignore)
    surfaces = surface_per_case(prediction, reference[0], classes, spacing, limits, ignore, thread_count())
    return CaseScores(dice=overlap.dice, surfaces=surfaces, predicted=overlap.predicted, environment=here)


def _numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in values.items()}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
