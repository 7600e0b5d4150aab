"""What a file may hold, as declared types, and the one checker that compares JSON with them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, partial
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

Count = Annotated[int, (0, None)]
"""A number of things, from 0."""
Length = Annotated[int, (1, 2**31)]
"""A number of voxels along an axis."""
Millimetres = Annotated[float, (1e-9, 1e9)]
"""A length that is not 0."""
Shape = tuple[Length, Length, Length]
"""Voxels along (z, y, x)."""
Start = tuple[Count, Count, Count]
"""The first voxel of a patch, along (z, y, x)."""
Spacing = tuple[Millimetres, Millimetres, Millimetres]
Share = Annotated[float, (0, 1)]
Amount = Annotated[float, (0, None)]
JsonObject = dict[str, Any]
"""An object of JSON about which nothing else is declared."""

_LARGEST = sys.float_info.max
_DEEPEST = 200
"""Levels of nesting; no file of ours or of nnU-Net's has twenty."""
_TOO_DEEP = f"it is nested more than {_DEEPEST} levels deep"


def typed(kind: Any, value: Any) -> Any:
    """A value of JSON as the ``kind`` that was declared for it.

    Args:
        kind: ``bool``, ``int``, ``float``, ``str``, ``Any``, ``None``; a ``Literal``, a union, ``list[X]``, ``Sequence[X]``,
            ``tuple[X, ...]``, ``tuple[X, Y]``, ``dict[str, X]``, ``Mapping[str, X]`` (whose keys may be
            ``Annotated``, too); a dataclass or a ``TypedDict`` of these;
            ``Annotated[X, (low, high)]`` for numbers in a range, whose end may be None; ``Annotated[X, check]`` where ``check``
            is a function that raises ValueError.
        value: what :func:`parsed` returned.

    Returns:
        The value: objects of a ``TypedDict`` keep keys that are not declared, those of a dataclass lose them. Numbers are
        finite; whole numbers have at most 64 bits.

    Raises:
        ValueError: names the place and what is there.

    >>> typed(dict[str, Count], {"organ": 3})
    {'organ': 3}
    >>> typed(dict[str, Count], {"organ": -3})
    Traceback (most recent call last):
    ValueError: organ: -3 is not at least 0
    """
    return _reader(kind)(value)


def parsed(text: str | bytes, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """JSON from its text; whatever is wrong with it, from bytes that are not UTF-8 to 100,000 brackets, is a ValueError.

    ``pairs``: makes an object of its keys and values; None refuses keys that appear twice.
    """
    try:
        content = text.decode("utf-8") if isinstance(text, bytes) else text
        if not content.strip():
            raise ValueError("it is empty")
        return _shallow(json.loads(content, object_pairs_hook=pairs or _once_each))
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start}") from None


def one_of(*words: str) -> Callable[[str], None]:
    """A check for ``Annotated``: the text is one of ``words``."""

    def check(value: str) -> None:
        if value not in words:
            raise ValueError(f"{_shown(value)} is not one of {', '.join(words)}")

    return check


def numbered(content: Mapping[str, Any]) -> None:
    """A check for ``Annotated``: each key is a whole number, as JSON writes it."""
    for key in content:
        if not (key.isascii() and key.isdecimal() and len(key) < 10):
            raise ValueError(f"{_shown(key)} is not a whole number")


def not_empty(content: Sequence[Any]) -> None:
    """A check for ``Annotated``: there is something in it."""
    if not content:
        raise ValueError("it is empty")


def of_text(kind: Any, text: str | bytes) -> Any:
    """:func:`parsed` and :func:`typed` of a text that is no file, such as a line or a request."""
    return typed(kind, parsed(text))


def _shallow(content: Any) -> Any:
    """``content``, which everything that walks through it can then do without running out of stack."""
    level = [content]
    for _ in range(_DEEPEST):
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
            if isinstance(inner, dict | list)
        ]
        if not level:
            return content
    raise ValueError(_TOO_DEEP)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"the key {key!r} appears twice")
        content[key] = value
    return content


Reader = Callable[[Any], Any]
"""Returns a value of JSON as the kind that it was made for, or raises ValueError."""


