"""An experiment as its files: folders, plan, loops, and the cycle whose labels are in place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from filelock import FileLock, Timeout

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.loops import last_loop, read_loops
from nnactive_ext.experiment.marks import STATE
from nnactive_ext.experiment.plan import PLAN_FILE, Plan
from nnactive_ext.files import read_json, remove_temporary
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.nnunet.dataset import Case, Dataset, dataset_folder_name, nnunet_folder
from nnactive_ext.nnunet.preprocessing import Preprocessed

INCOMPLETE = ".nnactive_incomplete"
"""In the raw and preprocessed folders while ``nnactive_plan`` makes them; such a folder is no experiment."""


@dataclass(frozen=True)
class Experiment:
    """The nnU-Net dataset called ``name`` as an active-learning experiment.

    ``planned`` is its plan while it is being made: the plan file is the last thing written.
    """

    name: str
    planned: Plan | None = None

    @classmethod
    def find(cls, identifier: str | int) -> Experiment:
        """By dataset number or name; a dataset that was not planned by ``nnactive_plan`` is an error."""
        experiment = cls(dataset_folder_name(identifier))
        if not (experiment.raw / PLAN_FILE).is_file():
            raise NnActiveError(
                f"{experiment.raw / PLAN_FILE}: no such file. Dataset {identifier} is not an experiment; make one with "
                f"nnactive_plan -d {identifier} -o NEW_NUMBER"
            )
        return experiment

    @property
    def number(self) -> int:
        return int(self.name[7:10])

    @property
    def raw(self) -> Path:
        return nnunet_folder("nnUNet_raw") / self.name

    @property
    def results(self) -> Path:
        """What this package writes about the cycles, beside nnU-Net's trained models."""
        return nnunet_folder("nnUNet_results") / self.name / "nnactive"

    @cached_property
    def plan(self) -> Plan:
        return self.planned or Plan.read(self.raw)

    @cached_property
    def dataset(self) -> Dataset:
        """The pool with its partial labels; cases of an ``nnactive_change -add`` that did not end are not in it."""
        return Dataset(self.raw, frozenset(self.plan.pool))

    @cached_property
    def source(self) -> Dataset:
        """The dataset the images and, in a simulation, the reference labels come from, with the test cases of imagesTs."""
        tests = frozenset(self.plan.test) if self.plan.test_folder else frozenset()
        return Dataset(Path(os.path.normpath(self.raw / self.plan.source)), tests=tests)

    @property
    def preprocessed(self) -> Preprocessed:
        folder = nnunet_folder("nnUNet_preprocessed") / self.name
        return Preprocessed(folder, self.plan.plans_identifier, self.plan.configuration)

    @property
    def model_folder(self) -> Path:
        """Where nnU-Net keeps the members of the current cycle."""
        plan = self.plan
        folder = f"{plan.trainer}__{plan.plans_identifier}__{plan.configuration}"
        return nnunet_folder("nnUNet_results") / self.name / folder

    @property
    def state(self) -> dict:
        """``cycle``: whose labels are in place; ``annotated``: case -> label value -> voxels annotated so far."""
        file = self.preprocessed.folder / STATE
        if not file.is_file():
            return {"experiment": self.plan.experiment, "cycle": -1, "annotated": {}}
        state = read_json(file)
        if state["experiment"] != self.plan.experiment:
            raise NnActiveError(f"{file}: belongs to another experiment than {self.raw / PLAN_FILE}. Delete one of them.")
        return {**state, "annotated": {case: n for case, n in state["annotated"].items() if case in self.plan.pool}}

    @property
    def last_loop(self) -> int:
        return last_loop(self.raw)

    def annotated_patches(self, upto: int | None = None) -> list[Patch]:
        """The patches of all loops up to a cycle (or of all), but for those in cases that were dropped from the pool."""
        patches = read_loops(self.raw, self.dataset.file_ending, upto)
        return [patch for patch in patches if patch.case not in self.plan.dropped]

    @property
    def annotation(self) -> Path:
        """What annotators handed in, and the label maps that were there before."""
        return self.raw / "annotation"

    def folds(self) -> list[int]:
        """The folds that exist for the current labels: the planned ones, or fewer where few cases are annotated."""
        available = len(read_json(self.preprocessed.folder / "splits_final.json"))
        return list(range(min(self.plan.folds, available)))

    def test_cases(self) -> list[Case]:
        missing = [name for name in self.plan.test if name not in self.source.cases]
        if missing:
            raise NnActiveError(f"{self.source.folder}: the test cases {', '.join(missing[:5])} are gone. Restore them.")
        return [self.source.cases[name] for name in self.plan.test]

    @contextmanager
    def lock(self, wait: bool = False) -> Iterator[None]:
        """Only one command at a time changes an experiment; what a killed one left half-written is removed."""
        with locked(self.number, wait):
            preprocessed = self.preprocessed
            annotated = [self.annotation / name for name in ("", "received", "answers", "given")]
            exported = [self.raw / "tasks", *self.raw.glob("tasks/*/"), *self.raw.glob("tasks/*/*/")]
            known = [self.raw, self.raw / "labelsTr", preprocessed.folder, preprocessed.gt_folder, self.results]
            for folder in (*known, *annotated, *exported):
                remove_temporary(folder)
            yield


@contextmanager
def locked(number: int, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a dataset number; the operating system frees it when its owner ends, however it ends.

    Args:
        number: the dataset's.
        wait: wait for another owner to end; otherwise another owner is an error.

    Raises:
        NnActiveError: another process holds the lock, or ``nnUNet_raw`` is not an existing, writable folder.
    """
    file = nnunet_folder("nnUNet_raw") / f".nnactive_{number:03d}.lock"
    owner = file.with_suffix(".owner")
    if not file.parent.is_dir():  # which the lock would make
        raise NnActiveError(f"{file.parent}: no such folder. nnUNet_raw must be an existing, writable folder.")
    lock = FileLock(file)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        who = owner.read_text() if owner.is_file() else "another process"
        raise NnActiveError(f"{file}: {who} is working on dataset {number}. Wait for it to end, or stop it.") from None
    except OSError as error:
        raise NnActiveError(f"{file}: cannot be locked ({error}). nnUNet_raw must be an existing, writable folder.") from None
    try:
        owner.write_text(f"process {os.getpid()} on {os.uname().nodename if hasattr(os, 'uname') else 'this machine'}")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()
