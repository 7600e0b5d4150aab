"""``-relevance FOLDER delta=precision standardise=true``: where the user's files are, and how they are mixed with verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnactive_ext.errors import NnActiveError

SCHEDULE, PRECISION = "schedule", "precision"
NONE = "none"
"""In place of the folder: no files any more."""
KEYS = {"delta": (SCHEDULE, PRECISION), "standardise": ("false", "true")}


@dataclass(frozen=True)
class Options:
    """``folder``: of the user's files; None without. ``by_precision``: whether delta follows the precision of the last query
    instead of the schedule. ``standardise``: see :func:`nnactive_ext.relevance.mixing.mixed`."""

    folder: Path | None = None
    by_precision: bool = False
    standardise: bool = False


def lasting_words(words: Sequence[str]) -> tuple[str, ...]:
    """The words of ``-relevance`` as a plan keeps them: an absolute folder (or ``none``) first, if one is given, then options.

    Raises:
        NnActiveError: an option is unknown, or there are several folders.
    """
    known = dict.fromkeys(KEYS, "")
    folders = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in KEYS:
            folders.append(word)
        elif value in KEYS[key]:
            known[key] = value
        else:
            raise NnActiveError(f"-relevance {word}: {key} is one of {', '.join(KEYS[key])}.")
    if len(folders) > 1:
        raise NnActiveError(f"-relevance {' '.join(words)}: give one folder, and options such as delta=precision.")
    lasting = [f"{key}={value}" for key, value in known.items() if value not in ("", KEYS[key][0])]
    return (*(folder if folder == NONE else str(Path(folder).absolute()) for folder in folders), *lasting)


def changed_words(before: Sequence[str], words: Sequence[str]) -> tuple[str, ...]:
    """The words of a plan after ``nnactive_change -relevance``: without a folder among them, the folder stays.

    Args:
        before: the words of the plan.
        words: by :func:`lasting_words`; they replace all options.

    >>> changed_words(["/files", "standardise=true"], ["delta=precision"])
    ('/files', 'delta=precision')
    >>> changed_words(["/files"], ["none", "delta=precision"])
    ('delta=precision',)
    """
    folder = [] if any(_names_folder(word) for word in words) else [word for word in before if _names_folder(word)]
    return (*folder, *(word for word in words if word != NONE))


def _names_folder(word: str) -> bool:
    return word.partition("=")[0] not in KEYS


def options_of(words: Sequence[str]) -> Options:
    """The options that the words of a plan mean."""
    folder = next((Path(word) for word in words if _names_folder(word) and word != NONE), None)
    return Options(folder, f"delta={PRECISION}" in words, "standardise=true" in words)
