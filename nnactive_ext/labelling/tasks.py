"""A task, one patch of one cycle's query that somebody is to annotate; and the tasks of an experiment, from its loop files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.label_changes import LabelChange, name_now
from nnactive_ext.experiment.loops import loop_file, patches_of, read_loop_content
from nnactive_ext.experiment.pseudonyms import pseudonyms
from nnactive_ext.geometry.patch import Patch, triple
from nnactive_ext.kept import IdentityOf, Kept

MARKED = "marked: "
"""How the stratum of a patch around a marked point begins; the class follows."""
POINTS = "points"
"""The method of patches around marked points."""
REPEATS = "repeats"
"""In a loop file: the ids of earlier tasks that are asked again; absent where none is."""
LABEL_VERSION = "label_version"
"""In a loop file, or in the entry of a patch: how many times the classes had been changed; absent where they never were."""


@dataclass(frozen=True)
class Task:
    """``id`` (like ``c001_003_liver_12``: cycle, number within its loop file, case) is what files are matched by;
    ``patch`` is in voxels of the case's array; ``score``, ``stratum`` and ``method`` say why it was chosen. ``pseudonym``: that
    of the case, for tasks that are sent out without the names of cases; empty where it has none. ``repeats``: the id of the
    task that is asked again (:mod:`nnactive_ext.labelling.repeats`); empty for all others."""

    id: str
    cycle: int
    number: int
    patch: Patch
    stratum: str = ""
    score: float | None = None
    method: str = ""
    pseudonym: str = ""
    repeats: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The ids that files and folders of the task may carry: its own, and the one with the pseudonym of its case."""
        return (self.id, _id(self.cycle, self.number, self.pseudonym)) if self.pseudonym else (self.id,)

    def in_place(self, cycle: int) -> bool:
        """Whether its answer is among the labels, if these are those of ``cycle``; of a repeated task it never is."""
        return self.cycle <= cycle and not self.repeats

    @property
    def disguised(self) -> Task:
        """The task as it is sent out without the name of its case, which must have a pseudonym."""
        assert self.pseudonym, f"{self.id}: its case has no pseudonym"
        return replace(self, id=self.names[1], patch=replace(self.patch, case=self.pseudonym))


def cropped(patch: Patch, shape: Sequence[int], margin: Sequence[int]) -> tuple[Patch, Patch]:
    """``patch`` widened by ``margin`` voxels (z, y, x) on each side, as far as the image of ``shape`` reaches, and
    ``patch`` within that crop."""
    start = [max(0, a - m) for a, m in zip(patch.start, margin, strict=True)]
    stop = [min(n, b + m) for b, m, n in zip(patch.stop, margin, shape, strict=True)]
    crop = Patch(patch.case, triple(start), triple([b - a for a, b in zip(start, stop, strict=True)]))
    return crop, Patch(patch.case, triple([a - b for a, b in zip(patch.start, start, strict=True)]), patch.size)


def tasks_of(experiment: Experiment, cycle: int) -> list[Task]:
    """The tasks of one cycle, numbered from 1 as its loop file lists them; those in dropped cases are left out."""
    return list(_loop(experiment, cycle).tasks)


@dataclass(frozen=True)
class _Loop:
    """What a loop file asks for: its ``tasks``, the number of its ``patches``, dropped ones too, and the ids of ``repeats``."""

    tasks: tuple[Task, ...]
    patches: int
    repeats: tuple[str, ...]


_LOOPS: Kept[_Loop] = Kept(256)


def _loop(experiment: Experiment, cycle: int) -> _Loop:
    file, disguises = loop_file(experiment.raw, cycle), pseudonyms(experiment.annotation)
    key = (IdentityOf(experiment.plan), experiment.dataset.file_ending, IdentityOf(disguises) if disguises else None)
    return _LOOPS.of(file, lambda: _read(experiment, cycle, file, disguises), key)


def _read(experiment: Experiment, cycle: int, file: Path, disguises: Mapping[str, str]) -> _Loop:
    content, changes = read_loop_content(file), experiment.plan.label_changes
    patches = patches_of(content, experiment.dataset.file_ending)
    experiment.plan.check(patches, file)
    tasks = []
    for number, (patch, facts) in enumerate(zip(patches, content["patches"], strict=True), start=1):
        if patch.case in experiment.plan.pool:
            score = facts.get("score")
            since = changes[facts.get(LABEL_VERSION, content.get(LABEL_VERSION, 0)) :]
            tasks.append(
                Task(
                    _id(cycle, number, patch.case),
                    cycle,
                    number,
                    patch,
                    stratum_now(str(facts.get("stratum", "")), since),
                    float(score) if score is not None else None,
                    str(facts.get("method") or content.get("method", "")),
                    disguises.get(patch.case, ""),
                )
            )
    return _Loop(tuple(tasks), len(patches), tuple(content.get(REPEATS, ())))


def _id(cycle: int, number: int, case: str) -> str:
    return f"c{cycle:03d}_{number:03d}_{case}"


def stratum_now(stratum: str, since: Iterable[LabelChange]) -> str:
    """A stratum with the name that its class has today; ``since``: how the classes were changed after it was written."""
    mark, name = (MARKED, stratum.removeprefix(MARKED)) if stratum.startswith(MARKED) else ("", stratum)
    return mark + name_now(name, since)


def repeats_of(experiment: Experiment, cycle: int) -> list[Task]:
    """The tasks of earlier cycles that are asked again in one; they are numbered after the patches of its query."""
    loop = _loop(experiment, cycle)
    known = {task.id: task for earlier in range(cycle) for task in tasks_of(experiment, earlier)} if loop.repeats else {}
    return [
        replace(known[name], id=_id(cycle, number, known[name].patch.case), cycle=cycle, number=number, repeats=name)
        for number, name in enumerate(loop.repeats, loop.patches + 1)
        if name in known  # or its case was dropped
    ]


def asked_in(experiment: Experiment, cycle: int) -> list[Task]:
    """All that people get in a cycle: the tasks of its query, whose answers become labels, and repeated ones."""
    return [*tasks_of(experiment, cycle), *repeats_of(experiment, cycle)]


def first_asked(experiment: Experiment, task: Task) -> Task:
    """The task whose patch a repeated task asks for again; itself for all others."""
    return find_task(experiment, task.repeats) if task.repeats else task


def all_asked(experiment: Experiment) -> list[Task]:
    """All that people got and get, in all cycles."""
    return [task for cycle in range(experiment.last_loop + 1) for task in asked_in(experiment, cycle)]


def all_tasks(experiment: Experiment) -> list[Task]:
    """The tasks whose answers become labels: each patch of each query once."""
    return [task for cycle in range(experiment.last_loop + 1) for task in tasks_of(experiment, cycle)]


def find_task(experiment: Experiment, name: str) -> Task:
    """A task by its id, or by the beginning of it that no other has (``c001_003``)."""
    found = [t for t in all_asked(experiment) if any(one == name or one.startswith(f"{name}_") for one in t.names)]
    if len(found) != 1:
        raise NnActiveError(f"{experiment.name} has no task {name!r}. {experiment.commands.status} lists them.")
    return found[0]
