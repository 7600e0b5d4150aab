"""Lengths with a unit as people and microscopes write them, in mm."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from nnactive_ext.errors import NnActiveError
from nnactive_ext.images.units import millimetres


def mm_per(unit: str) -> float | None:
    """Millimetres in one ``unit``; None if it is no unit of length, such as "pixel".

    >>> mm_per("microns"), mm_per("µm"), mm_per("pixel")
    (0.001, 0.001, None)
    """
    name = unit.strip().replace("\\u00B5", "µ")  # as ImageJ escapes it
    return None if name == "M" else millimetres(name)  # no metre


def typed_spacing(words: Sequence[str], option: str = "-spacing") -> tuple[float, float, float]:
    """The spacing along (z, y, x) in mm that somebody typed, such as ``["2um", "0.5um", "0.5um"]``, or one length for all.

    Raises:
        NnActiveError: it is not one length or three, above 0, each with its unit.
    """
    given = f"{option} {' '.join(words)}"
    found = [re.fullmatch(r"([0-9.]+(?:e[+-]?\d+)?)\s*([^\d\s.]+)?", word, re.IGNORECASE) for word in words]
    lengths = []
    for match in found:
        if match and not match[2]:
            raise NnActiveError(f"{given}: give each length with its unit, e.g. {match[1]}um for micrometres or {match[1]}mm.")
        mm = mm_per(match[2]) if match else None
        try:
            lengths.append(float(match[1]) * mm if match and mm else math.nan)
        except ValueError:
            lengths.append(math.nan)
    if len(lengths) not in (1, 3) or not all(math.isfinite(mm) and mm > 0 for mm in lengths):
        raise NnActiveError(f"{given}: give the spacing along z y x, each with its unit (nm, um, mm), e.g. 2um 0.5um 0.5um.")
    z, y, x = lengths * (3 // len(lengths))
    return z, y, x


def length_text(mm: Sequence[float]) -> str:
    """Lengths as people read them.

    >>> length_text([0.002, 0.0005]), length_text([8e-6]), length_text([2.5, 0.8])
    ('2 x 0.5 um', '8 nm', '2.5 x 0.8 mm')
    """
    unit, per = next((pair for pair in (("mm", 1.0), ("um", 1e-3)) if max(mm) >= 0.1 * pair[1]), ("nm", 1e-6))
    return " x ".join(f"{value / per:.6g}" for value in mm) + f" {unit}"
