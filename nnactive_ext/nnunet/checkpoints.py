"""Opens checkpoints without running what is in them: the only place where a file of weights is read, whoever made it."""

from __future__ import annotations

import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError, brief
from nnactive_ext.paths import check_regular

_TYPES = (np.bool_, *(np.dtype(code).type for code in "bBhHiIlLqQefdFD"))
_OWN = "If its trainer is yours and stores this on purpose, call torch.serialization.add_safe_globals in the trainer's file."
_FOREIGN = "If you trust whoever made the file, add --trust, which opens it as nnU-Net would."


def read_checkpoint(file: Path, trust: bool = False) -> dict[str, Any]:
    """The content of a checkpoint, its tensors on the CPU wherever they were saved.

    Args:
        file: written by ``torch.save``, as nnU-Net's and nnssl's checkpoints are.
        trust: open it as nnU-Net does, which runs whatever code the file holds.

    Returns:
        The dictionary that was saved.

    Raises:
        NnActiveError: there is no such file, it is no checkpoint, or (unless ``trust``) it needs more than tensors, plain
            values of Python and numpy's numbers, so that opening it could run code. Nothing of it has been run then.
    """
    import torch

    try:
        content = torch.load(file, map_location="cpu", weights_only=False) if trust else _opened(file, _FOREIGN)
    except (OSError, EOFError, LookupError, RuntimeError, ValueError, pickle.UnpicklingError, AttributeError) as error:
        raise NnActiveError(
            f"{file}: cannot be opened as a checkpoint ({_reason(error)}). Give the .pth file of a training."
        ) from None
    if not isinstance(content, dict):
        raise NnActiveError(
            f"{file}: holds {type(content).__name__} instead of a dictionary. Give the .pth file of a training."
        )
    return content


def check_checkpoint(file: Path) -> None:
    """Make sure that nnU-Net, which runs what is in a checkpoint, may open this one.

    Args:
        file: a checkpoint of a member; its tensors are not read.

    Raises:
        NnActiveError: it needs more than :func:`read_checkpoint` allows; the message names what.
    """
    _opened(file, _OWN)


def _opened(file: Path, remedy: str) -> Any:
    """What torch's restricted unpickler makes of a file; errors of damaged files are torch's."""
    import torch

    scalar: Any = np.dtype(float).type(0).__reduce__()[0]
    # numpy 1 and 2 call it differently, and a file names it as the numpy that wrote it does.
    names = [(scalar, f"{module}.multiarray.scalar") for module in ("numpy.core", "numpy._core")]
    allowed: list[Any] = [np.dtype, *names, *{type(np.dtype(one)) for one in _TYPES}]
    with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about protocols of pickle
        try:
            return torch.load(file, map_location="cpu", weights_only=True, mmap=_is_archive(file))
        except pickle.UnpicklingError as error:
            needed = _needed(file, error)
            if not needed:
                raise
            raise NnActiveError(
                f"{file}: was not opened, because it needs {', '.join(needed)}, and a file that needs more than tensors and "
                f"numbers can run code when it is opened. {remedy}"
            ) from None


def _is_archive(file: Path) -> bool:
    """Whether tensors can stay in the file until they are used; torch's earlier format cannot do so."""
    check_regular(file)
    with open(file, "rb") as handle:
        return handle.read(4) == b"PK\x03\x04"


def _needed(file: Path, error: Exception) -> list[str]:
    """The names of functions and classes that a file asks for and that are not allowed."""
    import torch

    try:
        found = torch.serialization.get_unsafe_globals_in_checkpoint(str(file))
    except Exception:  # it is of torch's earlier format, or written to mislead
        found = []
    return sorted({*found, *re.findall(r"GLOBAL ([\w.]+)", str(error))})


def _reason(error: BaseException) -> str:
    """What torch says of a file that it cannot read, without its advice to read it in an unsafe way."""
    text = str(error).partition("Weights only load failed")[0]
    return brief(type(error)(text)) if text.strip() else "it is not a file that torch.save wrote"
