"""Is the uncertainty any good? Measures every score and aggregation on the test set, or on annotated patches without one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nnactive_ext.compare.validation import Case, Line, Validation
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.evaluating import inferences
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.inference import NNUNET
from nnactive_ext.experiment.inputs import Inputs
from nnactive_ext.experiment.marks import ALL, Fold
from nnactive_ext.experiment.member_kinds import SSN
from nnactive_ext.geometry.grid import Grid
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.members.cross_validation import EXPLAINED
from nnactive_ext.members.ensemble import Ensemble
from nnactive_ext.members.evaluation import scores_on_test_set
from nnactive_ext.members.out_of_fold import OutOfFold, out_of_fold, rated, risk_of
from nnactive_ext.members.prediction import on_image
from nnactive_ext.members.said import DISAGREEMENT, MEAN_FOREGROUND, Said, aggregated, ask, uncertainties, voxel_map
from nnactive_ext.members.validation_files import CaseFindings
from nnactive_ext.metrics.calibration import Platt, ace
from nnactive_ext.nnunet.dataset import read_labels
from nnactive_ext.nnunet.preprocessing import preprocess_image
from nnactive_ext.query_methods.aggregation import AGGREGATIONS, parse_aggregation
from nnactive_ext.query_methods.disagreement import least_members
from nnactive_ext.query_methods.scores import SCORES
from nnactive_ext.words import count, listed

DEFAULT_SCORES = ("predictive_entropy", "expected_entropy", "bald", "least_confidence", "energy", DISAGREEMENT)
DEFAULT_AGGREGATIONS = ("sum", "max:10", "threshold", MEAN_FOREGROUND)

OpenEnsemble = Callable[[Sequence[Fold]], Ensemble]
Image = tuple[np.ndarray, dict]
"""Voxels (channel, z, y, x) and what nnU-Net's reader says of them."""


@dataclass(frozen=True)
class Asked:
    """``scores`` and ``aggregations``: names. ``typed``: a score that means nothing is refused, not left out. ``ood``: case ->
    what reads its image. ``raters``: folders with a label map for each test case."""

    scores: Sequence[str] = DEFAULT_SCORES
    aggregations: Sequence[str] = DEFAULT_AGGREGATIONS
    typed: bool = False
    ood: Mapping[str, Callable[[], Image]] = field(default_factory=dict)
    raters: Sequence[Path] = ()
    id_positive: bool = False

    def __post_init__(self) -> None:
        known = (*SCORES, DISAGREEMENT)
        if unknown := [score for score in self.scores if score not in known]:
            raise NnActiveError(f"-scores {listed(unknown)}: there is no such score. Choose from {', '.join(known)}.")
        for text in self.aggregations:
            try:
                _ = text == MEAN_FOREGROUND or parse_aggregation(text)
            except ValueError as error:
                names = ", ".join([*AGGREGATIONS, MEAN_FOREGROUND])
                raise NnActiveError(f"-aggregations {text}: {error}. Choose from {names}.") from None
        if len(self.raters) == 1:
            raise NnActiveError(
                f"-raters {self.raters[0]}: one rater has no variance. Give two folders or more; that of the reference labels "
                "may be one of them."
            )

    def lines(self, scores: Sequence[str]) -> list[Line]:
        """Each of ``scores`` with each aggregation, and once where it is one of whole cases."""
        found = [Line(s, a) for s in scores for a in (self.aggregations if s != DISAGREEMENT else [""])]
        return list(dict.fromkeys(found))


def validate(
    experiment: Experiment, open_ensemble: OpenEnsemble, folds: Sequence[Fold], asked: Asked, progress: bool = True
) -> Validation:
    """Measure how well the members' uncertainty finds failures and strange cases, and what confidences are worth.

    With a test set, its reference labels are compared with the members' segmentation (as the evaluation has it); maps and
    statistics are those of queries. Confidences are fitted on annotated voxels of cases that a member was not trained on.
    Without a test set each annotated patch of these cases is a case. Reference labels of the pool are not read.

    Args:
        experiment: its members of the current cycle are trained.
        open_ensemble: gives the members of some folds.
        folds: the folds of the ensemble.
        asked: what is measured.
        progress: show progress bars.

    Returns:
        The values of each case, for :func:`nnactive_ext.compare.validation.worth`.

    Raises:
        NnActiveError: a score needs several members and there is one, nothing can be measured, or a file does not fit.
    """
    tested = bool(experiment.plan.test)
    if not tested and (asked.ood or asked.raters):
        flag = "-ood" if asked.ood else "-raters"
        raise NnActiveError(f"{flag} needs a test set, and {experiment.name} has none. Leave it out.")
    needed = {score: _needs(experiment, score) for score in asked.scores}
    voxel_scores = {score: n for score, n in needed.items() if score != DISAGREEMENT}
    # With folds, one member alone was not trained on a case, and that nothing is left of some scores is only known then.
    lines = [] if tested else asked.lines(asked.scores)
    held = out_of_fold(experiment, open_ensemble, folds, lines, voxel_scores, progress)
    if not tested:
        return _on_patches(experiment, folds, asked, held, needed)
    return _on_test_set(experiment, open_ensemble, folds, asked, held, needed, progress)


