"""Points that experts have marked, read from a file, and the patches around them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.fiducials import read_fiducials
from nnactive_ext.exchange.point_files import Point, read_point_list
from nnactive_ext.exchange.point_tables import read_point_table
from nnactive_ext.geometry.patch import Patch, Triple, centred, triple
from nnactive_ext.geometry.space import Space, Vector
from nnactive_ext.intake.problems import refuse
from nnactive_ext.refusals import refuses

__all__ = ["Point", "boxes_around", "read_points"]
_READERS = {
    ".json": read_point_list,
    ".fcsv": read_fiducials,
    **dict.fromkeys((".csv", ".tsv", ".txt"), read_point_table),
}


@refuses
def read_points(file: Path, cases: Collection[str], names: Collection[str]) -> list[Point]:
    """The points in a file, in its order.

    Args:
        file: a point list of 3D Slicer (``.mrk.json``, ``.fcsv``) or a table (``.csv``, ``.tsv``, ``.txt``), also one that
            Slicer exports. Its case is the one that the file is called after (``CASE.mrk.json``, ``CASE_more.fcsv``), else the
            one called like the list; tables may have a column of cases.
        cases: all cases there are.
        names: all classes. A point's class is its label (Slicer's number behind it aside), else its description, else its
            list's name; in tables, the column class. They match exactly, or else but for case, spaces, ``_`` and ``-``.

    Returns:
        The points.

    Raises:
        NnActiveError: lists all that is wrong with the file.
    """
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise NnActiveError(
            f"{file}: points are read from .mrk.json and .fcsv (3D Slicer's point lists), .csv and .tsv. Save it so."
        )
    found = list(reader(file, cases, names))
    refuse([item for item in found if isinstance(item, str)])
    if not found:
        raise NnActiveError(f"{file}: there is no point in it. Mark at least one, and save again.")
    return [item for item in found if isinstance(item, Point)]


def boxes_around(
    points: Iterable[Point],
    spaces: Mapping[str, Space],
    sizes: Mapping[str, Triple],
    files: Mapping[str, Space] | None = None,
) -> list[tuple[Patch, str]]:
    """For each point, the patch around its voxel, of its case's size (z, y, x) and moved inside the image, and its class.

    ``spaces`` are those of the arrays that patches are patches of; ``files`` those of the images' files, for points given by
    their index, where a reader turns its arrays (None: it does not). Points outside their image are one NnActiveError.
    """
    boxes, problems = [], []
    for point in points:
        space, file = spaces[point.case], (files or spaces)[point.case]
        position = position_of(point, file)
        index = space.to_index(position)
        # The image ends half a voxel beyond its last centres; a thousandth is for coordinates that were rounded.
        if all(-0.501 <= at <= n - 0.499 for at, n in zip(index, space.shape, strict=True)):
            boxes.append((centred(point.case, voxel_at(position, space), sizes[point.case], space.shape), point.label))
        else:
            at, shape = ", ".join(f"{v:.1f}" for v in file.to_index(position)[::-1]), " x ".join(map(str, file.shape[::-1]))
            hint = "Is it of another case, or LPS taken for RAS?" if point.position else "Do i,j,k count from 0?"
            problems.append(f"{point.where}: outside {point.case}, at voxel ({at}) of {shape} (x, y, z from 0). {hint}")
    refuse(problems)
    return boxes


def position_of(point: Point, file: Space) -> Vector:
    """Where a point is in world; ``file``: the space of its image's file, which an index counts in."""
    if point.position is not None:
        return point.position
    assert point.index is not None, "a point has a position or an index"
    return file.to_world(point.index)


def voxel_at(position: Vector, space: Space) -> Triple:
    """The voxel (z, y, x) nearest to a position in world."""
    nearest = [math.floor(at + 0.5) for at in space.to_index(position)]
    return triple([min(max(i, 0), n - 1) for i, n in zip(nearest, space.shape, strict=True)])
