"""A method as text that is the same in every process and changes with whatever could change its choices."""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

import nnactive_ext

OURS = "nnactive_ext"
ROOMS = tuple(
    "engine experiment geometry images intake labelling members metrics nnunet ood query_methods querying relevance "
    "selection".split()
)
"""The folders whose code may decide a query: all that ``querying`` may import. A change in any of them outdates candidates."""


def identity(value: Any) -> str:
    """The text of a method, or of a value in it.

    Dataclasses are told by the fields they are compared by, other objects by their attributes, functions by their names.
    With a class or function of another package or of a user's file comes the sha256 of its file, so that whatever was
    stored for the method is outdated when the file is edited.
    """
    if isinstance(value, functools.partial):
        return f"partial({identity(value.func)}, {identity(value.args)}, {identity(value.keywords)})"
    if inspect.isroutine(value) or isinstance(value, type):
        bound = getattr(value, "__self__", None)
        owner = f" of {identity(bound)}" if bound is not None and not inspect.ismodule(bound) else ""
        for cell in getattr(value, "__closure__", None) or ():
            owner += f" with {identity(cell.cell_contents)}"
        for defaults in (getattr(value, "__defaults__", None), getattr(value, "__kwdefaults__", None)):
            owner += f" by default {identity(defaults)}" if defaults else ""
        return f"{value.__module__}.{value.__qualname__}{_file(value)}{owner}"
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(sorted(f"{identity(k)}: {identity(v)}" for k, v in value.items())) + "}"
    if isinstance(value, list | tuple):
        return "(" + ", ".join(map(identity, value)) + ")"
    if isinstance(value, set | frozenset):
        return "{" + ", ".join(sorted(map(identity, value))) + "}"
    if isinstance(value, np.ndarray):
        return f"array({value.dtype}, {value.shape}, {hashlib.sha256(value.tobytes()).hexdigest()})"
    if is_dataclass(value):
        values = {field.name: getattr(value, field.name) for field in fields(value) if field.compare}
    elif getattr(value, "__dict__", None) or type(value).__repr__ is object.__repr__:
        values = getattr(value, "__dict__", {})
    else:  # numpy scalars and the like; nothing else is left to tell them by
        return f"{identity(type(value))}({value!r})"
    return f"{identity(type(value))}({', '.join(f'{name}={identity(v)}' for name, v in values.items())})"


def code_digest(package: Path | None = None, rooms: Sequence[str] = ROOMS) -> str:
    """The sha256 of all our code that decides which candidates a case has: :func:`deciding_files`, their names too."""
    digest = hashlib.sha256()
    for name, file in sorted(deciding_files(package, rooms).items()):
        digest.update(f"{name} {file_digest(file)}\n".encode())
    return digest.hexdigest()


def deciding_files(package: Path | None = None, rooms: Sequence[str] = ROOMS) -> dict[str, Path]:
    """Every module (``geometry/grid.py``) that may decide a query: those of the folders ``rooms`` and the ground floor's.

    ``package``: the folder of another installation of nnactive_ext. Whole folders, because a list of modules forgets some.
    """
    folders = {"": Path(nnactive_ext.__file__).parent, "query_methods": Path(__file__).parent}
    if package is not None:
        folders = {"": package, "query_methods": package / "query_methods"}
    found = {file.name: file for file in folders[""].glob("*.py")}
    for room in rooms:
        folder = folders.get(room, folders[""] / room)
        found |= {f"{room}/{file.relative_to(folder).as_posix()}": file for file in folder.rglob("*.py")}
    return found


def _file(part: Any) -> str:
    """`` @ sha256`` of the file in which a class or function that is not ours is defined; empty for built-in ones."""
    module = part.__module__ or ""
    if module.split(".")[0] in (OURS, "builtins"):
        return ""
    file = getattr(sys.modules.get(module), "__file__", None)
    return f" @ {file_digest(Path(file))}" if file and Path(file).is_file() else ""


def file_digest(file: Path) -> str:
    """The sha256 of a file's content."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
