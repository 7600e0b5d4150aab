"""Finds the class in the name of a file that may be the mask of one class: ``liver``, ``Liver-mask``, ``liver (1)``."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

_SAYS_NOTHING = {"seg", "segmentation", "segmentations", "mask", "masks", "label", "labels", "labelmap", "map", "copy", "kopie"}
"""Words that viewers and people put beside the name of a class, and that do not say which one it is."""


@dataclass(frozen=True)
class ClassName:
    """What a text says: the class ``name``, or none; ``unsure`` if a class is among other words; ``other`` if there are only
    other words, which may be a class that is not known."""

    name: str = ""
    unsure: bool = False
    other: bool = False


def class_in(text: str, classes: Iterable[str]) -> ClassName:
    """Which of ``classes`` a part of a file's name says, whatever its case, spaces, dashes and underscores.

    "kidney left" is no "kidney": with words that may mean something, the class is unsure.

    >>> class_in("_Kidney-left_mask", ["kidney", "kidney_left"])
    ClassName(name='kidney_left', unsure=False, other=False)
    >>> class_in("kidney_right", ["kidney", "kidney_left"])
    ClassName(name='', unsure=True, other=False)
    >>> class_in("anna", ["kidney", "kidney_left"])
    ClassName(name='', unsure=False, other=True)
    """
    known: dict[str, list[str]] = {}
    for name in classes:
        known.setdefault(_key(name), []).append(name)
    words = [word for word in re.split(r"[\W_]+", _plain(text)) if word]
    short = [word for word in re.split(r"[\W_]+", re.sub(r"\s*\(\d+\)\s*$", "", _plain(text))) if word]
    left = [word for word in short if word not in _SAYS_NOTHING]
    for tried in (words, short, left):
        fitting = known.get("".join(tried), []) if tried else []
        exact = [name for name in fitting if _plain(name) == _plain(text).strip(" _-.")]
        if len(fitting) == 1 or exact:
            return ClassName((exact or fitting)[0])
        if fitting:
            return ClassName(unsure=True)
    runs = {"".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}
    unsure = not runs.isdisjoint(known)
    return ClassName(unsure=unsure, other=bool(left) and not unsure)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _key(name: str) -> str:
    return re.sub(r"[\W_]+", "", _plain(name))
