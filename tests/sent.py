"""A folder that somebody sent: what must not run (a folder that it would make), and what must not change (all else)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnactive_ext.files import read_json, write_json


class Evil:
    """Pickled, it makes a folder when it is opened."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


@dataclass
class Sent:
    """``root``: of the test; ``name``: the dataset that was sent; ``victim``: a folder elsewhere with a file in it, as
    important as any."""

    root: Path
    name: str

    def __post_init__(self) -> None:
        self.victim.mkdir()
        (self.victim / "tiny_4.nii.gz").write_bytes(b"somebody's work")

    @property
    def victim(self) -> Path:
        return self.root / "OUTSIDE"

    @property
    def canary(self) -> Path:
        """What code that came along would make."""
        return self.root / "RAN"

    @property
    def evil(self) -> Evil:
        return Evil(self.canary)

    @property
    def raw(self) -> Path:
        return self.root / "nnUNet_raw" / self.name

    @property
    def preprocessed(self) -> Path:
        return self.root / "nnUNet_preprocessed" / self.name

    @property
    def results(self) -> Path:
        return self.root / "nnUNet_results" / self.name

    def elsewhere(self) -> dict[str, str]:
        """Everything that is not of the dataset that was sent: name -> digest, or what it is."""
        found = {}
        for folder, folders, files in os.walk(self.root):
            here = Path(folder)
            folders[:] = [name for name in folders if name != self.name]
            for name in (*folders, *files):
                path = here / name
                if not name.startswith(".nnactive_"):  # locks
                    found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
        return found


def edit(file: Path, change: Callable[[Any], Any]) -> None:
    """Replace what a JSON file holds by what ``change`` returns, or by what it made of it."""
    content = read_json(file)
    changed = change(content)
    write_json(file, content if changed is None else changed)


def command(main: Callable, words: list[str]) -> int:
    """The exit status of a command; 0 where it ended well. Whatever it raises else is a failure of the test."""
    try:
        main(words)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 0
