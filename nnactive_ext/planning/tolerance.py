"""The tolerance of the normalised surface distance: as typed or by default, and where it is too coarse for a structure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.metrics.surface import MOST_VOXELS, Tolerance, in_plane_voxel
from nnactive_ext.planning.decisions import Decisions
from nnactive_ext.planning.measure import Measured
from nnactive_ext.words import listed

COARSE = 0.25
"""A tolerance above this share of a structure's width is coarse: a long cylinder that lacks a quarter of its radius all around
has a Dice of .72, and a perfect NSD."""


def typed_tolerance(words: Sequence[str], classes: Collection[str], default: float = 1.0) -> Tolerance:
    """``2``, ``2 vessel=1`` or ``vessel=1`` -> the tolerance in mm; classes without one of their own have the number, else the
    ``default``. Anything else, and a name that is not among ``classes``, is an error."""
    mm, own = default, dict[str, float]()
    numbers = [word for word in words if "=" not in word]
    for word in words:
        name, equals, text = word.rpartition("=")
        try:
            value = float(text.removesuffix("mm"))
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0) or len(numbers) > 1:
            raise NnActiveError(
                f"-tolerance {' '.join(words)}: write one number in mm, above 0, and NAME=MM for classes with one of their "
                "own, e.g. -tolerance 2 vessel=1"
            )
        if equals and name not in classes:
            raise NnActiveError(f"-tolerance {word}: {name!r} is not a class of the dataset. There are {listed(classes, 20)}.")
        if equals and name in own:
            raise NnActiveError(f"-tolerance {' '.join(words)}: {name} is there twice.")
        own |= {name: value} if equals else {}
        mm = mm if equals else value
    return Tolerance(mm, own)


def tolerance_words(mm: float, own: Mapping[str, float]) -> list[str]:
    """What :func:`typed_tolerance` reads as this tolerance again; empty where none was planned."""
    return [f"{mm:.6g}", *(f"{name}={value:.6g}" for name, value in own.items())] if mm else []


def decide_tolerance(
    words: Sequence[str] | None, cases: Sequence[Measured], classes: Mapping[str, Collection[int]], decisions: Decisions
) -> Tolerance:
    """The tolerance as typed, else the default; the decision and a warning about small structures go to ``decisions``.

    Args:
        words: what ``-tolerance`` was given, if anything.
        cases: the measured cases of the pool.
        classes: name -> label values, of all foreground classes.
        decisions: gets the rows.

    Returns:
        The tolerance in mm.
    """
    default = in_plane_voxel(case.spacing for case in cases)
    tolerance = typed_tolerance(words, classes, default) if words else Tolerance(default)
    why = "as asked for" if words else f"median in-plane voxel, but 1 to 3 mm and at most {MOST_VOXELS} voxels (-tolerance)"
    decisions.add("surface tolerance", str(tolerance), f"of the normalised surface distance (NSD): {why}")
    widths = {name: width_mm(cases, labels) for name, labels in classes.items()}
    coarse = {name: width for name, width in widths.items() if tolerance.of(name) > COARSE * width}
    if coarse:
        told = listed([f"{name} ({width:.2g} mm)" for name, width in coarse.items()], 13)
        # Below a voxel a contour that is off by one has an NSD near 0.
        voxel = float(np.median([sorted(case.spacing)[1] for case in cases]))
        smaller = {name: _below(COARSE * width) for name, width in sorted(coarse.items(), key=lambda one: one[1])}
        proposed = [f"{name}={mm:g}" for name, mm in smaller.items() if mm >= voxel]
        if proposed:
            remedy = f"set a smaller one, e.g. -tolerance {tolerance.mm:.4g} {proposed[0]}, or read their Dice"
        else:
            remedy = f"read their Dice, as a smaller one would be less than a voxel of {voxel:.2g} mm"
        what = f"above a quarter of the width of {told}: their NSD can be 1 for a poor prediction"
        decisions.warn("coarse tolerance", f"{what}; {remedy}")
    return tolerance


def width_mm(cases: Iterable[Measured], labels: Collection[int]) -> float:
    """The median, over images, of a class's width in mm (:func:`nnactive_ext.planning.measure.widths_mm`), in a region that of
    its widest label; infinite where it is in no image."""
    found = [max(case.widths[v] for v in labels if v in case.widths) for case in cases if set(labels) & set(case.widths)]
    return float(np.median(found)) if found else math.inf


def _below(mm: float) -> float:
    """``mm`` rounded down to one digit that is not 0."""
    digit = 10.0 ** math.floor(math.log10(mm))
    return round(math.floor(mm / digit) * digit, 6)
