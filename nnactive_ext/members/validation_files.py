"""What was measured of each test case, in files: a validation that was stopped continues."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from nnactive_ext.compare.validation import Case, Line
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.marks import Fold
from nnactive_ext.files import read_made_for, write_json
from nnactive_ext.members.case_scores import digest, facts
from nnactive_ext.metrics.calibration import Platt
from nnactive_ext.schemas import Count

FOLDER = "validated"


class _Rated(TypedDict):
    ncc: dict[str, float | None]
    ged: float | None


class _Findings(TypedDict):
    members: Count
    risk: float | None
    values: list[tuple[str, str, float | None]]
    ace: dict[str, float | None]
    rated: _Rated | None


class CaseFindings:
    """One file per test case below ``cycle_NNN/validated``; it counts for these members, files, words and this code only.

    Args:
        experiment: its members of the current cycle are trained.
        folds: the folds of the ensemble.
        words: all that was asked for.
        platt: the confidences, which depend on what is annotated.
    """

    def __init__(self, experiment: Experiment, folds: Sequence[Fold], words: Sequence[str], platt: Mapping[str, Platt]):
        self.folder = experiment.results / f"cycle_{experiment.state['cycle']:03d}" / FOLDER
        self._facts = {**facts(experiment, folds), "asked": list(words), "platt": {s: list(p) for s, p in platt.items()}}
        self._made: dict[str, str] = {}

    def read(self, name: str, files: Sequence[Path]) -> tuple[Case, Case | None, int] | None:
        """A case, what raters say of it and the number of members; None where it has to be measured.

        Args:
            name: of the case.
            files: what it is measured from; changed files make it be measured again.
        """
        found = [(file.name, stat.st_size, stat.st_mtime_ns) for file in files for stat in (file.stat(),)]
        self._made[name] = digest({**self._facts, "files": found})
        file = self.folder / f"{name}.json"
        content = read_made_for(file, self._made[name], _Findings, "Delete it, and the case is measured again.")
        if content is None or not all(self._facts["trainings"]):
            return None
        ratings = content["rated"]
        values = {Line(score, aggregation): _number(value) for score, aggregation, value in content["values"]}
        case = Case(name=name, values=values, risk=_number(content["risk"]), ace=_numbers(content["ace"]))
        rated = Case(name=name, values={}, ncc=_numbers(ratings["ncc"]), ged=ratings["ged"]) if ratings else None
        return case, rated, int(content["members"])

    def write(self, name: str, case: Case, rated: Case | None, members: int) -> None:
        """Keep what was measured of a case that was asked for before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {
            "for": self._made[name],
            "members": members,
            "risk": _json(case.risk),
            "values": [[*line, _json(value)] for line, value in case.values.items()],
            "ace": {score: _json(value) for score, value in case.ace.items()},
            "rated": {"ncc": {s: _json(v) for s, v in rated.ncc.items()}, "ged": rated.ged} if rated else None,
        }
        write_json(self.folder / f"{name}.json", content)


def _json(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else float(value)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: _number(value) for name, value in values.items()}
