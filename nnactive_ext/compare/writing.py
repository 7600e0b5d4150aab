"""The output folder of a command: written beside its place and swapped in, and only over one that the command wrote."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import TEMPORARY, is_left_over, temporary_prefix

COMPARE = "nnactive_compare"
"""The command; its name after a dot is that of the file that says that a folder may be replaced."""


def check_output(output: Path, command: str = COMPARE) -> None:
    """A file, or a folder with files that the ``command`` did not write, is an error."""
    if output.exists() and not output.is_dir():
        raise NnActiveError(f"-o {output}: is a file. Name a folder, a new one or one that {command} wrote.")
    if output.is_dir() and any(output.iterdir()) and not (output / f".{command}").is_file():
        raise NnActiveError(f"-o {output}: holds files that {command} did not write. Name another folder.")


@contextmanager
def replacing_folder(output: Path, command: str = COMPARE) -> Iterator[Path]:
    """Give a new folder beside ``output``, which replaces it as a whole when the block succeeds.

    Whatever ends it before, the old folder stays; a kill between the two renames leaves it as ``.NAME.old``, from where
    the next run takes it back.
    """
    output, mark = output.resolve(), f".{command}"
    output.parent.mkdir(parents=True, exist_ok=True)
    old = output.with_name(f".{output.name}.old")
    if old.exists() and not (old / mark).is_file():
        raise NnActiveError(f"{old}: is in the way of replacing {output}. Move it.")
    if old.exists():
        if output.exists():
            shutil.rmtree(old)
        else:
            old.rename(output)
    check_output(output, command)
    _remove_abandoned(output)
    new = Path(tempfile.mkdtemp(prefix=temporary_prefix(), suffix=f".{output.name}", dir=output.parent))
    try:
        yield new
        (new / mark).write_text(f"This folder was written by {command}, which replaces it as a whole.\n")
        umask = os.umask(0)
        os.umask(umask)
        new.chmod(0o777 & ~umask)  # mkdtemp makes it private
        if (output / mark).is_file():
            output.rename(old)
        elif output.is_dir():
            output.rmdir()
        new.rename(output)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _remove_abandoned(output: Path) -> None:
    for folder in output.parent.glob(f"{TEMPORARY}*.{glob.escape(output.name)}"):
        if folder.is_dir() and is_left_over(folder):
            shutil.rmtree(folder, ignore_errors=True)
