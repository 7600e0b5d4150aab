"""Names that stand in files which others may have written become paths here, and nowhere else: they stay in their folder."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Annotated, Literal

from nnactive_ext.errors import NnActiveError

TEMPORARY = ".nnactive_tmp_"
"""How the names of half-written files and folders begin; whoever finds them may remove them."""
LONGEST = 200
"""Bytes of a name that we make: file systems end at 255, and prefixes and endings are put around it."""
_MOST = 255
_RESERVED = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³])(\..*)?", re.IGNORECASE)
_WINDOWS = os.name == "nt"


def name_problem(name: object, windows: bool = _WINDOWS) -> str:
    """Why ``name`` cannot be the name of a file or folder, or a part of one; empty if it can.

    Args:
        name: anything that a file may hold.
        windows: also refuse what only Windows takes for something else.

    >>> name_problem("liver_1"), name_problem("../liver_1"), name_problem("NUL.nii", windows=True)
    ('', "holds '/'", 'is the name of a device on Windows')
    """
    if not isinstance(name, str):
        return "is no text"
    if not name or name in (".", ".."):
        return "is no name of a file"
    if wrong := re.search(r"[/\\\x00-\x1f\x7f]", name):
        return f"holds {wrong[0]!r}"
    if re.match(r"[A-Za-z]:", name):
        return "begins with a drive letter"
    if name.startswith(TEMPORARY):
        return "is the name of a temporary file"
    if len(name.encode("utf-8", "surrogatepass")) > _MOST:
        return f"is longer than {_MOST} bytes"
    if windows and (wrong := re.search(r'[<>:"|?*]', name)):
        return f"holds {wrong[0]!r}"
    if windows and _RESERVED.fullmatch(name):
        return "is the name of a device on Windows"
    if windows and name[-1] in ". ":
        return "ends in a dot or a space, which Windows drops"
    return ""


def is_name(name: str) -> None:
    """:func:`name_problem` as a check for declared types (:mod:`nnactive_ext.schemas`); ValueError says what is wrong."""
    if problem := name_problem(name):
        shown = repr(name) if len(repr(name)) < 100 else f"{repr(name)[:100]}..."
        raise ValueError(f"{shown} {problem}, so it cannot name a file in a folder of nnU-Net's")


Name = Annotated[str, is_name]
"""A text of JSON that becomes a part of a path."""
NameIfAny = Name | Literal[""]


def check_name(name: object, what: str, file: Path | str) -> str:
    """``name``, if it stays in the folder that it is put into.

    Args:
        name: as read.
        what: what it names, such as "the case".
        file: where it was read.

    Raises:
        NnActiveError: it holds ``/`` or ``\\``, or is no name for another reason.
    """
    if not isinstance(name, str):
        raise NnActiveError(f"{file}: {what} is no text. Correct or restore the file.")
    try:
        is_name(name)
    except ValueError as error:
        raise NnActiveError(f"{file}: {what} {error}. Correct or restore the file.") from None
    return name


def inside(folder: Path, name: object, what: str, file: Path | str) -> Path:
    """The path of ``name`` in ``folder``; a name that would lead out of it is an error.

    The arguments and errors are those of :func:`check_name`.
    """
    return folder / check_name(name, what, file)


def shortened(name: str) -> str:
    """The end of a file's name, as much of it as fits behind a prefix of ours.

    >>> shortened("a" * 300 + ".nii.gz") == "a" * 193 + ".nii.gz"
    True
    """
    return os.fsencode(name)[-LONGEST:].decode(errors="ignore") if len(os.fsencode(name)) > LONGEST else name


def is_link(path: Path) -> bool:
    """Whether a path is a symbolic link, or (on Windows) a junction."""
    if os.path.islink(path):
        return True
    try:
        tag = getattr(os.lstat(path), "st_reparse_tag", 0)
    except OSError:
        return False
    return tag == getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", -1)


def check_no_link(path: Path) -> Path:
    """``path``, unless it is a link, through which files elsewhere would be read or written."""
    if is_link(path):
        raise NnActiveError(
            f"{path}: is a link, and links in folders that may come from others are not followed. Replace it by what it leads "
            "to, or remove it."
        )
    return path


def is_special(file: Path | str) -> bool:
    """Whether a path is (or a link leads to) a pipe, a device or a socket, which nobody may open: it could be waited for."""
    try:
        mode = os.stat(file).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def is_own_file(file: Path) -> bool:
    """Whether a path is a file itself, not a link to one."""
    return os.path.isfile(file) and not is_link(file)


def check_regular(file: Path | str) -> None:
    """Refuse what :func:`is_special`; nothing is said of a file that is not there."""
    if is_special(file):
        raise NnActiveError(f"{file}: is a pipe, a device or a socket, not a file. Remove it.")
