"""Query methods from outside this package: from a user's file, and from installed packages' entry points."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.nnunet.trusted import check_file, confirm, confirm_here
from nnactive_ext.query_methods.base import DrawnMethod, RankedMethod
from nnactive_ext.query_methods.identity import file_digest

GROUP = "nnactive_ext.query_methods"
"""The entry point group in which other packages offer methods: name of the method -> ``module:value``."""


def is_in_file(name: str) -> bool:
    """Whether a method's name has the form ``path/to/file.py:name`` (or, by mistake, lacks the second part)."""
    return ".py:" in name or name.endswith(".py")


def check_confirmed(name: str) -> None:
    """Refuse a method's file that the user did not confirm on this machine as it is now: by typing its name in a command, or
    with ``nnactive_env --trust``."""
    if is_in_file(name) and split(name)[0].is_file():
        check_file(split(name)[0])


def confirm_typed(words: Sequence[str]) -> None:
    """A file with a method may run because the user typed its name; ``words``: as after ``--method``."""
    for word in words[:1]:
        if is_in_file(word) and split(word)[0].is_file():
            try:
                confirm(str(split(word)[0]))
            except OSError as error:  # as in a container without a home
                confirm_here(split(word)[0])
                print(f"WARNING: {word} runs now, but that was not kept: {error}", file=sys.stderr)


def split(name: str) -> tuple[Path, str]:
    """``path/to/file.py:name`` -> the absolute path, and the name."""
    file, _, value = name.rpartition(":") if ".py:" in name else (name, "", "")
    return Path(file).absolute(), value


def from_file(name: str) -> RankedMethod | DrawnMethod:
    """The method that ``path/to/file.py:name`` stands for; whatever is wrong with it is an NnActiveError."""
    file, value = split(name)
    if not file.is_file():
        raise NnActiveError(f"{file}: no such file. A method of your own is given as path/to/file.py:name.")
    module = _module(file)
    known = ", ".join(key for key, found in vars(module).items() if _is_method(found)) or "none"
    if not value:
        raise NnActiveError(f"{file}: which of its methods? Write {file.name}:NAME. Methods in it: {known}.")
    if not hasattr(module, value):
        raise NnActiveError(f"{file}: there is no {value!r} in it. Methods in it: {known}.")
    return checked(getattr(module, value), f"{file}:{value}")


def installed() -> Mapping[str, EntryPoint]:
    """The methods that installed packages offer, by name, sorted; of two of one name the first by what it points at."""
    found = sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value), reverse=True)
    return {entry.name: entry for entry in reversed({entry.name: entry for entry in found}.values())}


def from_package(entry: EntryPoint) -> RankedMethod | DrawnMethod:
    """The method an entry point leads to; one that cannot be loaded or is none is an NnActiveError."""
    where = f"{entry.name} ({entry.value}, offered by {entry.dist.name if entry.dist else 'an installed package'})"
    try:
        value = entry.load()
    except Exception as error:
        raise NnActiveError(f"The query method {where} cannot be loaded: {type(error).__name__}: {error}") from error
    return checked(value, where)


def checked(value: Any, where: str) -> RankedMethod | DrawnMethod:
    """``value`` if it is a method; else an NnActiveError."""
    if _is_method(value):
        return value
    kind = "a class" if isinstance(value, type) else f"of type {type(value).__name__}"
    raise NnActiveError(
        f"{where} is {kind}, not a query method. Expected a value with name, needs_reference and either rank and merge "
        "(RankedMethod) or draw (DrawnMethod), such as Uncertainty('my_method', bald)."
    )


def _is_method(value: Any) -> bool:
    # A class has its instances' attributes and would pass for one.
    return not isinstance(value, type) and isinstance(value, RankedMethod) != isinstance(value, DrawnMethod)


def _module(file: Path) -> ModuleType:
    # The digest in the name makes an edited file another module, and the same file the same one.
    name = f"nnactive_user_{file.stem}_{file_digest(file)[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None, "the name ends in .py"
    assert spec.loader is not None, "it is a file"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up while it is executed
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else None)
        place = f", line {line}" if line else ""
        raise NnActiveError(f"{file}{place}: cannot be imported: {type(error).__name__}: {error}") from error
    return module
