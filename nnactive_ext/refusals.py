"""Any exception of a reader is a refusal of its file, so that the others go on; what nobody foresaw goes to a log."""

from __future__ import annotations

import lzma
import os
import tempfile
import traceback
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from nnactive_ext.errors import NnActiveError, brief

P = ParamSpec("P")
R = TypeVar("R")
RESTORE = "Restore it from a backup."
"""The remedy for a file of an experiment that cannot be made again."""
SAVE_AGAIN = "Save it again."
"""The remedy for a file that somebody handed in."""
_FORESEEN = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, UnicodeError)
"""Beside errors of the system, what readers raise for truncated and damaged files."""
_LOGS: dict[int, str] = {}
"""Process -> its log; a forked process has its own."""


class Unforeseen(NnActiveError):
    """A reader failed on a file in a way that nobody foresaw; the message names the log with the traceback."""


@contextmanager
def refusing(file: Path | str, remedy: str = SAVE_AGAIN) -> Iterator[None]:
    """Turn any exception of the block, which reads ``file``, into an NnActiveError that names the file and ``remedy``.

    Raises:
        NnActiveError: the file cannot be read.
        Unforeseen: neither its reader nor this function knows the exception; its traceback is in a log of this process.
    """
    try:
        yield
    except NnActiveError:
        raise
    except MemoryError:
        raise NnActiveError(f"{file}: reading it needs more memory than there is. {remedy}") from None
    except RecursionError:
        raise NnActiveError(f"{file}: nested too deeply. {remedy}") from None
    except OSError as error:
        raise NnActiveError(f"{file}: cannot be read ({error.strerror or brief(error)}). {remedy}") from None
    except _FORESEEN as error:
        raise NnActiveError(f"{file}: damaged ({brief(error)}). {remedy}") from None
    except Exception as error:
        what = f"{type(error).__name__}: {brief(error)}"
        raise Unforeseen(f"{file}: cannot be read ({what}). {remedy} {logged(error)}") from None


def logged(error: BaseException) -> str:
    """Write the traceback of ``error`` to the log of this process; returns a sentence that says where it is."""
    text = "".join(traceback.format_exception(error))
    try:
        if os.getpid() not in _LOGS:
            handle, name = tempfile.mkstemp(prefix="nnactive_errors_", suffix=".log")
            os.close(handle)
            _LOGS[os.getpid()] = name
        with open(_LOGS[os.getpid()], "a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(f"{datetime.now(timezone.utc).isoformat(timespec='seconds')}\n{text}\n")
    except OSError as problem:
        return f"Its traceback could not be written ({problem.strerror})."
    return f"The traceback is in {_LOGS[os.getpid()]}."


def refuses(reader: Callable[Concatenate[Path, P], R]) -> Callable[Concatenate[Path, P], R]:
    """A decorator for readers, whose first argument is a file: :func:`refusing` around all that they do."""

    @wraps(reader)
    def guarded(file: Path, *args: P.args, **options: P.kwargs) -> R:
        with refusing(file):
            return reader(file, *args, **options)

    return guarded
