"""The page of a screening: each flagged case beside its nearest case of the reference, and where its scores lie."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.pages.templates import render
from nnactive_ext.screening.names import MEANING
from nnactive_ext.screening.pictures import Slices, slices_beside
from nnactive_ext.screening.scoring import Judged, Screening, beside
from nnactive_ext.screening.why import number, why, z_words
from nnactive_ext.words import enumerated

PICTURED = 40
"""Flagged cases with pictures, the strangest ones."""
WIDTH, HEIGHT, BINS = 300, 56, 60
_TICKS = (-3, 0, 3, 10, 30, 100, 300, 999)


@dataclass(frozen=True)
class Strip:
    """A score's distribution as bars (x, width, height) in pixels, a tick for some z, the limit, and where the case lies."""

    bars: Sequence[tuple[float, float, float]]
    ticks: Sequence[tuple[float, str]]
    limit: float
    case: float
    number: int


@dataclass(frozen=True)
class Row:
    """One score of a flagged case."""

    name: str
    score: str
    z: str
    p: str
    flagged: bool
    why: str
    strip: Strip | None


@dataclass(frozen=True)
class Card:
    """A flagged case. ``verdict``: the command by which a person says that it is irrelevant; empty where nobody can."""

    name: str
    in_reference: bool
    by: str
    rows: Sequence[Row]
    slices: Sequence[Slices]
    problem: str
    verdict: str


Verdict = Callable[[Sequence[str], str], str]
"""Cases and "irrelevant" or "relevant" -> the command by which a person says so; empty where nobody can."""


def page(screening: Screening, verdict: Verdict, made_by: str) -> str:
    """The page as one file that needs nothing else.

    Args:
        screening: what was found.
        verdict: gives the commands by which people decide.
        made_by: the command, for the end of the page.
    """
    flagged = screening.flagged
    cards = [_card(screening, case, place < PICTURED, verdict) for place, case in enumerate(flagged)]
    rest = [
        (screening.measured[case].name, [z_words(float(one.z[case])) for one in screening.scores], screening.reference[case])
        for case in screening.order
    ]
    return render(
        "screening",
        "screening.html",
        s=screening,
        number=int(screening.shown.sum()),
        cards=cards,
        rest=rest,
        places={screening.measured[case].name: place for place, case in enumerate(flagged, 1)},
        fine=verdict([card.name for card in cards], "relevant") if cards else "",
        meaning=[(one.name, MEANING[one.name]) for one in screening.scores],
        made_by=made_by,
        width=WIDTH,
        height=HEIGHT,
    )


def _card(screening: Screening, case: int, pictured: bool, verdict: Verdict) -> Card:
    own, near = screening.images[case], screening.nearest(case)
    other = None if near is None else screening.images[near]
    nearest = "" if near is None else screening.measured[near].name
    slices: list[Slices] = []
    problem = "the images are not at hand" if own is None else "" if pictured else f"only {PICTURED} cases are pictured"
    if own is not None and pictured:
        try:
            slices = slices_beside(own, other, nearest)
        except (NnActiveError, RuntimeError, MemoryError) as error:
            problem = str(error)
    return Card(
        screening.measured[case].name,
        bool(screening.reference[case]),
        enumerated([one.name for one in screening.by(case)]),
        [_row(screening, case, one) for one in screening.scores],
        slices,
        problem,
        verdict([screening.measured[case].name], "irrelevant"),
    )


def _row(screening: Screening, case: int, one: Judged) -> Row:
    more = beside(one).values()
    value, z, p = (float(part[case]) for part in (one.values, one.z, one.p))
    return Row(
        one.name,
        "–" if math.isnan(value) else number(value) + "".join(f" (r_OOD {number(float(r[case]))})" for r in more),
        "–" if math.isnan(z) else z_words(z),
        "–" if math.isnan(p) else f"{p:.3f}",
        bool(one.flagged[case]),
        why(screening, case, one.name) if one.flagged[case] else "",
        _strip(one, screening, case),
    )


def _strip(one: Judged, screening: Screening, case: int) -> Strip | None:
    """The distribution of the reference's z; None where the case's own is not known."""
    others = one.z[screening.reference & (np.arange(len(one.z)) != case)]
    others = _placed(others[~np.isnan(others)])
    if math.isnan(one.z[case]) or not len(others):
        return None
    mine, limit = (float(_placed(np.array([value]))[0]) for value in (one.z[case], screening.options.limit))
    low = min(float(others.min()), mine, float(np.arcsinh(-1))) - 0.2
    high = max(float(others.max()), mine, limit) + 0.2
    counts, edges = np.histogram(others, BINS, (low, high))

    def across(value: float) -> float:
        return 4 + (value - low) / (high - low) * (WIDTH - 8)

    tall = (HEIGHT - 18) / counts.max()
    bars = [(across(a), across(b) - across(a), n * tall) for a, b, n in zip(edges, edges[1:], counts, strict=False) if n]
    shown = [(across(float(np.arcsinh(z))), "> 999" if z == 999 else str(z)) for z in _TICKS if low <= np.arcsinh(z) <= high]
    ticks = [(min(max(x, 6), WIDTH - 4 * len(text)), text) for x, text in shown]
    return Strip(bars, ticks, across(limit), across(mine), len(others))


def _placed(z: np.ndarray) -> np.ndarray:
    """Where a z is drawn: near 0 as it is, far away as its logarithm, and nothing beyond 999."""
    return np.arcsinh(np.clip(z, -999, 999))
