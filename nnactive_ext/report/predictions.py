"""What the members that chose a patch predict in it and around it, kept in a file for the next report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.archive import model_folders
from nnactive_ext.experiment.experiment import Experiment, with_members
from nnactive_ext.experiment.label_changes import mapped
from nnactive_ext.experiment.loops import MEMBER_KIND, loop_file, read_loop_content
from nnactive_ext.experiment.marks import ALL, Fold, is_trained, label_version, marks_in
from nnactive_ext.experiment.member_kinds import FOLDS
from nnactive_ext.files import read_arrays, replacing
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.labelling.tasks import LABEL_VERSION
from nnactive_ext.members.ensemble import Members, NnUNetEnsemble
from nnactive_ext.members.prediction import Apart, Predictor, Unsure

if TYPE_CHECKING:
    import torch

FIRST = "Chosen before the first training."
NOT_ASKED = "No prediction was asked for."
_VERSION = 1
"""Of what the files hold."""
Prediction = tuple[np.ndarray, np.ndarray, Apart | None]
"""As :class:`Unsure` has it; files of earlier versions do not tell how far members are apart."""
Open = Callable[[Experiment, Sequence[Fold], str, Path], Members]
"""Opens the members of these folds on a device; the path is the model folder they lie in."""


class Predictions:
    """The predictions in the patches that the members of one cycle chose for the next.

    ``device`` None: nothing is predicted, but what was kept is shown. The members are opened for the first patch that has
    no file. A file is good for exactly these members; when they were deleted, and nothing tells which they were, it still
    says what they said.
    """

    def __init__(self, experiment: Experiment, cycle: int, device: str | None, opened: Open | None = None):
        self._experiment, self._device, self._opened = experiment, device, opened
        self._members = PastMembers.of(experiment, cycle)
        self._folder = experiment.results / f"cycle_{cycle:03d}" / "gallery"
        self._predictor: Predictor | None = None
        self._failed = ""

    def of(self, crop: Patch) -> tuple[Prediction | None, str]:
        """The prediction in a crop of the image, in the label values of today, or None and why there is none."""
        found, why = self._as_predicted(crop)
        if found is not None:
            labels, entropy, apart = found
            found = mapped(labels, self._experiment.plan.label_changes[self._members.labels :]), entropy, apart
        return found, why

    def _as_predicted(self, crop: Patch) -> tuple[Prediction | None, str]:
        stored = self._stored(crop)
        if stored is not None:
            return stored, ""
        cycle = self._members.cycle
        if self._device is None:
            return None, NOT_ASKED
        if not self._members.complete:
            return None, f"The members of cycle {cycle}, which chose it, are not all there any more."
        if not self._failed:
            try:
                found = self._predict(crop, self._device)
            except (NnActiveError, RuntimeError, MemoryError) as error:
                # Too little memory, as a rule, or a member that cannot be opened: the next patch would fail as this one did.
                self._failed = f"The members of cycle {cycle}, which chose it, could not predict it: {_first_line(error)}"
            else:
                self._keep(crop, found)
                return found, ""
        return None, self._failed

    def _predict(self, crop: Patch, device: str) -> Unsure:
        if self._predictor is None:
            self._predictor = Predictor(self._experiment, lambda: self._members.open(device, self._opened))
        found = self._predictor.with_uncertainty(crop)
        # Rounded as the file has it, so that a report does not depend on whether there was one.
        return found._replace(entropy=found.entropy.astype(np.float16).astype(np.float32))

    def _file(self, crop: Patch) -> Path:
        return self._folder / f"{crop.case}_{'_'.join(map(str, (*crop.start, *crop.size)))}.npz"

    def _facts(self) -> str:
        """What a file has to be made for, beside the members."""
        plan = self._experiment.plan
        facts = [_VERSION, plan.experiment, plan.configuration, plan.plans_identifier, plan.trainer]
        facts += [kind] if (kind := self._members.kind) != FOLDS else []  # files of the networks of folds are as they were
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def _stored(self, crop: Patch) -> Prediction | None:
        try:
            content = read_arrays(self._file(crop))
            trainings = tuple(content["trainings"].tolist())
            if str(content["facts"]) != self._facts() or self._members.trainings not in ((), trainings):
                return None
            labels, entropy = content["labels"], content["uncertainty"].astype(np.float32)
            apart = Apart(*content["apart"].tolist()) if "apart" in content else None
        except (NnActiveError, KeyError, ValueError, TypeError):
            return None
        return (labels, entropy, apart) if labels.shape == entropy.shape == crop.size else None

    def _keep(self, crop: Patch, found: Unsure) -> None:
        labels, entropy, apart = found
        kind = np.uint8 if labels.max(initial=0) < 256 else np.uint16
        with suppress(OSError):  # results that may only be read can be reported, too; it takes longer the next time
            self._folder.mkdir(parents=True, exist_ok=True)
            with replacing(self._file(crop)) as temporary:
                np.savez_compressed(
                    temporary,
                    labels=labels.astype(kind),
                    uncertainty=entropy.astype(np.float16),
                    apart=np.array(apart),
                    trainings=np.array(self._members.trainings, dtype=np.str_),
                    facts=np.array(self._facts()),
                )


def predictions_of(
    experiment: Experiment, device: str | None, opened: Open | None = None
) -> Callable[[int], Callable[[Patch], tuple[Prediction | None, str]]]:
    """A function that takes the cycle of a loop file and gives one that predicts in its patches."""

    def of_loop(cycle: int) -> Callable[[Patch], tuple[Prediction | None, str]]:
        if cycle == 0:
            return lambda crop: (None, FIRST)
        return Predictions(experiment, cycle - 1, device, opened).of

    return of_loop


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


@dataclass(frozen=True)
class PastMembers:
    """The members of ``cycle``, wherever they lie by now.

    ``folds``: model folder -> folds in it (two folders while the next cycle is trained); ``trainings``: the numbers of their
    trainings, as far as their marks are there; ``complete``: whether all can be opened; ``labels``: how many times the
    classes had been changed when they chose patches; ``kind``: what members were, as ``-members`` names it.
    """

    experiment: Experiment
    cycle: int
    folds: dict[Path, list[Fold]]
    trainings: tuple[str, ...]
    complete: bool
    labels: int = 0
    kind: str = FOLDS

    @classmethod
    def of(cls, experiment: Experiment, cycle: int) -> PastMembers:
        """Of a cycle that has been trained, or of one whose members were deleted: then none is found."""
        identity = experiment.plan.experiment
        archive = experiment.results / f"cycle_{cycle:03d}"
        file = loop_file(experiment.raw, cycle + 1)
        query = read_loop_content(file) if file.is_file() else None
        labels = experiment.plan.label_version if query is None else query.get(LABEL_VERSION, 0)
        kind = str(experiment.plan.member_kind) if query is None else query.get(MEMBER_KIND, FOLDS)
        # A fold whose folder is gone was there if its training wrote a log.
        logs = [log.stem.rpartition("_")[2] for log in archive.glob("train_fold_*.log")]
        alone = _asked(experiment, cycle) == [ALL]
        expected: set[Fold] = set() if alone else {int(fold) for fold in logs if fold.isdecimal()}
        folds: dict[Path, list[Fold]] = {}
        trainings: dict[Fold, str] = {}
        for model in model_folders(experiment, cycle):
            for fold, mark in marks_in(model).items():
                belongs = mark.get("experiment") == identity and mark.get("cycle") == cycle and label_version(mark) == labels
                if belongs and (fold == ALL) == alone:
                    trainings[fold] = mark.get("training", "")
                    if is_trained(model / f"fold_{fold}", identity, cycle, labels):
                        folds.setdefault(model, []).append(fold)
        found = {fold for members in folds.values() for fold in members}
        ids = tuple(trainings[fold] for fold in sorted(trainings, key="{:>4}".format))
        return cls(experiment, cycle, folds, ids, bool(found) and found == expected | set(trainings), labels, kind)

    def open(self, device: str, opened: Open | None = None) -> Members:
        """As one ensemble; NnActiveError if a member cannot be opened."""
        open_members = opened or _open
        experiment = with_members(self.experiment, self.kind)
        parts = [open_members(experiment, folds, device, model) for model, folds in self.folds.items()]
        return parts[0] if len(parts) == 1 else _Joined(parts)


def _open(experiment: Experiment, folds: Sequence[Fold], device: str, folder: Path) -> Members:
    return NnUNetEnsemble(experiment, folds, device, folder)


def _asked(experiment: Experiment, cycle: int) -> list[Fold]:
    """The members of ``cycle`` that the query asked; empty where there is none yet."""
    file = loop_file(experiment.raw, cycle + 1)
    return list(read_loop_content(file).get("members") or ()) if file.is_file() else []


class _Joined:
    """Members that lie in several folders."""

    def __init__(self, parts: Sequence[Members]):
        self._parts = parts

    def logits(self, image: np.ndarray, case: str = "") -> Iterator[tuple[str, torch.Tensor]]:
        for part in self._parts:
            yield from part.logits(image, case)
