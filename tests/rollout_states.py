"""Roll-outs as they are at some moment, made once for a module of tests and copied for each of them."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import scripted_expert as expert
from fake_members import copy_of
from folders import set_folders
from rollouts import OPTIONS, Rollout, from_dataset

POINTS = "case,class,i,j,k\ntiny_1,organ,7,13,12\ntiny_2,lesion,6,13,14\ntiny_3,organ,7,12,12\ntiny_4,lesion,7,13,12\n"


SMALL_OPTIONS = (
    "--labels organ lesion -channels T1 T2 -patch_size 5 5 3 -starting_budget 6 -query_size 4 -cycles 3 -folds 2 "
    "--preset cpu -np 1 --disable_progress_bar"
)
"""Of a roll-out on :func:`some_of`."""


@dataclass
class State:
    """``folders`` are nnU-Net's; ``out`` is where the tasks of cycle 0 were exported to, ``seen`` are these."""

    folders: SimpleNamespace
    rollout: Rollout
    out: Path
    seen: list[expert.Seen]

    @property
    def painted(self) -> list[expert.Seen]:
        """Those with something in their boxes: an empty one that is written again is byte for byte what was exported."""
        return [task for task in self.seen if task.truth[task.box].any()]

    def copy(self, target: Path, monkeypatch: pytest.MonkeyPatch) -> State:
        """Below ``target``; the images stay shared, no command changes them."""
        folders = copy_of(self.folders, target, monkeypatch)
        out = Path(shutil.copytree(self.out, target / "out"))
        seen = [replace(s, folder=out / s.id, label=out / s.id / s.label.name) for s in self.seen]
        return State(folders, self.rollout, out, seen)


def some_of(tiny: Path, folder: Path, left_out: Iterable[int]) -> Path:
    """The tiny dataset below ``folder`` without some of its cases, so that closing takes little time."""
    ignored = shutil.ignore_patterns(*(f"tiny_{number}*" for number in left_out))
    return Path(shutil.copytree(tiny, folder / "Dataset100_Tiny", ignore=ignored))


def exported(
    dataset: Path, target: Path, monkeypatch: pytest.MonkeyPatch, options: str = OPTIONS, points: str = POINTS
) -> State:
    """Planned, with points, exported; nobody has answered."""
    folders = set_folders(monkeypatch, target)
    rollout = from_dataset(dataset, target / "hospital")
    rollout.plan(options)
    (target / "points.csv").write_text(points)
    rollout.annotate(f"points {target / 'points.csv'}")
    seen = rollout.export(target / "out")
    return State(folders, rollout, target / "out", seen)


def contents() -> dict[str, str]:
    """The sha256 of every file in nnU-Net's folders (of folders: a word), but for locks."""
    found = {}
    for name in ("raw", "preprocessed", "results"):
        for path in Path(os.environ[f"nnUNet_{name}"]).rglob("*"):
            if path.suffix not in (".lock", ".owner"):
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
    return found
