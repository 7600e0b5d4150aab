"""An experiment as its files: folders, plan, loops, and the cycle whose labels are in place."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment import journal
from nnactive_ext.experiment.commands import Commands, device_in_use, plan_simulation
from nnactive_ext.experiment.links import check_links
from nnactive_ext.experiment.locks import LockHeld, holder, is_held_here, locked, run_file, step_file
from nnactive_ext.experiment.loops import last_loop, read_loops
from nnactive_ext.experiment.marks import EXPORTING, LOCK, STATE, read_state
from nnactive_ext.experiment.member_kinds import MemberKind
from nnactive_ext.experiment.plan import PLAN_FILE, Plan
from nnactive_ext.files import remove_left_over, remove_temporary
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.nnunet.dataset import Case, Dataset, dataset_folder_name, nnunet_folder, number_and_name
from nnactive_ext.nnunet.environment import FOLDERS
from nnactive_ext.nnunet.preprocessing import Preprocessed
from nnactive_ext.nnunet.splits import SPLITS, read_splits
from nnactive_ext.words import listed

INCOMPLETE = ".nnactive_incomplete"
"""In the raw and preprocessed folders while ``nnactive_plan`` makes them; such a folder is no experiment. It holds the command
that makes it, and the folder in which that was typed."""
BROWSER = "browser"
"""In the folder of annotations: what the pages of ``nnactive_annotate serve`` keep."""
TURNED = "turned"
"""The folder, in that of a simulation, of what is turned of its source."""


def remove_marks(folders: Iterable[Path]) -> None:
    """The planning that made ``folders`` is complete."""
    for folder in folders:
        (folder / INCOMPLETE).unlink(missing_ok=True)


def refuse_interrupted(name: str) -> None:
    """A dataset whose planning was interrupted, or is under way, is an error that says what to type.

    Args:
        name: the dataset's, with its number.
    """
    raw = nnunet_folder("nnUNet_raw") / name
    left = [folder for variable in FOLDERS if ((folder := nnunet_folder(variable) / name) / INCOMPLETE).is_file()]
    if not left or (raw / PLAN_FILE).is_file():
        return
    if who := holder(step_file(number_and_name(name)[0])):
        raise NnActiveError(f"{raw}: {who} is planning this experiment. Wait for it to end.")
    command, _, where = (left[0] / INCOMPLETE).read_text(encoding="utf-8", errors="replace").partition("\n")
    again = f"\n    {command}\n(it was typed in {where.strip()})" if command else " (nnactive_plan with the same options)"
    raise NnActiveError(
        f"{raw / PLAN_FILE}: no such file. The planning of {name} was interrupted, so it is not an experiment; nothing but "
        f"{listed(left)} was written. Type the same command again, which replaces these folders and plans from the "
        f"beginning:{again}"
    )


@dataclass(frozen=True)
class Experiment:
    """The nnU-Net dataset called ``name`` as an active-learning experiment.

    ``planned`` is its plan while it is being made: the plan file is the last thing written. ``described`` is the content of
    its dataset.json while a change is being prepared, of which nothing is written yet.
    """

    name: str
    planned: Plan | None = None
    described: Mapping[str, Any] | None = field(default=None, compare=False)

    @classmethod
    def find(cls, identifier: str | int) -> Experiment:
        """By dataset number or name; a dataset that was not planned by ``nnactive_plan`` is an error."""
        experiment = cls(dataset_folder_name(identifier))
        refuse_interrupted(experiment.name)
        if not (experiment.raw / PLAN_FILE).is_file():
            raise NnActiveError(
                f"{experiment.raw / PLAN_FILE}: no such file. Dataset {identifier} is not an experiment; make one with "
                f"{plan_simulation(identifier)}"
            )
        return experiment

    def anew(self) -> Experiment:
        """The experiment as its files say now; a plan that is being made stays."""
        return Experiment(self.name, self.planned)

    @property
    def number(self) -> int:
        return number_and_name(self.name)[0]

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
        return Dataset(self.raw, frozenset(self.plan.pool), content=self.described)

    @cached_property
    def source(self) -> Dataset:
        """The dataset the images and, in a simulation, the reference labels come from, with the test cases of imagesTs; its
        other cases are not in it."""
        tests = frozenset(self.plan.test if self.plan.test_folder else ())
        known = frozenset((*self.plan.pool, *(() if self.plan.test_folder else self.plan.test)))
        if self.plan.turned and not self.plan.human:
            return Dataset(self.turned_folder, known, tests=tests)
        return Dataset(Path(os.path.normpath(self.raw / self.plan.source)), known, tests=tests)

    @property
    def turned_folder(self) -> Path:
        """The dataset with turned copies that a simulation reads instead of its source, under the same name."""
        return self.raw / TURNED / Path(self.plan.source).name

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
        file, state = self.preprocessed.folder / STATE, read_state(self.preprocessed.folder)
        if state is None:
            return {"experiment": self.plan.experiment, "cycle": -1, "annotated": {}}
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
    def device(self) -> str:
        """The device for the commands that people are told to type."""
        return device_in_use(self)

    @property
    def commands(self) -> Commands:
        """The commands of this experiment, for people to type."""
        return Commands(self.plan, of=self)

    @property
    def annotation(self) -> Path:
        """What annotators handed in, and the label maps that were there before."""
        return self.raw / "annotation"

    def folds(self) -> list[int]:
        """The folds that exist for the current labels: the planned ones, or fewer where few cases are annotated."""
        available = len(read_splits(self.preprocessed.folder / SPLITS))
        return list(range(min(self.plan.folds, available)))

    def test_cases(self) -> list[Case]:
        missing = [name for name in self.plan.test if name not in self.source.cases]
        if missing:
            raise NnActiveError(f"{self.source.folder}: the test cases {', '.join(missing[:5])} are gone. Restore them.")
        return [self.source.cases[name] for name in self.plan.test]

    def under_way(self) -> str:
        """Who, other than this process, runs cycles or trains a fold; empty if nobody does. The labels, the preprocessed
        cases, the splits and the state must stay as they are then."""
        if who := holder(run_file(self.number)):
            return who
        return next((who for fold in self.model_folder.glob("fold_*") if (who := holder(fold / LOCK))), "")

    @contextmanager
    def lock(self, wait: bool = False, finishing: bool = False) -> Iterator[None]:
        """Hold the experiment still for one step; what a killed command left half-written is removed.

        While a run is under way its steps are waited for, and so are other commands by a run that has begun; otherwise another
        owner is an error unless the caller wants to ``wait``. What was read before may be outdated: read the experiment anew. A
        change that was begun and not finished is an error, except for whoever is ``finishing`` it.
        """
        run = run_file(self.number)
        with ExitStack() as step:
            try:
                step.enter_context(self._still(wait or is_held_here(run) or bool(holder(run)), finishing))
            except LockHeld:
                if not holder(run):
                    raise
                step.enter_context(self._still(True, finishing))  # of a run that began after the look
            yield

    @contextmanager
    def _still(self, wait: bool, finishing: bool = False) -> Iterator[None]:
        with locked(self.number, wait):
            if not finishing:
                journal.refuse_unfinished(self.raw)
            self.check_places()
            preprocessed = self.preprocessed
            if (self.raw / PLAN_FILE).is_file():  # written last of all
                remove_marks([self.raw, preprocessed.folder])
            annotated = [self.annotation / name for name in ("", "received", "answers", "given")]
            exporting = (self.annotation / EXPORTING).is_file()  # was killed
            exported = [self.raw / "tasks", *self.raw.glob("tasks/*/"), *(self.raw.glob("tasks/*/*/") if exporting else ())]
            known = [self.raw, self.raw / "labelsTr", preprocessed.folder, preprocessed.gt_folder, self.results]
            for folder in (*known, *annotated, *exported):
                remove_temporary(folder)
            yield

    def check_places(self) -> None:
        """Refuse names and links by which something of the experiment would be read or written elsewhere.

        Links in place of nnU-Net's three folders, of the dataset's folder in each, and of a folder directly in it are the
        user's to make, unless they lead into another dataset.
        """
        if self.preprocessed.plans_file.is_file():  # nnU-Net has planned
            _ = self.preprocessed.plans
        if (self.raw / "dataset.json").is_file():
            self.dataset.check_labels()
        model, cycles = self.model_folder, self.results.glob("cycle_*")
        inside = (
            self.annotation,
            self.annotation / BROWSER,
            self.raw / "tasks",
            self.results,
            *cycles,
            model,
            *model.glob("fold_*"),
        )
        source = Path(os.path.normpath(self.raw / self.plan.source))
        check_links(self.name, source, (self.annotation,), inside)

    @contextmanager
    def running(self, wait: bool = False) -> Iterator[None]:
        """Be the only command that moves the experiment from step to step, while people may hand in answers.

        Each step takes :meth:`lock`. Another owner, or a step that is under way, is an error unless the caller wants to
        ``wait``.
        """
        wait = wait or is_held_here(run_file(self.number))
        with locked(self.number, wait, run=True):
            with self._still(wait):
                self.clear_left_over()
            yield

    def clear_left_over(self) -> None:
        """Remove what killed processes left half-written beside results, where several processes may write at the same time."""
        if (folder := self.results.parent).is_dir():
            remove_left_over(folder)


def with_members(experiment: Experiment, kind: str) -> Experiment:
    """``experiment`` as if its members had been planned as this kind of members (``-members``)."""
    if str(experiment.plan.member_kind) == str(MemberKind.of(kind)):
        return experiment
    plan = replace(experiment.plan, settings={**experiment.plan.settings, "members": kind})
    return replace(experiment, planned=plan)
