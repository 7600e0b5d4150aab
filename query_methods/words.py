"""What a method and its parts say of themselves: the first line of a docstring, or the part as text."""

from __future__ import annotations

import functools
import inspect
from typing import Any


def words(part: Any) -> str:
    """One phrase, without a full stop.

    Of a function its docstring's first line or else its name; of a value its ``words`` if it has them, else its text if
    its class says how, else the first line of its class's docstring.
    """
    if isinstance(part, functools.partial):
        return words(part.func)
    if isinstance(said := getattr(part, "words", None), str):
        return said.strip().removesuffix(".")
    if inspect.isroutine(part):
        return _first_line(part) or part.__name__
    if type(part).__str__ is not object.__str__:
        return str(part)
    return _first_line(type(part)) or type(part).__name__


def _first_line(documented: Any) -> str:
    lines = (inspect.getdoc(documented) or "").strip().splitlines()
    return lines[0].removesuffix(".") if lines else ""
