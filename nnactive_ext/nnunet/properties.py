"""Opens preprocessed cases without running what is in them: .pkl by a restricted unpickler, .b2nd after a look at its head."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError, brief
from nnactive_ext.paths import check_name, check_regular

_ALLOWED = frozenset(
    {
        *(
            (module, name)
            for module in ("numpy.core.multiarray", "numpy._core.multiarray")
            for name in ("scalar", "_reconstruct")
        ),
        *((module, "_frombuffer") for module in ("numpy.core.numeric", "numpy._core.numeric")),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),  # of bytes in earlier protocols
        ("collections", "OrderedDict"),
        *(("builtins", name) for name in ("set", "frozenset", "slice", "complex", "bytearray", "range")),
    }
)
_ACTIVE = (b"\xa3b2o", b"\xa9LazyArray", b"\xacproxy-source")
"""Names in the header of a .b2nd, as msgpack writes them, of which blosc2 (by default, or in earlier versions) evaluates an
expression, runs a function or opens another file."""
_HEADER = 1 << 16
_REMEDY = "Delete the file and have the cases preprocessed again, or plan the experiment anew."


class _Forbidden(pickle.UnpicklingError):
    """A file asks for something that is neither data of Python's nor of numpy's."""


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise _Forbidden(f"{module}.{name}")
        return super().find_class(module, name)


def read_properties(file: Path) -> dict[str, Any]:
    """What nnU-Net noted about a preprocessed case: dictionaries, lists, numbers, texts and arrays of numpy's.

    Args:
        file: ``CASE.pkl``.

    Raises:
        NnActiveError: it asks for anything else, which could run code (nothing of it has been run), or is damaged.
        OSError: it cannot be read.
    """
    check_regular(file)
    try:
        content = _Restricted(io.BytesIO(file.read_bytes())).load()
    except _Forbidden as error:
        raise NnActiveError(
            f"{file}: was not opened, because it asks for {error}, and a preprocessed case needs nothing but dictionaries, "
            f"numbers, texts and arrays: opening it could run code. {_REMEDY}"
        ) from None
    except OSError:
        raise
    except Exception as error:  # whatever a damaged file makes of numpy's functions
        raise NnActiveError(f"{file}: damaged ({type(error).__name__}: {brief(error)}). {_REMEDY}") from None
    if not isinstance(content, dict):
        raise NnActiveError(f"{file}: holds {type(content).__name__} instead of a dictionary. {_REMEDY}")
    return content


def check_array(file: Path) -> Path:
    """``file``, a .b2nd, unless its header says that it is a recipe instead of an array.

    Raises:
        NnActiveError: opening it could run code or open other files.
        OSError: it cannot be read.
    """
    check_regular(file)
    with open(file, "rb") as handle:
        head = handle.read(_HEADER)
    if any(name in head[: int.from_bytes(head[11:15], "big")] for name in _ACTIVE):
        raise NnActiveError(
            f"{file}: was not opened, because it holds an expression or a reference instead of an array, which could run code. "
            f"{_REMEDY}"
        )
    return file


def check_cases(folder: Path, cases: Iterable[str]) -> None:
    """Make sure that nnU-Net, which opens preprocessed cases with Python's unpickler, may open these.

    Args:
        folder: the preprocessed cases.
        cases: their names; what is not there is nnU-Net's to report.

    Raises:
        NnActiveError: as :func:`read_properties` and :func:`check_array`.
    """
    for case in sorted({check_name(case, "the case", "splits_final.json") for case in cases}):
        for array in (folder / f"{case}.b2nd", folder / f"{case}_seg.b2nd"):
            if array.exists():
                check_array(array)
        if (folder / f"{case}.pkl").exists():
            read_properties(folder / f"{case}.pkl")
