"""What an evaluation found, case by case, in files: one that was stopped continues, and several processes share the cases."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from nnactive_ext.experiment.environment import Environment
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.inference import NNUNET, Inference
from nnactive_ext.experiment.marks import Fold, read_mark
from nnactive_ext.experiment.result import CrossValidation
from nnactive_ext.files import read_made_for, write_json
from nnactive_ext.members.ensemble import fold_folder
from nnactive_ext.metrics.surface import Surface
from nnactive_ext.nnunet.dataset import Case
from nnactive_ext.query_methods.identity import ROOMS, code_digest
from nnactive_ext.schemas import Count, JsonObject

_AGAIN = "Delete it and run nnactive_run, which computes it again."
_FOLDER = "evaluated"
CROSS_VALIDATION = "cross_validation.json"
"""In the results of a cycle."""


def cases_folder(inference: Inference) -> str:
    """The folder, in the results of a cycle, with what was found with an inference, case by case."""
    return _FOLDER if inference == NNUNET else f"{_FOLDER}_as_before"


class _Good(TypedDict):
    """``for``: a digest of what the file is good for."""

    environment: JsonObject | None


class _Kept(_Good):
    """Of a case; NSD and HD95 of each class, of which NaN and infinite ones are texts."""

    dice: dict[str, float | str]
    surfaces: dict[str, tuple[float | str, float | str]]
    predicted_voxels: dict[str, Count]


class _KeptValidation(_Good):
    found: CrossValidation


@dataclass(frozen=True, kw_only=True)
class CaseScores:
    """How well the members segment one test case: by class, Dice (0 to 1), surface metrics and predicted voxels."""

    dice: Mapping[str, float]
    surfaces: Mapping[str, Surface]
    predicted: Mapping[str, int]
    environment: Environment = field(default_factory=Environment)


class CaseFiles:
    """One file per test case below ``cycle_NNN/evaluated``; it counts for these members, files, tolerances, this inference and
    this code only.

    Args:
        experiment: its members of the current cycle are trained.
        folds: the folds of the ensemble.
        tolerances: class -> tolerance of the normalised surface distance, in mm.
        inference: with which the cases are predicted.
    """

    def __init__(
        self, experiment: Experiment, folds: Sequence[Fold], tolerances: Mapping[str, float], inference: Inference = NNUNET
    ):
        self.folder = experiment.results / f"cycle_{experiment.state['cycle']:03d}" / cases_folder(inference)
        labels = experiment.source.labels
        self._facts = {**facts(experiment, folds), "ignore": labels.ignore, "tolerances": dict(tolerances)}
        self._facts["inference"] = str(inference)

    def read(self, case: Case) -> CaseScores | None:
        """The scores of a case, or None where they have to be computed."""
        file = self._file(case)
        if not file.is_file() or not all(self._facts["trainings"]):
            return None
        content = read_made_for(file, self._digest(case), _Kept, _AGAIN)
        if content is None:
            return None
        surfaces = {name: Surface(float(nsd), float(hd95)) for name, (nsd, hd95) in content["surfaces"].items()}
        return CaseScores(
            dice={name: float(value) for name, value in content["dice"].items()},
            surfaces=surfaces,
            predicted=content["predicted_voxels"],
            environment=Environment.of(content.get("environment")) or Environment(),
        )

    def write(self, case: Case, scores: CaseScores) -> None:
        """Keep the scores of a case."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {
            "for": self._digest(case),
            "dice": {name: _json(value) for name, value in scores.dice.items()},
            "surfaces": {name: [_json(found.nsd), _json(found.hd95)] for name, found in scores.surfaces.items()},
            "predicted_voxels": dict(scores.predicted),
            "environment": asdict(scores.environment),
        }
        write_json(self._file(case), content)

    def _file(self, case: Case) -> Path:
        return self.folder / f"{case.name}.json"

    def _digest(self, case: Case) -> str:
        files: list[Any] = []
        for file in (*case.images, case.label):
            found = Path(str(file)).stat()
            files.append([Path(str(file)).name, found.st_size, found.st_mtime_ns])
        return digest({**self._facts, "files": files})


class CrossValidationFile:
    """The cross-validation of a cycle where there is no test set; it counts for these members, labels and this code only.

    Args:
        experiment: its members of the current cycle are trained.
        folds: the folds of the ensemble.
    """

    def __init__(self, experiment: Experiment, folds: Sequence[Fold]):
        self.file = experiment.results / f"cycle_{experiment.state['cycle']:03d}" / CROSS_VALIDATION
        self._facts = {**facts(experiment, folds), "annotated": experiment.state["annotated"]}

    def read(self) -> tuple[CrossValidation, Environment] | None:
        """What was found, and where; None where it has to be computed."""
        if not self.file.is_file() or not all(self._facts["trainings"]):
            return None
        content = read_made_for(self.file, digest(self._facts), _KeptValidation, _AGAIN)
        if content is None:
            return None
        return content["found"], Environment.of(content.get("environment")) or Environment()

    def write(self, found: CrossValidation, environment: Environment) -> None:
        """Keep what was found."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        content = {"for": digest(self._facts), "found": asdict(found), "environment": asdict(environment)}
        write_json(self.file, content)


def facts(experiment: Experiment, folds: Sequence[Fold]) -> dict[str, Any]:
    return {
        "trainings": [read_mark(fold_folder(experiment, fold)).get("training") for fold in folds],
        "classes": {name: str(values) for name, values in experiment.source.labels.classes.items()},
        "members": str(experiment.plan.member_kind),
        "code": code_digest(rooms=(*ROOMS, "metrics")),
    }


def digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _json(value: float) -> float | str:
    """JSON has no infinity and no NaN."""
    return float(value) if math.isfinite(value) else str(float(value))
