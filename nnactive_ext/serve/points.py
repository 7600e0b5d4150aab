"""Points for the start: structures that people click in whole images become the patches of the first cycle."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypedDict

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.marking import Marked, add_points
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import write_text

FARTHEST = 1e6
"""Of a place from the origin, in mm."""
COLUMNS = ("case", "class", "x_ras", "y_ras", "z_ras")


MOST = 1000
_Number = Annotated[float, (-FARTHEST, FARTHEST)]
_Point = TypedDict("_Point", {"case": str, "class": str, "ras": tuple[_Number, _Number, _Number]})


def _some(points: list[_Point]) -> None:
    if not 0 < len(points) <= MOST:
        raise ValueError(f"{len(points)} points")


PagePoints = Annotated[list[_Point], _some]
"""Points as a page sends them."""


def checked(points: list[_Point]) -> list[list[Any]]:
    """Points as rows of a table with :data:`COLUMNS`."""
    return [[point["case"], point["class"], *(f"{v:.4f}" for v in point["ras"])] for point in points]


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
