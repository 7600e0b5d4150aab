"""The names of units of length in the headers of image files, in mm."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

_MM = {"m": 1000.0, "cm": 10.0, "mm": 1.0, "um": 1e-3, "nm": 1e-6, "pm": 1e-9, "inch": 25.4, "in": 25.4}
_PREFIXES = {"": "m", "centi": "cm", "milli": "mm", "micro": "um", "nano": "nm", "pico": "pm"}
_OTHERS = {"micron": 1e-3, "microns": 1e-3, "mu": 1e-3, "inches": 25.4, "angstrom": 1e-7, "angstroms": 1e-7, "å": 1e-7}
_UNSAID = ("", "?", "???", "none", "n/a", "unknown")


def millimetres(unit: str) -> float | None:
    """mm in one unit; None for a word that is none.

    >>> millimetres("um"), millimetres("µm"), millimetres("Microns"), millimetres("millimetre"), millimetres("pixel")
    (0.001, 0.001, 0.001, 1.0, None)
    """
    # The sign of micro has two code points, of which this makes one, the Greek letter.
    word = unicodedata.normalize("NFKC", unit).strip().strip(".").lower().replace("μ", "u")
    for prefix, short in _PREFIXES.items():
        if word in (f"{prefix}meter", f"{prefix}meters", f"{prefix}metre", f"{prefix}metres"):
            word = short
    return _MM.get(word, _OTHERS.get(word))


def all_millimetres(words: Iterable[str]) -> list[float]:
    """mm in the units of the axes of an image, each 1 where none of them has one.

    Raises:
        ValueError: names a word that is no unit of length, or says that only some axes have a unit.
    """
    words = list(words)
    unsaid = [word.strip().lower() in _UNSAID for word in words]
    if all(unsaid):
        return [1.0] * len(words)
    shown = " ".join(f'"{word}"' for word in words)
    if any(unsaid):
        raise ValueError(f"only some axes have a unit ({shown})")
    found = [millimetres(word) for word in words]
    if None in found:
        raise ValueError(f"its unit of length ({shown}) is not known")
    return [mm for mm in found if mm is not None]
