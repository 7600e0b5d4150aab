"""The files of a screening: CSV and JSON, and what is read of them again."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import read_json, write_json, write_text
from nnactive_ext.labelling.verdicts import irrelevant_cases, relevant_cases
from nnactive_ext.screening.scoring import Judged, Screening, beside
from nnactive_ext.screening.why import reasons
from nnactive_ext.words import cells

FOLDER = "screening"
START = "start"
"""The name of a screening's files before any member is trained."""


def screening_folder(experiment: Experiment) -> Path:
    """Where the pool's screenings are."""
    return experiment.results / FOLDER


def write_screening(screening: Screening, stem: Path, page: str) -> Path:
    """Write ``STEM.csv``, ``STEM.json`` and ``STEM.html``, each whole or not at all.

    Returns:
        The path of the page.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    write_text(stem.with_suffix(".csv"), _csv(screening))
    write_text(stem.with_suffix(".html"), page)
    write_json(stem.with_suffix(".json"), as_json(screening))
    return stem.with_suffix(".html")


def _csv(screening: Screening) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    ends = {"score": "", "z": "_z", "p": "_p", "r_ood": "_r_ood"}
    columns = [f"{one.name}{ends[part]}" for one in screening.scores for part in _parts(one)]
    writer.writerow(cells(["case", "flagged", "by", *columns, "reference", "why"]))
    for case in screening.order:
        by = " ".join(one.name for one in screening.by(case))
        numbers = [_text(part[case]) for one in screening.scores for part in _parts(one).values()]
        row = [screening.measured[case].name, int(bool(by)), by, *numbers]
        writer.writerow(cells([*row, int(screening.reference[case]), reasons(screening, case)]))
    for name, problem in screening.refused.items():
        writer.writerow(cells([name, *[""] * (3 + len(columns)), f"not screened: {problem}"]))
    return file.getvalue()


def as_json(screening: Screening) -> dict[str, Any]:
    """Plain values: how the screening was made, and each case with its scores."""
    cases = []
    for case in screening.order:
        scores = {one.name: {name: _known(part[case]) for name, part in _parts(one).items()} for one in screening.scores}
        row = {"case": screening.measured[case].name, "by": [one.name for one in screening.by(case)]}
        cases.append({**row, "why": reasons(screening, case), "scores": scores})
    members = [screening.measured[i].name for i in range(len(screening.measured)) if screening.reference[i]]
    return {
        "title": screening.title,
        "scores": [one.name for one in screening.scores],
        "options": asdict(screening.options),
        "compared_with": screening.compared,
        "reference": members,
        "notes": list(screening.notes),
        **screening.facts,
        "flagged": [screening.measured[case].name for case in screening.flagged],
        "refused": dict(screening.refused),
        "cases": cases,
    }


def _parts(one: Judged) -> dict[str, np.ndarray]:
    return {"score": one.values, "z": one.z, "p": one.p, **beside(one)}


class _Row(TypedDict):
    case: str
    by: list[str]
    why: str


class _Screened(TypedDict):
    cases: list[_Row]


@dataclass(frozen=True)
class Flagged:
    """A case that a screening flagged: by which scores, and why; and the ``page`` of the screening."""

    case: str
    by: tuple[str, ...]
    why: str
    page: str


def undecided(experiment: Experiment) -> list[Flagged]:
    """What the last screening of the pool flagged, without the cases that somebody has judged or that left the pool."""
    folder = screening_folder(experiment)
    files = sorted([*folder.glob(f"{START}.json"), *folder.glob("cycle_*.json")], key=lambda file: file.stat().st_mtime_ns)
    if not files:
        return []
    page, decided = str(files[-1].with_suffix(".html")), irrelevant_cases(experiment) | relevant_cases(experiment)
    rows = read_json(files[-1], _Screened, "Run nnactive_screen again.")["cases"]
    flagged = [Flagged(row["case"], tuple(row["by"]), row["why"], page) for row in rows if row["by"]]
    return [one for one in flagged if one.case in experiment.plan.pool and one.case not in decided]


def _known(value: float) -> float | str | None:
    """JSON has no infinity and no NaN."""
    return None if math.isnan(value) else float(value) if math.isfinite(value) else str(float(value))


def _text(value: float) -> str:
    return "" if math.isnan(value) else repr(round(float(value), 6))
