"""In which parts two values of a record differ, in words short enough for a message."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

MOST = 5
"""How many parts are told; the others are counted."""
_LONGEST = 60


def difference(first: Any, second: Any) -> str:
    """``first`` against ``second``; empty where they are equal. Mappings by key, lists of names by what only one has.

    >>> difference({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}})
    'b.c: 2 against 3'
    >>> difference(["x", "y"], ["y", "z"])
    'only the first has x; only the second has z'
    """
    if first == second:
        return ""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return _shortened(list(_by_key(first, second)), "; ")
    if _names(first) and _names(second) and set(first) != set(second):
        only = [("first", sorted(set(first) - set(second))), ("second", sorted(set(second) - set(first)))]
        return "; ".join(f"only the {which} has {_shortened(names, ', ')}" for which, names in only if names)
    return f"{_text(first)} against {_text(second)}"


def _by_key(first: Mapping[str, Any], second: Mapping[str, Any], before: str = ""):  # type: ignore[no-untyped-def]
    for which, names in (("first", first.keys() - second.keys()), ("second", second.keys() - first.keys())):
        if names:
            yield f"only the {which} has {_shortened([before + str(name) for name in sorted(names)], ', ')}"
    for key in first:
        if key in second and first[key] != second[key]:
            if isinstance(first[key], Mapping) and isinstance(second[key], Mapping):
                yield from _by_key(first[key], second[key], f"{before}{key}.")
            else:
                yield f"{before}{key}: {_text(first[key])} against {_text(second[key])}"


def _names(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(v, str) for v in value)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _shortened(parts: Sequence[str], between: str) -> str:
    more = len(parts) - MOST
    return between.join(parts[:MOST]) + (f"{between}{more} more" if more > 0 else "")
