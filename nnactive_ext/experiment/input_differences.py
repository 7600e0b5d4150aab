"""How a dataset.json or nnU-Net's plans differ from what was frozen, in words that name both values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from nnactive_ext.experiment.inputs import DESCRIBED, PASSING

_MOST = 4
"""Differences of plans that are named; the others are counted."""


def description_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The differences of two descriptions (:func:`nnactive_ext.experiment.inputs.described`), one text each.

    >>> description_differences({"labels": {"a": 0, "b": 1}}, {"labels": {"a": 0, "c": 1}})
    ['labels: a=0, b=1 then; a=0, c=1 now']
    """
    differing = [key for key in DESCRIBED if _meaning(key, then.get(key)) != _meaning(key, now.get(key))]
    return [f"{key}: {_text(then.get(key))} then; {_text(now.get(key))} now" for key in differing]


def plans_differences(then: Mapping[str, Any], now: Any) -> str:
    """In which values nnU-Net's plans differ; empty where they do not.

    >>> plans_differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}})
    'a.c: 2 then; 3 now'
    """
    if not isinstance(now, Mapping):
        return "no plans"
    # What the network is like says more than the intensities that its images are normalised by.
    found = sorted(_by_key(then, now), key=lambda text: not text.startswith("configurations."))
    more = [f"and {len(found) - _MOST} more differences"] if len(found) > _MOST else []
    return ", ".join([*found[:_MOST], *more])


def _by_key(then: Mapping[str, Any], now: Mapping[str, Any], before: str = "") -> Iterator[str]:
    for key in dict.fromkeys((*then, *now)):
        one, other = then.get(key), now.get(key)
        if not before and key in PASSING:
            continue
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from _by_key(one, other, f"{before}{key}.")
        elif one != other:
            yield f"{before}{key}: {_text(one)} then; {_text(other)} now"


def _meaning(key: str, value: Any) -> Any:
    """Equal for values that mean the same: the order of labels counts only where there are regions."""
    if key != "labels" or not isinstance(value, Mapping):
        return value
    names = [
        (name, sorted(v) if isinstance(v, list) and all(isinstance(n, int) for n in v) else [v]) for name, v in value.items()
    ]
    return names if any(len(values) > 1 for _, values in names) else sorted(names, key=str)


def _text(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping) and not any(isinstance(v, Mapping) for v in value.values()):
        return ", ".join(f"{name}={json.dumps(v, ensure_ascii=False)}" for name, v in value.items())
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 120 else f"{text[:120]}..."
