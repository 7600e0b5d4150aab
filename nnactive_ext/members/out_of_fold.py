"""What members say about annotated voxels of cases that they were not trained on: for confidences, or without a test set."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from nnactive_ext.compare.validation import Case, Line
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.marks import ALL, Fold
from nnactive_ext.geometry.grid import Grid
from nnactive_ext.geometry.patch import Patch, Triple
from nnactive_ext.labelling.answers import CountingAnswers, read_answer
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.tasks import Task, all_tasks
from nnactive_ext.members.cross_validation import annotated_box, held_out_cases
from nnactive_ext.members.ensemble import Ensemble
from nnactive_ext.members.prediction import on_image, widened
from nnactive_ext.members.said import Said, ask, uncertainties, voxel_map
from nnactive_ext.metrics.ambiguity import ged_squared, ncc, variance_map
from nnactive_ext.metrics.calibration import Platt, fit_platt
from nnactive_ext.metrics.overlap import dice_per_case
from nnactive_ext.nnunet.dataset import Labels
from nnactive_ext.randomness import generator

MOST = 1_000_000
"""Voxels that confidences are fitted on, drawn evenly over cases."""


@dataclass
class OutOfFold:
    """``platt``: by voxel score; a score that needs several members has none where each case has one. ``patches``: each
    annotated patch as a case. ``rated``: those that several people answered. ``members``: how many were asked for a case, 0
    where no case can be asked about; ``left_out``: annotated cases that no member can be asked about."""

    platt: dict[str, Platt] = field(default_factory=dict)
    patches: list[Case] = field(default_factory=list)
    rated: list[Case] = field(default_factory=list)
    members: int = 0
    cases: int = 0
    left_out: int = 0


@dataclass(frozen=True)
class _About:
    """What members said about the box of a case's annotated voxels and its surroundings: ``covered`` on the network's grid."""

    said: Said
    grid: Grid
    offset: Triple
    box: Patch
    annotated: np.ndarray

    def on_image(self, values: np.ndarray, patch: Patch) -> np.ndarray:
        """Values on the network's grid, at the voxels of a patch of the image."""
        return on_image(values, self.grid, patch, self.offset)

    def inside(self, patch: Patch) -> np.ndarray:
        """Where members were asked: not in what nnU-Net cropped away."""
        return self.on_image(np.ones(self.said.labels.shape, np.uint8), patch) > 0

    def within(self, patch: Patch) -> Said | None:
        """About a patch of the image; None where nothing of it survived the crop."""
        covered = self.grid.to_network(patch)
        if covered is None:
            return None
        moved = [slice(a - o, b - o) for a, b, o in zip(covered.start, covered.stop, self.offset, strict=True)]
        return self.said.within(tuple(moved))


def out_of_fold(
    experiment: Experiment,
    open_ensemble: Callable[[Sequence[Fold]], Ensemble],
    folds: Sequence[Fold],
    lines: Sequence[Line],
    scores: Mapping[str, int],
    progress: bool = True,
) -> OutOfFold:
    """Ask each member about the annotated voxels of the cases that it was not trained on; reference labels are not read.

    Args:
        experiment: its members of the current cycle are trained.
        open_ensemble: gives the members of some folds.
        folds: the folds whose members are asked; none can be asked about anything for the fold ``all``.
        lines: what is computed of each patch; none: patches are not judged.
        scores: the voxel scores whose confidence is fitted, with the members that each needs.
        progress: show a progress bar.
    """
    found = OutOfFold()
    held_out, left_out = (
        ({}, list(experiment.state["annotated"])) if ALL in folds else held_out_cases(experiment, _numbers(folds))
    )
    found.cases, found.left_out = sum(map(len, held_out.values())), len(left_out)
    tasks, answers = _tasks(experiment)
    samples: dict[str, list[np.ndarray]] = {score: [] for score in scores}
    right: list[np.ndarray] = []
    with tqdm(desc="Asking members about cases they were not trained on", total=found.cases, disable=not progress) as bar:
        for case, about in _asked(experiment, open_ensemble, held_out):
            found.members = about.said.members
            hit, drawn = _sample(experiment, case, about, found.cases)
            right.append(hit)
            for score, needed in scores.items():
                if about.said.members >= needed:
                    values = about.on_image(voxel_map(score, about.said.statistics), about.box)
                    samples[score].append(values.ravel()[drawn])
            for task in tasks.get(case, ()):
                _add_patch(found, experiment.dataset.labels, about, task, lines, list(scores), answers(task))
            bar.update()
    for score, drawn_values in samples.items():
        if any(len(hit) for hit in right) and drawn_values:
            found.platt[score] = fit_platt(np.concatenate(drawn_values), np.concatenate(right))
    return found


