"""What is measured: one thing at a time is changed around a base point, for each image size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from nnactive_ext.geometry.patch import Triple

BETA = 1.0
"""Of the first query of ClaSP PE, and of every point that does not say otherwise."""


@dataclass(frozen=True)
class Point:
    """Image, classes (channels, background included), patch width, picks for each stratum, and the noise's beta."""

    shape: Triple
    classes: int
    patch: int
    picks: int
    beta: float | None = BETA

    @property
    def size(self) -> Triple:
        return (self.patch,) * 3

    def row(self) -> dict[str, Any]:
        return {**asdict(self), "shape": list(self.shape)}


@dataclass(frozen=True)
class Design:
    """The first of ``classes``, ``patches`` and ``picks`` is the base point's; ``extra`` points are for ours alone."""

    shapes: tuple[Triple, ...]
    classes: tuple[int, ...]
    patches: tuple[int, ...]
    picks: tuple[int, ...]
    betas: tuple[float | None, ...]
    extra: tuple[Point, ...] = ()

    def base(self, shape: Triple) -> Point:
        fitting = [patch for patch in self.patches if patch <= min(shape)]
        if not fitting:
            raise ValueError(f"no patch of {self.patches} fits into an image of {shape}")
        return Point(shape, self.classes[0], fitting[0], self.picks[0])

    def patches_of(self, shape: Triple) -> list[Point]:
        """The base point and those that differ from it in the patch; what does not fit into the image is left out."""
        base = self.base(shape)
        return [base] + [replace(base, patch=p) for p in self.patches if p <= min(shape) and p != base.patch]

    def points_of(self, shape: Triple) -> list[Point]:
        """The points at which everybody is measured, the base point first."""
        base = self.base(shape)
        picks = [replace(base, picks=picks) for picks in self.picks[1:]]
        return [*self.patches_of(shape), *picks, *(replace(base, classes=classes) for classes in self.classes[1:])]

    def betas_of(self, shape: Triple) -> list[Point]:
        return [replace(self.base(shape), beta=beta) for beta in self.betas if beta != BETA]

    def inputs(self) -> Iterator[tuple[Triple, int]]:
        """Each (shape, classes) that is needed, in order, once."""
        needed = [(point.shape, point.classes) for shape in self.shapes for point in self.points_of(shape)]
        yield from dict.fromkeys(needed + [(point.shape, point.classes) for point in self.extra])


SMALL = (48, 56, 48)
MEMORY_POINT = Point((512, 512, 512), 3, 32, 100)

FULL = Design(
    shapes=(SMALL, (128,) * 3, (256,) * 3, (512,) * 3),
    classes=(4, 2, 16),
    patches=(32, 8, 16, 64),
    picks=(40, 20, 100, 500),
    betas=(BETA, 3.16, 10.0, 31.6, 100.0, 1000.0, None),
    extra=(MEMORY_POINT,),
)
QUICK = Design(shapes=(SMALL, (64,) * 3), classes=(3,), patches=(16, 8), picks=(20,), betas=(BETA, 100.0, None))