def _on_patches(
    experiment: Experiment, folds: Sequence[Fold], asked: Asked, held: OutOfFold, needed: Mapping[str, int]
) -> Validation:
    if len(held.patches) < 2:
        raise NnActiveError(
            f"{experiment.name} has no test set, and {count(len(held.patches), 'annotated patch', 'annotated patches')} in "
            "cases that a member was not trained on are too few to judge its uncertainty. Annotate more cases, or plan with a "
            "test set."
        )
    notes = [" ".join(EXPLAINED.split()), *_left_out(held), *_swapped(experiment)]
    scores = _possible(asked, needed, held.members, notes)
    notes.append("ACE needs a test set: confidences would be fitted on the voxels on which they are judged.")
    return Validation(
        name=experiment.name,
        cycle=experiment.state["cycle"],
        folds=folds,
        members=held.members,
        lines=asked.lines(scores),
        unit="annotated patches",
        cases=held.patches,
        rated=held.rated,
        notes=notes,
    )


def _on_test_set(
    experiment: Experiment,
    open_ensemble: OpenEnsemble,
    folds: Sequence[Fold],
    asked: Asked,
    held: OutOfFold,
    needed: Mapping[str, int],
    progress: bool,
) -> Validation:
    opened = cache(lambda: open_ensemble(folds))
    inference = (*inferences(experiment), NNUNET)[0]
    dice = scores_on_test_set(experiment, opened, folds, slice(None), progress, inference)
    measuring = _Measuring(experiment, opened, asked, held.platt, needed)
    files = CaseFindings(experiment, folds, [*asked.scores, *asked.aggregations, *map(str, asked.raters)], held.platt)
    cases, ratings, ood = [], [], []
    tests = experiment.test_cases()
    with tqdm(desc="Asking members about test cases", total=len(tests) + len(asked.ood), disable=not progress) as bar:
        for case in tests:
            kept = files.read(case.name, _all_files(case.images, case.label, asked.raters, experiment.dataset.file_ending))
            if kept is None:
                image = experiment.source.image(case.name)
                kept = measuring.test_case(case.name, image, risk_of(dice[case.name].dice))
                files.write(case.name, *kept)
            members = kept[2]
            cases.append(kept[0])
            ratings += [kept[1]] if kept[1] else []
            bar.update()
        for name, read in asked.ood.items():
            said, _ = measuring.say(name, read())
            ood.append(Case(name=name, values=uncertainties(said, measuring.lines(said.members))))
            bar.update()
    notes = _swapped(experiment)
    scores = _possible(asked, needed, members, notes)
    notes += [*_left_out(held), *_uncalibrated(folds, held, [s for s in scores if s != DISAGREEMENT])]
    return Validation(
        name=experiment.name,
        cycle=experiment.state["cycle"],
        folds=folds,
        members=members,
        lines=asked.lines(scores),
        unit="test cases",
        cases=cases,
        ood=ood,
        rated=ratings or held.rated,
        id_positive=asked.id_positive,
        notes=notes,
    )


