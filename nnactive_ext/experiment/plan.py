"""The plan of an experiment: one frozen value and its JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from math import prod
from pathlib import Path
from typing import Annotated, Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.inference import Evaluation, Inference
from nnactive_ext.experiment.label_changes import LabelChange, label_changes
from nnactive_ext.experiment.member_kinds import FOLDS, MemberKind
from nnactive_ext.experiment.plan_kinds import (
    ADDED,
    DROPPED,
    IRRELEVANT,
    RELEVANT,
    check_change,
    check_pretrained,
    check_settings,
)
from nnactive_ext.files import read_json, write_json
from nnactive_ext.geometry.axes import Turn
from nnactive_ext.geometry.patch import Patch, Triple, clipped_size
from nnactive_ext.kept import Kept
from nnactive_ext.paths import Name, NameIfAny
from nnactive_ext.schemas import Amount, Count, JsonObject, Length, Shape, Share, Spacing, one_of, typed

__all__ = ["DROPPED", "IRRELEVANT", "RELEVANT"]

PLAN_FILE = "nnactive_plan.json"
_REMEDY = "Restore it, or plan the experiment again."
_IF_ANY = ("settings", "test_folder", "groups", "tolerances_mm", "turned", "unplaced", "pretrained", "irrelevant")
"""Keys that only plans have which hold something there, so that others are as they were."""
START, ALL_LABELS = "start", "all labels"
"""Purposes of experiments that are part of others: see :attr:`Plan.purpose`."""
STANDARD, PUBLISHED = "standard", "published"
"""Protocols: how the query patch size and the starting budget are decided."""
SKIP_AIR, KEEP_AIR = "skip", "keep"
"""Whether patches that are nearly all air are left out of random starts and queries."""


def method_words(method: str, options: Mapping[str, str]) -> str:
    """A method with its options, as after ``--method``.

    >>> method_words("clasp_pe", {"alpha": "0.5"})
    'clasp_pe alpha=0.5'
    """
    return " ".join([method, *(f"{key}={value}" for key, value in options.items())])


def cycles_at_first(cycles: int, changes: Sequence[Mapping[str, Any]]) -> int:
    """The cycles planned before any change, counting cycle 0."""
    return int(next((change["before"] for change in changes if change["what"] == "cycles"), cycles))


@dataclass(frozen=True)
class Geometry:
    """Shape in voxels and spacing in mm of a case's image, along (z, y, x)."""

    shape: Shape
    spacing: Spacing


