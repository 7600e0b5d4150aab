"""Options of methods, as KEY=VALUE on a command line gives them: which a method has, and how text becomes a value."""

from __future__ import annotations

import math
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.patch import Triple, triple
from nnactive_ext.query_methods.aggregation import parse_aggregation
from nnactive_ext.query_methods.comparison import FOREGROUND, NORMALISE, Comparison
from nnactive_ext.query_methods.laser import Laser
from nnactive_ext.query_methods.perturbation import PERTURBATIONS, parse_beta
from nnactive_ext.query_methods.precomputed import Precomputed
from nnactive_ext.query_methods.random_patches import RandomPatches
from nnactive_ext.query_methods.scores import SCORES, Score
from nnactive_ext.query_methods.uncertainty import BLOCKINGS, SHARES, UNPREDICTED, Uncertainty

Method = TypeVar("Method")


def with_options(method: Method, options: Mapping[str, Any], called: str) -> Method:
    """``method`` with other values for its fields, given as text or as values.

    The fields of our own methods are read as :data:`OPTIONS` says; those of a user's dataclass by their type, where that
    is int, float, str or bool. An unknown option and a value it cannot take are NnActiveErrors that list what is known.
    """
    if not options:
        return method
    readers = _readers(method)
    values = {}
    for option, text in options.items():
        if option not in readers:
            known = f"Known: {', '.join(readers)}." if readers else "It has none that can be set."
            raise NnActiveError(f"{called} has no option {option!r}. {known}")
        try:
            values[option] = readers[option](text) if isinstance(text, str) else text
        except ValueError as error:
            raise NnActiveError(f"{called}: {option}={text} cannot be used: {error}") from error
    values = {CALLED.get(option, option): value for option, value in values.items()}
    if isinstance(method, Comparison):
        own = {field.name for field in fields(method.choice)}  # type: ignore[arg-type]
        choice = {option: values.pop(option) for option in own & set(values)}
        values |= {"choice": replace(method.choice, **choice)} if choice else {}  # type: ignore[type-var]
    try:
        return replace(method, **values)  # type: ignore[type-var]
    except ValueError as error:
        given = " ".join(f"{option}={text}" for option, text in options.items())
        raise NnActiveError(f"{called} {given}: {error}.") from error


def _readers(method: Any) -> dict[str, Callable[[str], Any]]:
    """The options of a method, each with what makes a value of its text (ValueError where that is impossible)."""
    if not is_dataclass(method):
        return {}
    ours: set[str] = set()
    for kind in (Uncertainty, RandomPatches, Precomputed, Comparison, Laser):
        if isinstance(method, kind):
            ours = {field.name for field in fields(kind)}
    try:
        types = typing.get_type_hints(type(method))
    except Exception:  # a hint that means nothing at run time leaves only the options we know
        types = {}
    readers = {}
    if isinstance(method, Comparison):
        names = {name: option for option, name in CALLED.items()}
        called = [names.get(field.name, field.name) for field in fields(method.choice)]  # type: ignore[arg-type]
        readers = {option: OPTIONS[option] for option in called if option in OPTIONS}
    for field in fields(method):
        if field.name in ours:
            if field.name in OPTIONS:
                readers[field.name] = OPTIONS[field.name]
        elif field.init and field.name not in ("name", "cite") and types.get(field.name) in SIMPLE:
            readers[field.name] = SIMPLE[types[field.name]]
    return readers


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise ValueError("expected a number from 0 to 1")
    return share


def _overlap(text: str) -> float:
    share = float(text)
    if not 0 <= share < 1:
        raise ValueError("expected a number of at least 0 and below 1")
    return share


def _count(text: str) -> int | None:
    if text.lower() == "none":
        return None
    count = int(text)
    if count < 1:
        raise ValueError("expected a whole number of at least 1, or none")
    return count


def _stride(text: str) -> Triple:
    words = text.split("x")
    if len(words) not in (1, 3) or not all(word.isdecimal() and int(word) >= 1 for word in words):
        raise ValueError("expected a whole number of at least 1, or three for z, y and x as in 4x8x8")
    return triple(words * (3 // len(words)))


def _score(text: str) -> Score:
    if text not in SCORES:
        raise ValueError(f"expected one of {', '.join(SCORES)}")
    return SCORES[text]


def _by(text: str) -> Score | str:
    if text not in (FOREGROUND, *SCORES):
        raise ValueError(f"expected one of {FOREGROUND}, {', '.join(SCORES)}")
    return SCORES.get(text, text)


def _radius(text: str) -> float | str:
    if text == "auto":
        return text
    radius = float(text)
    if not (math.isfinite(radius) and radius > 0):
        raise ValueError("expected a number above 0, or auto")
    return radius


def _steepness(text: str) -> tuple[float, ...] | str:
    if text in ("auto", "search"):
        return text
    numbers = tuple(float(word) for word in text.split(","))
    if not all(math.isfinite(number) and number > 0 for number in numbers):
        raise ValueError("expected auto, search, or a number above 0 for each layer as in 100,1000,0.001,0.001")
    return numbers


def _at_least_one(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError("expected a whole number of at least 1")
    return count


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"expected one of {', '.join(words)}")
        return text

    return read


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("expected a finite number")
    return value


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("expected true or false")
    return text.lower() == "true"


OPTIONS: dict[str, Callable[[str], Any]] = {
    "aggregation": parse_aggregation,
    "alpha": _share,
    "beta": parse_beta,
    "blocking": _one_of(*BLOCKINGS),
    "by": _by,
    "candidates": _at_least_one,
    "clusters": _at_least_one,
    "delta": _radius,
    "features": str,
    "first": _one_of("mean", "longest"),
    "foreground": _share,
    "from": _one_of("query", "neighbour"),
    "labelled": _truth,
    "layers": _at_least_one,
    "normalise": _one_of(*NORMALISE),
    "overlap": _overlap,
    "patches_per_case": _count,
    "perturbation": _one_of(*PERTURBATIONS),
    "purity": _share,
    "score": _score,
    "shares": _one_of(*SHARES),
    "source": str,
    "steepness": _steepness,
    "stride": _stride,
    "theta": _share,
    "uniform": _share,
    "unpredicted": _one_of(*UNPREDICTED),
}
"""How the text of each option of our own methods becomes its value."""

CALLED = {"from": "origin"}
"""Options whose names Python does not allow for a field -> the field."""

SIMPLE: dict[Any, Callable[[str], Any]] = {int: int, float: _finite, str: str, bool: _truth}
"""How text becomes the value of a user's own field, by its type."""


def method_and_options(words: Sequence[str] | None) -> tuple[str | None, dict[str, str]]:
    """``["clasp_pe", "alpha=0.5"]`` -> ``("clasp_pe", {"alpha": "0.5"})``."""
    if not words:
        return None, {}
    options = {}
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise NnActiveError(f"--method {' '.join(words)}: {word!r} is not of the form KEY=VALUE.")
        options[key] = value
    return words[0], options
