"""Who takes part: the engine, the method built on it, and four other ways to the same candidates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import alternatives, ours
from benchmarks.inputs import Inputs
from nnactive_ext.geometry.patch import Triple

Start = tuple[int, int, int]
Run = Callable[[Inputs, Triple, int, float | None, int], list[list[Start]]]
"""Inputs, patch size, picks, beta (None: no noise), seed -> the starts chosen in each stratum, best first.

The strata are the entropy H and, for each foreground class c, p_c H; each gets its own candidates.
"""


@dataclass(frozen=True)
class Contender:
    """``limit``: the largest ``work`` (shape, size, strata) it is run on; a tenth of it away from the base points."""

    label: str
    run: Run
    work: Callable[[Triple, Triple, int], float] = lambda shape, size, strata: 0
    limit: float = 1.0


def _voxels(shape: Triple, size: Triple, strata: int) -> float:
    return strata * _product(shape)


def _windows(shape: Triple, size: Triple, strata: int) -> float:
    return strata * _product(n - s + 1 for n, s in zip(shape, size, strict=True))


def _additions(shape: Triple, size: Triple, strata: int) -> float:
    stride = alternatives.STRIDE
    return strata * _product(((n - s) // stride + 1) * s for n, s in zip(shape, size, strict=True))


def _product(numbers) -> float:
    product = 1.0
    for number in numbers:
        product *= number
    return product


CONTENDERS = {
    "ours": Contender("ours, stride 1", ours.engine),
    "method": Contender("ours, `clasp_pe`.rank", ours.method),
    "published": Contender("(a) as published, stride 1", alternatives.published, _windows, 4e6),
    "sort": Contender("(b) scipy and argsort, stride 1", alternatives.sort, _windows, 7e8),
    "pool": Contender("(c) torch pooling, stride 8", alternatives.pool, _additions, 2e11),
    "pool_axes": Contender("(d) (c) axis by axis, stride 8", alternatives.pool_axes, _voxels, 6e9),
}
"""Name on the command line -> contender. The limits keep a full run below a quarter of an hour on two cores."""

RIVALS = ("published", "sort", "pool", "pool_axes")