class _Measuring:
    """Measures whole images with the members of all folds."""

    def __init__(
        self,
        experiment: Experiment,
        opened: Callable[[], Ensemble],
        asked: Asked,
        platt: Mapping[str, Platt],
        needed: Mapping[str, int],
    ):
        self._experiment, self._opened, self._asked = experiment, opened, asked
        self._platt, self._needed = platt, needed
        self._inputs = Inputs.read(experiment.raw)

    def lines(self, members: int) -> list[Line]:
        return self._asked.lines(_possible(self._asked, self._needed, members, []))

    def say(self, name: str, image: Image) -> tuple[Said, Grid]:
        """What members say about an image on the network's grid, and how that lies in the image."""
        experiment = self._experiment
        data, grid = preprocess_image(*image, experiment.preprocessed, experiment.dataset.json)
        try:
            return ask(self._opened(), data, experiment.dataset.labels.order, name, bool(self._asked.raters)), grid
        except (NnActiveError, RuntimeError, MemoryError) as error:
            raise NnActiveError(f"{name}: {error or 'not enough memory to score this case.'}") from error

    def test_case(self, name: str, image: Image, risk: float) -> tuple[Case, Case | None, int]:
        """The case, what its raters say, and the number of members."""
        source = self._experiment.source
        said, grid = self.say(name, image)
        lines = self.lines(said.members)
        if self._inputs:
            self._inputs.verify(name, source.cases[name].label)
        reference = source.label_map(name)
        whole = Patch(name, (0, 0, 0), grid.image_shape)

        def moved(values: np.ndarray) -> np.ndarray:
            return on_image(values, grid, whole, (0, 0, 0))

        inside = moved(np.ones(said.labels.shape, np.uint8)) > 0
        maybe = (self._rater(folder, name, reference.shape) for folder in self._asked.raters)
        raters = [rater for rater in maybe if rater is not None]
        counted = inside & (reference != source.labels.ignore)
        right = moved(said.labels)[counted] == reference[counted]
        values, errors, maps = {Line(DISAGREEMENT): said.disagreement}, {}, {}
        for score in dict.fromkeys(line.score for line in lines if line.aggregation):
            found = voxel_map(score, said.statistics)
            values |= {line: aggregated(found, line, said) for line in lines if line.score == score}
            if score in self._platt:
                errors[score] = ace(self._platt[score].confidence(moved(found)[counted]), right)
            if len(raters) > 1:
                maps[score] = moved(found)
        ratings = None
        if len(raters) > 1:
            ratings = rated(name, raters, [moved(labels) for labels in said.each], maps, source.labels, inside)
        case = Case(name=name, values={line: values[line] for line in lines}, risk=risk, ace=errors)
        return case, ratings, said.members

    def _rater(self, folder: Path, name: str, shape: Sequence[int]) -> np.ndarray | None:
        """A rater's label map; None where there is none of this case."""
        source = self._experiment.source
        file = folder / f"{name}{source.file_ending}"
        if not file.is_file():
            return None
        labels = read_labels(source.reader_writer, file)[0][0]
        if labels.shape != tuple(shape):
            raise NnActiveError(
                f"{file}: has {labels.shape} voxels, the reference of {name} {tuple(shape)}. Give its label map."
            )
        unknown = set(np.unique(labels).tolist()) - {*source.labels.values, source.labels.ignore}
        if unknown:
            raise NnActiveError(f"{file}: holds the values {listed(sorted(unknown))}, which are no labels of {source.name}.")
        return labels


def _all_files(images: Sequence[Path], label: Path, raters: Sequence[Path], ending: str) -> list[Path]:
    """What a test case is measured from."""
    name = label.name.removesuffix(ending)
    return [*images, label, *(file for folder in raters if (file := folder / f"{name}{ending}").is_file())]


def _needs(experiment: Experiment, score: str) -> int:
    """The members that a score needs."""
    labels = experiment.dataset.labels
    return 2 if score == DISAGREEMENT else least_members(SCORES[score], len(labels.classes) + 1, labels.regions)


def _possible(asked: Asked, needed: Mapping[str, int], members: int, notes: list[str]) -> list[str]:
    """The scores that mean something for so many members; one that was typed and does not is an error."""
    without = [score for score in asked.scores if needed[score] > members]
    if without and (asked.typed or len(without) == len(asked.scores)):
        raise NnActiveError(
            f"-scores {' '.join(without)}: one member alone says nothing about a case by these scores, which compare members. "
            "Choose predictive_entropy, or plan with several members for each case (-members mirror)."
        )
    if without:
        notes.append(f"{listed(without)} compare members, and there is one for each case.")
    return [score for score in asked.scores if score not in without]


def _swapped(experiment: Experiment) -> list[str]:
    """What scores measure where it is not what they measure with other members."""
    kind = experiment.plan.member_kind
    measured = [f"{score} the {what}" for score in SCORES if (what := kind.measured(score))]
    return [f"Members are samples of stochastic networks: {listed(measured)} uncertainty."] if kind.name == SSN else []


def _left_out(held: OutOfFold) -> list[str]:
    if not held.left_out or not held.cases:
        return []
    many = count(held.left_out, "annotated case")
    return [
        f"{many} could not be used to fit or judge: all members asked were trained on them, or answers came after training."
    ]


def _uncalibrated(folds: Sequence[Fold], held: OutOfFold, scores: Sequence[str]) -> list[str]:
    """Why there is no ACE, of the voxel scores without one."""
    without = [score for score in scores if score not in held.platt]
    if not without:
        return []
    if not held.cases:
        why = (
            f"the member {ALL} was trained on all annotated cases"
            if ALL in folds
            else "members were trained on all annotated cases"
        )
        return [f"No ACE: {why}, so there are no voxels to fit confidences on."]
    return [f"No ACE of {listed(without)}: one member alone was not trained on a case, and these scores compare members."]