def rated(
    name: str,
    raters: Sequence[np.ndarray],
    each: Sequence[np.ndarray],
    maps: Mapping[str, np.ndarray],
    labels: Labels,
    inside: np.ndarray,
) -> Case:
    """Compare members with several raters of a case.

    Args:
        name: of the case.
        raters: label maps (z, y, x) of the image; voxels that any of them leaves ``ignore`` do not count.
        each: each member's label map, of the same voxels.
        maps: voxel score -> its map, of the same voxels.
        labels: of the dataset.
        inside: bool, where members were asked; NCC counts these voxels only.

    Returns:
        NCC of each score and the squared GED.
    """
    known = np.logical_and.reduce([rater != labels.ignore for rater in raters])
    classes = dict(labels.classes) if labels.regions else {"background": (0,), **labels.classes}
    variance = variance_map(raters, classes)[known & inside]
    return Case(
        name=name,
        values={},
        ncc={score: ncc(values[known & inside], variance) for score, values in maps.items()},
        ged=ged_squared([rater[known] for rater in raters], [one[known] for one in each], labels.classes),
    )


def risk_of(dice: Mapping[str, float]) -> float:
    """1 - mean Dice over the classes that have one; 0 where none has: nothing was missed, and nothing invented.

    >>> risk_of({"a": 0.5, "b": math.nan}), risk_of({"a": math.nan})
    (0.5, 0.0)
    """
    known = [value for value in dice.values() if not math.isnan(value)]
    return 1 - math.fsum(known) / len(known) if known else 0.0


def _numbers(folds: Sequence[Fold]) -> list[int]:
    return [int(fold) for fold in folds]


def _asked(
    experiment: Experiment, open_ensemble: Callable[[Sequence[Fold]], Ensemble], held_out: Mapping[int, Sequence[str]]
) -> Iterator[tuple[str, _About]]:
    """Each case, with what the members of its fold say."""
    labels, target = experiment.dataset.labels, experiment.preprocessed
    window = [1, *target.manager()[1].patch_size][-3:]
    for fold, cases in held_out.items():
        ensemble = open_ensemble([fold])
        for case in cases:
            annotated = experiment.dataset.label_map(case)
            box = annotated_box(case, annotated != labels.ignore)
            image, grid = target.load(case)
            covered = grid.to_network(box)
            if covered is None:
                continue
            context = widened(covered, window, grid.network_shape)
            try:
                said = ask(ensemble, image[(slice(None), *context.slices)], labels.order, case, keep=True)
            except (NnActiveError, RuntimeError) as error:
                raise NnActiveError(f"{case}: {error}") from error
            yield case, _About(said, grid, context.start, box, annotated)


def _sample(experiment: Experiment, case: str, about: _About, cases: int) -> tuple[np.ndarray, np.ndarray]:
    """Of drawn annotated voxels: whether the label is right, and their places in the flattened box."""
    said = about.annotated[about.box.slices]
    known = np.flatnonzero((said != experiment.dataset.labels.ignore) & about.inside(about.box))
    most = MOST // cases
    if len(known) > most:
        rng = generator(experiment.plan.seed, experiment.state["cycle"], "platt", case)
        known = np.sort(rng.choice(known, most, replace=False))
    predicted = about.on_image(about.said.labels, about.box)
    return predicted.ravel()[known] == said.ravel()[known], known


def _add_patch(
    found: OutOfFold,
    labels: Labels,
    about: _About,
    task: Task,
    lines: Sequence[Line],
    scores: Sequence[str],
    answers: Sequence[np.ndarray],
) -> None:
    patch = task.patch
    said, annotated = about.within(patch), about.annotated[patch.slices]
    if said is None or (annotated == labels.ignore).all():
        return
    if lines:
        dice = dice_per_case(about.on_image(about.said.labels, patch), annotated, labels.classes, labels.ignore)
        found.patches.append(Case(name=task.id, values=uncertainties(said, lines), risk=risk_of(dice)))
    if len(answers) > 1:
        each = [about.on_image(one, patch) for one in about.said.each]
        maps = {score: about.on_image(voxel_map(score, about.said.statistics), patch) for score in scores}
        found.rated.append(rated(task.id, answers, each, maps, labels, about.inside(patch)))


def _tasks(experiment: Experiment) -> tuple[dict[str, list[Task]], Callable[[Task], list[np.ndarray]]]:
    """The tasks of each case whose labels are in place, and what gives the answers of all people to one."""
    tasks: dict[str, list[Task]] = {}
    for task in all_tasks(experiment):
        if task.cycle <= experiment.state["cycle"]:
            tasks.setdefault(task.patch.case, []).append(task)
    if not experiment.plan.human:
        return tasks, lambda task: []
    ledger = Ledger(experiment.annotation)
    counted = CountingAnswers.of(ledger)
    return tasks, lambda task: [read_answer(ledger, counted, answer) for answer in counted.answers.get(task.id, ())]
