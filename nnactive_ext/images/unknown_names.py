"""Refuses files that name their labels in a way that is not known here: taken by value, their labels could be swapped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.images.label_tables import WITHOUT
from nnactive_ext.images.segment_names import folded_name
from nnactive_ext.schemas import parsed

_ABOUT_LABELS = re.compile(r"label|segment|class|colou?r|\blut\b|\brois?\b|structure|terminolog|anatom", re.IGNORECASE)
_A_LIST = re.compile(r"\d|(s|names?|tables?|map|lists?|dict|lut)$", re.IGNORECASE)
"""How a key ends, or what it holds, that speaks of several labels or of a numbered one: ``Label_1``, ``LabelNames``."""
_OF_ITK = ("ITK_", "NRRD_", "DICOM.", "MITK.", "org.mitk.", "org_mitk_", "intent_", "ITKImageCharacteristics")
_XML_LIST = re.compile(r"<\s*\w*(label|segment|roi|class)\w*[\s>]", re.IGNORECASE)
_XML_NAME = re.compile(r">[^<]*[^\W\d_][^<]*<|(name|value|text|title)\s*=\s*[\"'][^\"'>]*[^\W\d_]", re.IGNORECASE)
_AFNI_LIST = re.compile(r"LABEL_DTABLE|LABEL_TABLE|ATLAS_POINTS")
_ASSIGNED = re.compile(r"^\s*(?:(-?\d+)\s*[:=,\t ]\s*(?P<after>\D.*?)|(?P<before>[^\d:=].*?)\s*[:=,\t ]\s*(-?\d+))\s*$")
_PARTS = re.compile(r"[;\n|]|,(?=\s*[-\w\"' ]+\s*[:=])")
_DICOM = 2
"""The code of header extensions that hold DICOM attributes."""
_PROSE = (4, 6, 8, 10, 12)
"""Codes of those whose text may name a class without listing labels: AFNI's, comments and other records."""
_MOST = 1 << 20
"""Letters of an extension that are looked at."""
_LONGEST = 200
"""Letters of a line that may give a label its value."""


def check_names_in_header(file: Path, header: Mapping[str, str], names: Mapping[str, int]) -> None:
    """Refuse a header that seems to name labels; ``names`` are the dataset's."""
    known = _known(names)
    for key, value in header.items():
        if key.startswith(_OF_ITK) or not value.strip():
            continue
        about = _ABOUT_LABELS.search(key) and re.search(r"[^\W\d_]{2}", value)
        listed = about and (_A_LIST.search(key) or _mentions(value, known))
        assigned = folded_name(key) in known and re.fullmatch(r"-?\d+", value.strip())
        numbered = re.fullmatch(r"-?\d+", key) and re.search(r"[^\W\d_]", value)
        if listed or assigned or numbered or _lists_labels(value, known):
            _refuse(file, f"its header names labels in a way that is not known here ({key}: {_short(value)})")


def check_names_in_extensions(file: Path, extensions: Iterable[tuple[int, str]], names: Mapping[str, int]) -> None:
    """Refuse header extensions of a NIfTI file that seem to name labels; ``names`` are the dataset's."""
    known = _known(names)
    for code, text in ((code, text[:_MOST]) for code, text in extensions if code != _DICOM):
        named = _mentions(text, known)
        # A Caret extension without a table describes the image; records in XML have labels of many kinds.
        harmless = "<CaretExtension" in text or (code in _PROSE and text.lstrip()[:1] == "<" and not named)
        if _AFNI_LIST.search(text) or (not harmless and _lists_labels(text, known)) or (named and code not in _PROSE):
            _refuse(file, f"a header extension (code {code}) names labels in a way that is not known here ({_short(text)})")


def _known(names: Mapping[str, int]) -> set[str]:
    return {folded_name(name) for name in names} - {"background"}


def _refuse(file: Path, what: str) -> None:
    raise NnActiveError(f"{file}: {what}, so its values may mean other classes than the dataset's. {WITHOUT}")


def _short(text: str) -> str:
    shown = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _mentions(text: str, known: Iterable[str]) -> bool:
    """Whether a class is among the words of ``text``, in any spelling."""
    words = re.findall(r"[^\W_]+", text.casefold())
    runs = {"".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, min(i + 5, len(words)) + 1)}
    return not runs.isdisjoint(known)


def _lists_labels(text: str, known: set[str]) -> bool:
    text = text.strip()
    if text[:1] in ("{", "["):
        try:
            return _in_json(parsed(text, dict), known)
        except ValueError:
            return _mentions(text, known)
    if text[:1] == "<":
        return _XML_LIST.search(text) is not None and _XML_NAME.search(text) is not None
    parts = (part for part in _PARTS.split(text) if len(part) <= _LONGEST)
    pairs = [match for part in parts if (match := _ASSIGNED.match(part))]
    return any(folded_name((match["after"] or match["before"]).strip("\"'{} ")) in known for match in pairs)


def _in_json(content: Any, known: set[str], about: bool = False) -> bool:
    """Whether names of labels are in it: one that is known, values with texts, or a list of labels of any kind."""
    if isinstance(content, str):
        return folded_name(content) in known or (about and re.search(r"[^\W\d_]", content) is not None)
    if isinstance(content, list):
        return any(_in_json(part, known, about) for part in content)
    if isinstance(content, dict):
        numbered = any(re.fullmatch(r"-?\d+", key) and isinstance(value, str) for key, value in content.items())
        return numbered or any(
            folded_name(key) in known
            or _in_json(value, known, about or (not isinstance(value, str) and _ABOUT_LABELS.search(key) is not None))
            for key, value in content.items()
        )
    return False
