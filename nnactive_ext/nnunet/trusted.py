"""What the user of this machine confirmed may run: Python files with query methods, by their content, and networks by name."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from filelock import FileLock

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import read_json_if_any, sha256, write_json

FILES, NETWORKS = "files", "networks"
_HERE = "nnactive_confirmed"
"""The environment variable with the digests of files that were typed where nothing can be kept."""
_PLACE = ("nnactive", "trusted.json")


def trusted_file() -> Path:
    """Where confirmations are kept: in the user's folder of settings, outside all experiments (``XDG_CONFIG_HOME`` or
    ``~/.config``; on Windows ``APPDATA``)."""
    given = os.environ.get("XDG_CONFIG_HOME") or (os.environ.get("APPDATA") if sys.platform == "win32" else None)
    try:
        return Path(given or Path.home() / ".config").joinpath(*_PLACE)
    except RuntimeError:
        raise NnActiveError(
            "There is no home folder to keep confirmations in. Set the environment variable XDG_CONFIG_HOME to a folder."
        ) from None


def confirm(what: str) -> str:
    """Remember that a Python file, as it is now, or a network may run on this machine.

    Args:
        what: the path of a file that ends in ``.py`` (``:NAME`` behind it is left out), or the dotted name of a class.

    Returns:
        What was confirmed, as a sentence.

    Raises:
        NnActiveError: there is no such file, or it is neither.
    """
    path = Path(what.rpartition(":")[0] if ".py:" in what else what).absolute()
    if path.suffix == ".py":
        if not path.is_file():
            raise NnActiveError(f"{path}: no such file.")
        digest = sha256(path)
        if _confirmed(FILES).get(digest) is None:
            _note(FILES, digest, str(path))
        return f"{path} (sha256 {digest}) may run on this machine until it is changed."
    if "/" in what or not all(part.isidentifier() for part in what.split(".")) or "." not in what:
        raise NnActiveError(f"--trust {what}: is neither a Python file (.py) nor the dotted name of a class.")
    _note(NETWORKS, what, "")
    return f"The network {what} may run on this machine."


def check_file(file: Path) -> None:
    """Refuse a Python file that nobody confirmed on this machine, or that was changed since."""
    digest = sha256(file)
    if digest not in _confirmed(FILES):
        raise NnActiveError(
            f"{file}: was not run. It is a Python file that nobody confirmed on this machine as it is now (sha256 {digest}). "
            f"Read it, and if you trust whoever wrote it, confirm it: nnactive_env --trust {shlex.quote(str(file))}"
        )


def is_confirmed_network(name: str) -> bool:
    """Whether the user confirmed a network, by its dotted name."""
    return name in _confirmed(NETWORKS)


def confirm_here(file: Path) -> None:
    """Let a Python file, as it is now, run in this process and those that it starts; nothing is kept."""
    os.environ[_HERE] = " ".join({*os.environ.get(_HERE, "").split(), sha256(file)})


def _confirmed(kind: str) -> dict[str, str]:
    here = dict.fromkeys(os.environ.get(_HERE, "").split(), "") if kind == FILES else {}
    return {**here, **_noted().get(kind, {})}


def _noted() -> dict[str, dict[str, str]]:
    remedy = "Delete it, and confirm again what commands ask for."
    return read_json_if_any(trusted_file(), {}, dict[str, dict[str, str]], remedy)


def _note(kind: str, key: str, value: str) -> None:
    file = trusted_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock", timeout=60):  # commands that begin at once confirm at once
        others = _noted()
        write_json(file, {**others, kind: {**others.get(kind, {}), key: value}})