@cache
def _reader(kind: Any) -> Reader:
    """Declared types are looked at once, not for each of the values: ledgers and loops have a hundred thousand of them."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda value: value
    if isinstance(kind, type) and is_dataclass(kind):
        return lambda value: kind(**_object(value, *_of_dataclass(kind), keep=False))
    if is_typeddict(kind):
        return lambda value: _object(value, *_of_dictionary(kind), keep=True)
    if origin is Annotated:
        inner, checks = _reader(parts[0]), parts[1:]
        return lambda value: _checked(inner(value), checks)
    if origin in (Union, UnionType):
        return partial(_first, parts)
    if origin is Literal:
        return partial(_one_of_literals, parts)
    if origin in (dict, Mapping):
        return partial(_mapping, _reader(parts[0]), _reader(parts[1]))
    if origin is tuple and not (len(parts) == 2 and parts[1] is Ellipsis):
        return partial(_tuple, [_reader(part) for part in parts])
    if origin in (list, Sequence, tuple):
        return partial(_items, tuple if origin is tuple else list, _reader(parts[0]))
    plain: dict[Any, Reader] = {int: _whole, str: _text}
    return plain.get(kind, partial(_plain, kind))


def _whole(value: Any) -> int:
    return value if type(value) is int and -(2**63) <= value < 2**64 else _plain(int, value)


def _text(value: Any) -> str:
    return value if type(value) is str and value.isascii() else _plain(str, value)


def _one_of_literals(literals: Sequence[Any], value: Any) -> Any:
    if any(value == one and type(value) is type(one) for one in literals):
        return value
    raise ValueError(f"{_shown(value)} is not {' or '.join(map(repr, literals))}")


def _mapping(key: Reader, content: Reader, value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{_shown(value)} is no object")
    return {key(name): _at(name, content, one) for name, one in value.items()}


def _checked(value: Any, checks: Sequence[Any]) -> Any:
    for check in checks:
        if callable(check):
            check(value)
        elif value < check[0] or (check[1] is not None and value > check[1]):
            told = f"at least {check[0]}" if check[1] is None else f"between {check[0]} and {check[1]}"
            raise ValueError(f"{_shown(value)} is not {told}")
    return value


def _first(kinds: Sequence[Any], value: Any) -> Any:
    """As the first of ``kinds`` that it is; the message is of the one that it comes nearest to."""
    problems = []
    for kind in kinds:
        if kind is type(None):
            if value is None:
                return None
            continue
        try:
            return typed(kind, value)
        except ValueError as error:
            problems.append(str(error))
    raise ValueError(max(problems, key=lambda text: text.count(": ")))


def _tuple(readers: Sequence[Reader], value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{_shown(value)} is no list")
    if len(value) != len(readers):
        raise ValueError(f"{_shown(value)} does not have {len(readers)} values")
    return tuple([_at(i, reader, one) for i, (reader, one) in enumerate(zip(readers, value, strict=True))])


def _items(make: Callable[[list[Any]], Any], reader: Reader, value: Any) -> Any:
    if not isinstance(value, list):
        raise ValueError(f"{_shown(value)} is no list")
    return make([_at(i, reader, one) for i, one in enumerate(value)])


def _plain(kind: Any, value: Any) -> Any:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    if isinstance(value, bool) != (kind is bool) or not isinstance(value, int | float if kind is float else kind):
        raise ValueError(f"{_shown(value)} is not {names[kind]}")
    if kind is int and not -(2**63) <= value < 2**64:
        raise ValueError(f"{_shown(value)} is too large")
    if kind is float and not -_LARGEST <= value <= _LARGEST:
        raise ValueError(f"{_shown(value)} is not a finite number")
    if isinstance(value, str) and not value.isascii() and re.search("[\ud800-\udc7f\udd00-\udfff]", value):
        raise ValueError(
            f"{_shown(value)} is no text that can be written"
        )  # names of files may hold bytes, as U+DC80 to U+DCFF
    return value


def _at(place: str | int, reader: Reader, value: Any) -> Any:
    try:
        return reader(value)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


@cache
def _of_dataclass(kind: Any) -> tuple[Mapping[str, Reader], frozenset[str]]:
    """The readers of its fields, and those without a default."""
    declared = [one for one in fields(kind) if one.init]
    kinds = get_type_hints(kind, include_extras=True)
    needed = frozenset(one.name for one in declared if one.default is MISSING and one.default_factory is MISSING)
    return {one.name: _reader(kinds[one.name]) for one in declared}, needed


@cache
def _of_dictionary(kind: Any) -> tuple[Mapping[str, Reader], frozenset[str]]:
    kinds = get_type_hints(kind, include_extras=True)
    return {name: _reader(one) for name, one in kinds.items()}, frozenset(kind.__required_keys__)


def _object(value: Any, declared: Mapping[str, Reader], needed: frozenset[str], keep: bool) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{_shown(value)} is no object")
    if missing := [name for name in declared if name in needed and name not in value]:
        raise ValueError(f"{', '.join(missing)} missing")
    return {
        name: _at(name, declared[name], one) if name in declared else one
        for name, one in value.items()
        if keep or name in declared
    }


def _shown(value: Any) -> str:
    """The beginning of a value, whatever its size."""
    if isinstance(value, int) and abs(value) >= 10**60:
        return "a number of more than 60 digits"
    text = repr(value) if not isinstance(value, list | dict) else json.dumps(value, default=str)
    return ascii(text)[1:-1] if not text.isprintable() else text if len(text) <= 60 else text[:60] + "..."
