"""Files that are whole or absent: atomic writes, and JSON with errors that name the file."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shutil
import struct
import sys
import tempfile
import time
import tokenize
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NO_SPACE, TOO_MANY_FILES, NnActiveError, brief
from nnactive_ext.paths import TEMPORARY, check_regular, is_link
from nnactive_ext.refusals import RESTORE, refusing
from nnactive_ext.schemas import JsonObject, parsed, typed

Remedy = str | Callable[[], str]
_unsynced: ContextVar[bool] = ContextVar("_unsynced", default=False)
_DAY = 86400.0
_DAMAGED = (
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
    RuntimeError,
    OverflowError,
    struct.error,
    tokenize.TokenError,
    SyntaxError,
)
"""What numpy raises for a damaged .npz, or for something else that is called so."""


@contextmanager
def unsynced() -> Iterator[None]:
    """Within the block, files that nothing refers to are replaced without waiting for the disk: they can be made again."""
    token = _unsynced.set(True)
    try:
        yield
    finally:
        _unsynced.reset(token)


@contextmanager
def replacing(path: Path | str, durable: bool | None = None) -> Iterator[Path]:
    """Give a temporary name beside ``path`` with the same ending; it replaces ``path`` when the block succeeds.

    Not for nnU-Net's folders of preprocessed cases: nnU-Net takes every file there with the right ending for a case.

    Args:
        path: the file.
        durable: the file and its name are on the disk when the block has ended, so that others may refer to them (default: yes,
            but for :func:`unsynced`).
    """
    path = Path(path)
    endings = "".join(path.suffixes)
    handle, name = tempfile.mkstemp(prefix=temporary_prefix(), suffix=endings, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; give them what the user's umask gives ordinary files.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        durable = not _unsynced.get() if durable is None else durable
        if durable:
            sync_file(temporary)
        os.replace(temporary, path)
        if durable:
            sync_folder(path.parent)
    except OSError as error:
        if error.filename is None:  # as when a write finds the device full
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporary(folder: Path) -> None:
    """Remove what a killed process was writing in ``folder``; only for the one process that may write there."""
    names = os.listdir(folder) if folder.is_dir() else []  # which is quicker than a pattern where thousands of answers lie
    for leftover in (folder / name for name in names if name.startswith(TEMPORARY)):
        if is_link(leftover):
            _remove_link(leftover)
        elif leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def _remove_link(link: Path) -> None:
    """What it leads to stays; on Windows a link to a folder is removed as a folder is."""
    try:
        link.unlink()
    except PermissionError:
        link.rmdir()


def remove_left_over(folder: Path) -> None:
    """Remove what killed processes of this machine were writing in ``folder`` or below, and what is older than a day; processes
    that are at work there keep theirs."""
    for where, _, names in os.walk(folder):  # which passes over folders that vanish meanwhile
        for leftover in (Path(where, name) for name in names if name.startswith(TEMPORARY)):
            with suppress(OSError):
                if is_left_over(leftover):
                    leftover.unlink()


def temporary_prefix() -> str:
    """How the names of what this process is writing begin."""
    return f"{TEMPORARY}{_here()}.{os.getpid()}."


def is_left_over(path: Path) -> bool:
    """Whether nobody goes on with a temporary file or folder: its process has ended, or it is older than a day."""
    here, _, rest = path.name.removeprefix(TEMPORARY).partition(".")
    pid = rest.partition(".")[0]
    ended = here == _here() and pid.isdigit() and not _runs(int(pid))
    return ended or time.time() - path.lstat().st_mtime > _DAY


def _here() -> str:
    """Where a process number means what it means here: the machine, and the container."""
    namespace = Path("/proc/self/ns/pid")
    inside = os.readlink(namespace) if namespace.is_symlink() else ""
    return hashlib.sha256(f"{platform.node()} {inside}".encode()).hexdigest()[:6]


def _runs(pid: int) -> bool:
    if os.name == "nt":  # where signals end processes
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        pass
    return True


def changed_at(path: Path) -> int:
    """When a file or folder was changed last, in ns since 1970; 0 where there is none, or no longer one."""
    try:
        return path.stat().st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        return 0


def last_lines(file: Path, number: int = 8) -> str:
    """The end of a log, whatever its bytes are."""
    return "\n".join(file.read_text(encoding="utf-8", errors="replace").splitlines()[-number:])


def write_text(path: Path | str, text: str, durable: bool | None = None) -> None:
    with replacing(path, durable) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def sync_file(file: Path) -> None:
    """Let what a file holds survive a loss of power."""
    with open(file, "r+b") as handle:
        os.fsync(handle.fileno())


def sync_folder(folder: Path) -> None:
    """Let what was renamed or removed in ``folder`` survive a loss of power, where the file system can."""
    if os.name == "nt":  # which opens no folders
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno in TOO_MANY_FILES:
            raise
        return  # a folder that may be written to and not read
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno in (
            errno.EIO,
            *NO_SPACE,
        ):  # others: the file system does not know it
            raise
    finally:
        os.close(handle)


def copy_file(source: Path | str, target: Path | str) -> None:
    check_regular(source)
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)


@dataclass(frozen=True)
class Unpacked:
    """Decompressed copies of .gz files, for those who read them several times, in a folder of their own under names made from
    the paths. ``folder``: None where nothing is kept."""

    folder: Path | None = None

    def place(self, file: Path) -> Path | None:
        """Where the copy of ``file`` is or is to be written; None for files that are no .gz."""
        if self.folder is None or not file.name.lower().endswith(".gz"):
            return None
        path = os.path.abspath(file)
        return self.folder / (hashlib.sha256(path.encode()).hexdigest()[:32] + Path(path[: -len(".gz")]).suffix)

    def of(self, file: Path) -> Path:
        """The copy, or the file itself where there is none."""
        place = self.place(file)
        return place if place is not None and place.is_file() else file


NOTHING_KEPT = Unpacked()


def sha256(file: Path) -> str:
    """The checksum of a file's bytes, in hexadecimal digits."""
    check_regular(file)
    digest = hashlib.sha256()
    with open(file, "rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def write_json(path: Path | str, content: Any, durable: bool | None = None) -> None:
    """Write ``content`` atomically, in ASCII; numpy scalars and arrays become numbers and lists. ``durable``: as for
    :func:`replacing`."""
    # nnU-Net opens dataset.json in the locale's encoding, and paths in it may hold any letter.
    write_text(path, json.dumps(content, indent=1, default=_plain) + "\n", durable)


def read_json_if_any(path: Path | str, otherwise: Any, kind: Any = Any, remedy: Remedy = RESTORE) -> Any:
    """:func:`read_json`, or ``otherwise`` where there is no such file."""
    return read_json(path, kind, remedy) if Path(path).is_file() else otherwise


def read_made_for(path: Path, key: str, kind: Any, remedy: Remedy) -> Any:
    """Read a JSON file that can be made again, if it was made ``for`` this key; as :func:`read_json`.

    Returns:
        The content, or None if there is no such file, or it was made for another key, as by another version.
    """
    content = read_json_if_any(path, {}, JsonObject, remedy)
    return _declared(path, kind, content, remedy) if content.get("for") == key else None


def read_arrays(file: Path, remedy: str = RESTORE) -> dict[str, np.ndarray]:
    """All arrays of a ``.npz``, without pickled objects; whatever is wrong with the file is an NnActiveError."""
    check_regular(file)
    with refusing(file, remedy):
        try:
            with np.load(file, allow_pickle=False) as content:
                found = {name: content[name] for name in content.files}
        except _DAMAGED as error:
            why = "it holds pickled objects" if "pickle" in str(error) else brief(error)
            raise NnActiveError(f"{file}: cannot be read ({why}). {remedy}") from None
    if others := [name for name, array in found.items() if not isinstance(array, np.ndarray)]:
        raise NnActiveError(f"{file}: cannot be read ({others[0]} in it is no array). {remedy}")
    if wrong := [name for name, array in found.items() if array.dtype.kind == "U" and not _is_text(array)]:
        raise NnActiveError(f"{file}: cannot be read ({wrong[0]} in it is no text). {remedy}")
    return found


def _is_text(array: np.ndarray) -> bool:
    """Whether an array of texts holds characters only: Python has none for other numbers."""
    points = np.ascontiguousarray(array).reshape(-1).view(np.uint32 if array.dtype.isnative else np.dtype(">u4"))
    return bool((points <= sys.maxunicode).all())


def read_json(path: Path | str, kind: Any = Any, remedy: Remedy = RESTORE, pairs: Callable | None = None) -> Any:
    """Read JSON. Every reader in this package gives the ``kind``; tests/test_schemas.py looks.

    Args:
        path: a file.
        kind: what the file holds, as declared types; see :func:`nnactive_ext.schemas.typed`.
        remedy: what the user can do about a file that is damaged, or what says so when it is.
        pairs: makes an object of its keys and values; None refuses keys that appear twice.

    Returns:
        The content.

    Raises:
        NnActiveError: the file is missing, is no JSON, or holds something else; it names the file, the place in it, and the
            remedy.
    """
    check_regular(path)
    try:
        content = parsed(Path(path).read_bytes(), pairs)
    except (FileNotFoundError, NotADirectoryError):
        problem = "no such file"
    except IsADirectoryError:
        problem = "a folder is where a file should be"
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    except ValueError as error:
        problem = f"not valid JSON ({error})"
    else:
        return _declared(path, kind, content, remedy)
    raise NnActiveError(f"{path}: {problem}. {_said(remedy)}")


def _declared(path: Path | str, kind: Any, content: Any, remedy: Remedy) -> Any:
    try:
        return typed(kind, content)
    except ValueError as error:
        raise NnActiveError(f"{path}: damaged ({error}). {_said(remedy)}") from None


def _said(remedy: Remedy) -> str:
    return remedy() if callable(remedy) else remedy
