"""The query methods by name: each is one line, a value composed of its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.query_methods.perturbation import Schedule, parse_beta
from nnactive_ext.query_methods.random_patches import RandomPatches
from nnactive_ext.query_methods.scores import SCORES, Score, bald, expected_entropy, predictive_entropy
from nnactive_ext.query_methods.uncertainty import Uncertainty

Method = Uncertainty | RandomPatches

DEFAULT = "clasp_pe"

METHODS: tuple[Method, ...] = (
    Uncertainty("clasp_pe", predictive_entropy, beta=Schedule(1.0, 100.0), alpha=0.66),
    Uncertainty("clap_pe", predictive_entropy, beta=1.0, alpha=0.66),
    Uncertainty("cla_pe_66", predictive_entropy, alpha=0.66),
    Uncertainty("cla_pe_33", predictive_entropy, alpha=0.33),
    Uncertainty("predictive_entropy", predictive_entropy),
    Uncertainty("expected_entropy", expected_entropy),
    Uncertainty("bald", bald),
    Uncertainty("power_pe", predictive_entropy, beta=1.0),
    Uncertainty("power_bald", bald, beta=1.0),
    RandomPatches("random"),
    RandomPatches("random_fg_33", foreground=0.33),
    RandomPatches("random_fg_66", foreground=0.66),
)


def names() -> tuple[str, ...]:
    """The names of all methods, the default first."""
    return tuple(method.name for method in METHODS)


def get(name: str, /, **options: str) -> Method:
    """The method called ``name``, its ``options`` set to other values than the table's; given as text, or as values.

    An unknown method, an option the method does not have and a value an option cannot take are NnActiveErrors that
    list what is known.

    >>> get("clasp_pe", alpha="0.5", beta="1:50")  # doctest: +ELLIPSIS
    Uncertainty(name='clasp_pe', ..., beta=Schedule(first=1.0, last=50.0, kind='exponential'), alpha=0.5, ...)
    """
    for method in METHODS:
        if method.name == name:
            break
    else:
        raise NnActiveError(f"There is no query method {name!r}. Known: {', '.join(names())}.")

    known = [field.name for field in fields(method) if field.name in OPTIONS]
    values = {}
    for option, text in options.items():
        if option not in known:
            raise NnActiveError(f"{name} has no option {option!r}. Known: {', '.join(known)}.")
        try:
            values[option] = OPTIONS[option](text) if isinstance(text, str) else OPTIONS[option](str(text))
        except ValueError as error:
            raise NnActiveError(f"{name}: {option}={text} cannot be used: {error}") from error
    return replace(method, **values)


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise ValueError("expected a number from 0 to 1")
    return share


def _count(text: str) -> int | None:
    if text.lower() == "none":
        return None
    count = int(text)
    if count < 1:
        raise ValueError("expected a whole number of at least 1, or none")
    return count


def _score(text: str) -> Score:
    if text not in SCORES:
        raise ValueError(f"expected one of {', '.join(SCORES)}")
    return SCORES[text]


OPTIONS: dict[str, Callable[[str], Any]] = {
    "alpha": _share,
    "beta": parse_beta,
    "foreground": _share,
    "patches_per_case": _count,
    "score": _score,
}
"""How the text of each option becomes its value."""
