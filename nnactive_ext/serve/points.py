"""Points for the start: structures that people click in whole images become the patches of the first cycle."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.marking import Marked, add_points
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import write_text

FARTHEST = 1e6
"""Of a place from the origin, in mm."""
COLUMNS = ("case", "class", "x_ras", "y_ras", "z_ras")


def checked(points: Any, most: int = 1000) -> list[list[Any]]:
    """Points as a page sends them, as rows of a table with :data:`COLUMNS`.

    Raises:
        NnActiveError: it is no list of points.
    """
    rows = []
    if not isinstance(points, list) or not 0 < len(points) <= most:
        raise NnActiveError(f"Mark 1 to {most} points, then add them.")
    for point in points:
        place = point.get("ras") if isinstance(point, dict) else None
        if not _is_place(place) or not {"case", "class"} <= point.keys():
            raise NnActiveError(f"{str(point)[:200]} is no point.")
        rows.append([str(point["case"]), str(point["class"]), *(f"{v:.4f}" for v in point["ras"])])
    return rows


def _is_place(found: Any) -> bool:
    """Whether it is three finite numbers."""
    numbers = isinstance(found, list) and len(found) == 3 and all(isinstance(v, (int, float)) for v in found)
    return numbers and all(abs(v) <= FARTHEST for v in found)  # which NaN is not


def mark(experiment: Experiment, points: Sequence[Sequence[Any]], who: str, folder: Path) -> Marked:
    """Add patches around points, as ``nnactive_annotate points`` does with a table; the caller holds the experiment's lock.

    Args:
        experiment: a roll-out.
        points: rows with :data:`COLUMNS`.
        who: the name of the expert.
        folder: for the table, which is kept.

    Returns:
        What was added.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *points])
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(text.getvalue().encode()).hexdigest()[:12]
    file = folder / f"points_{name}.csv"
    write_text(file, text.getvalue())
    try:
        return add_points(experiment, [file], who)
    except NnActiveError as error:
        # People of the page do not know the server's folders.
        raise NnActiveError(str(error).replace(str(file), file.name)) from None
