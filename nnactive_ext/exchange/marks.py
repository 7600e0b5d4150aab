"""One point that an expert has marked, and what is meant by the names written beside it."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from nnactive_ext.geometry.space import Vector


@dataclass(frozen=True)
class Point:
    """A voxel of class ``label`` in ``case``: its ``position`` in world mm (see :mod:`nnactive_ext.geometry.space`), or else
    its continuous ``index`` (z, y, x) in the image's file. ``where`` it was read, for messages: "file, point 3"."""

    case: str
    label: str
    position: Vector | None
    index: Vector | None
    where: str


def matching(text: str, names: Collection[str]) -> list[str]:
    """The one of ``names`` that is ``text``, or else those that are but for case, spaces, ``_`` and ``-``."""

    def plain(name: str) -> str:
        return re.sub(r"[\s_-]+", "", name).casefold()

    return [text] if text in names else [name for name in names if plain(text) and plain(name) == plain(text)]


def world(values: Sequence[float], ras: bool) -> Vector:
    """Coordinates in LPS, or in RAS, as a world position."""
    x, y, z = (float(value) for value in values)
    return (-x, -y, z) if ras else (x, y, z)