@dataclass(frozen=True)
class Plan:
    """Everything that was decided; what ``nnactive_change`` altered since is in ``changes``, with what it was before.

    ``source`` is the dataset with the images (and, in a simulation, the reference labels), relative to the
    experiment's raw folder where possible. ``patch_size_mm`` is the query patch along (z, y, x); each case has it in
    voxels of its own spacing. ``cycles`` counts cycle 0, so ``cycles - 1`` queries are planned. ``annotator`` is
    ``"simulated"`` or ``"human"``; for the latter, training may start when this ``share`` of a cycle's tasks is done, and
    ``expert`` is who hands in what nobody signs. ``dropped``: cases that were taken out of the pool. ``purpose`` is empty
    for an experiment of its own, ``"start"`` for the cycle 0 that others begin with, ``"all labels"`` for one in which the
    whole pool is annotated; ``benchmark`` is the name of the one it belongs to. ``test_folder``: imagesTs where the test cases
    are those of the source's imagesTs and labelsTs; empty where they are of imagesTr. ``groups``: case -> group, such as its
    patient, of pool and test set, dropped cases too; empty where cases are not grouped. ``tolerance_mm``: see
    :func:`nnactive_ext.metrics.surface.surface_per_case`; 0 where it was not planned. ``tolerances_mm``: those of classes that
    have one of their own. ``turned``: cases of pool and test set that are read from copies whose axes are in another order
    than those of the user's files, with that turn. ``unplaced``: cases of a roll-out whose files do not say where they lie; a
    plan without it may have some, too. ``pretrained``: the weights that all members start from, empty where they start from
    scratch: ``file`` (its name), ``format``, ``origin``, ``sha256`` of the tensors
    (:func:`nnactive_ext.nnunet.pretrained.digest`), ``seen`` (whether they were trained on these images: no, unknown or yes),
    ``trusted``, and ``plans``, what nnU-Net's plans take over. ``protocol`` and ``air``: plans without them were made when only
    the published protocol existed, and air was kept. ``irrelevant``: the cases of a simulation that its annotator calls
    irrelevant when asked about one.
    """

    experiment: str
    dataset: Name
    source: str
    pool: Mapping[Name, Geometry]
    test: tuple[Name, ...]
    patch_size_mm: Spacing
    query_size: Length
    starting_budget: Count
    cycles: Length
    seed: Count
    method: str
    method_options: Mapping[str, str] = field(default_factory=dict)
    annotator: Annotated[str, one_of("simulated", "human")] = "simulated"
    share: Share = 1.0
    expert: str = ""
    dropped: tuple[Name, ...] = ()
    folds: Length = 5
    configuration: Name = "3d_fullres"
    trainer: Name = "nnActiveTrainer"
    planner: Name = "ExperimentPlanner"
    preset: str | None = None
    protocol: str = PUBLISHED
    air: str = KEEP_AIR
    plans_identifier: Name = "nnUNetPlans"
    processes: Count = 1
    pool_foreground_voxels: Count = 0
    tolerance_mm: Amount = 0.0
    tolerances_mm: Mapping[str, Amount] = field(default_factory=dict)
    purpose: str = ""
    benchmark: NameIfAny = ""
    test_folder: NameIfAny = ""
    groups: Mapping[Name, str] = field(default_factory=dict)
    turned: Mapping[Name, Turn] = field(default_factory=dict)
    unplaced: tuple[Name, ...] = ()
    pretrained: Annotated[Mapping[str, Any], check_pretrained] = field(default_factory=dict)
    irrelevant: tuple[Name, ...] = ()
    settings: Annotated[Mapping[str, Any], check_settings] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    decisions: tuple[tuple[str, str, str], ...] = ()
    changes: tuple[Annotated[Mapping[str, Any], check_change], ...] = ()

    def patch_size(self, case: str) -> Triple:
        """The query patch in voxels (z, y, x) of ``case``, clipped to its image."""
        geometry = self.pool[case]
        voxels = [max(1, round(mm / s)) for mm, s in zip(self.patch_size_mm, geometry.spacing, strict=True)]
        return clipped_size(voxels, geometry.shape)

    @property
    def voxels(self) -> tuple[float, int]:
        """Voxels of a query patch, as a mean over cases, and of the pool's images."""
        patches = [prod(self.patch_size(case)) for case in self.pool]
        return sum(patches) / len(patches), sum(prod(geometry.shape) for geometry in self.pool.values())

    def group(self, case: str) -> str:
        """The group of ``case``; where cases are not grouped, each is a group of its own."""
        return self.groups[case] if self.groups else case

    @property
    def all_labels(self) -> bool:
        return self.purpose == ALL_LABELS

    @property
    def human(self) -> bool:
        return self.annotator == "human"

    @property
    def queries(self) -> int:
        """The queries planned at first: schedules over the cycles end with them, however many more are made."""
        return cycles_at_first(self.cycles, self.changes) - 1

    @property
    def member_kind(self) -> MemberKind:
        """What its members are; plans without it were made when members were the networks of the folds."""
        return MemberKind.of(self.settings.get("members", FOLDS))

    @property
    def evaluation(self) -> Evaluation:
        """How and when it is evaluated on the test set; plans without it are evaluated as nnU-Net does, in all cycles."""
        return Evaluation.of(self.settings)

    def inferences(self, cycle: int, last: bool = False) -> tuple[Inference, ...]:
        """With what ``cycle``, the ``last`` one perhaps before its time, is evaluated on the test set; empty: not at all. The
        cycle 0 of a start is the first one of others."""
        if not self.test:
            return ()
        return self.evaluation.inferences(cycle, last or (cycle >= self.cycles - 1 and self.purpose != START))

    @property
    def method_words(self) -> str:
        return method_words(self.method, self.method_options)

    @property
    def label_changes(self) -> list[LabelChange]:
        """How the classes were changed since planning, in order."""
        return label_changes(self.changes)

    @property
    def label_version(self) -> int:
        """How many changes of the classes there were; marks, tasks, loops and results say to which they belong."""
        return len(self.label_changes)

    @property
    def called_irrelevant(self) -> tuple[str, ...]:
        """The dropped cases that left the pool because of a verdict, and come back when it is another one."""
        last = {case: c["what"] for c in self.changes if c["what"] in (DROPPED, IRRELEVANT, RELEVANT) for case in c["after"]}
        return tuple(case for case in self.dropped if last.get(case) == IRRELEVANT)

    def added_since(self, loop: int) -> bool:
        """Whether cases were added to the pool, or came back to it, after the query that wrote this loop file."""
        added = [change for change in self.changes if change["what"] in (ADDED, RELEVANT)]
        return any(change.get("after_loop", change["after_cycle"]) >= loop for change in added)

    def whole_images(self) -> list[Patch]:
        """One patch for each case of the pool: all of its image."""
        return [Patch(case, (0, 0, 0), geometry.shape) for case, geometry in self.pool.items()]

    def check(self, patches: Sequence[Patch], file: Path) -> None:
        """Patches read from ``file`` that are not in the pool, not inside their image, or there twice are an error.

        That they do not overlap is up to the query method; whoever annotates them does not mind.
        """
        seen: set[Patch] = set()
        for patch in patches:
            geometry = self.pool.get(patch.case)
            if patch.case in self.dropped:
                continue
            if geometry is None:
                problem = f"{patch.case} is not a case of the pool"
            elif not patch.inside(geometry.shape):
                problem = f"the patch at {patch.start} of {patch.case} is not inside its image of {geometry.shape} voxels"
            elif patch in seen:
                problem = f"the patch at {patch.start} of {patch.case} has been chosen before"
            else:
                seen.add(patch)
                continue
            raise NnActiveError(f"{file}: {problem}. Restore the file, or take the patch out.")

    def content(self) -> dict[str, Any]:
        """What :data:`PLAN_FILE` holds."""
        content = asdict(self)
        return {key: value for key, value in content.items() if value or key not in _IF_ANY}

    def write(self, folder: Path) -> None:
        write_json(folder / PLAN_FILE, self.content())

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """Of the experiment whose raw folder this is; a damaged plan is an NnActiveError."""
        file = folder / PLAN_FILE
        return _PLANS.of(file, lambda: cls._read(file))

    @classmethod
    def _read(cls, file: Path) -> Plan:
        content = read_json(file, JsonObject, _REMEDY)
        if unknown := sorted(set(content) - {f.name for f in fields(cls)}):
            raise NnActiveError(f"{file}: not a plan of this version of nnactive_ext ({', '.join(unknown)}).")
        try:
            plan: Plan = typed(cls, content)
            plan._check_whole()
        except ValueError as error:
            raise NnActiveError(f"{file}: damaged ({error}). {_REMEDY}") from None
        return plan

    def _check_whole(self) -> None:
        """What is said of cases is said of those of the pool; ValueError otherwise."""
        if not self.pool:
            raise ValueError("pool: it has no case")
        if self.groups and (without := self.pool.keys() - self.groups.keys()):
            raise ValueError(f"groups: there is none for {min(without)}")


_PLANS: Kept[Plan] = Kept(8)
"""Plans are not changed in place: a change makes another one."""
