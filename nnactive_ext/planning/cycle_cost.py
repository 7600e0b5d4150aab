"""What a cycle takes (trainings, evaluation, the networks of a query), and what cheaper settings would save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from math import prod
from statistics import fmean
from typing import Any

from nnactive_ext.experiment.inference import LAST, NNUNET, Evaluation, Inference
from nnactive_ext.experiment.member_kinds import FOLDS, MIRROR, SEEDS, MemberKind
from nnactive_ext.experiment.plan import Geometry, Plan
from nnactive_ext.geometry.patch import triple
from nnactive_ext.members.windows import Windows
from nnactive_ext.nnunet import trainers
from nnactive_ext.planning.hours import Hours, epochs_of
from nnactive_ext.words import count, duration

QUERY_STEP = 0.75
"""Of the sliding window when members are asked about the pool."""
_CHEAP = Inference(mirroring=False, step=0.75)
_BACKWARD = 3
"""A training iteration computes as much as so many predictions of its batch: the gradients of weights and of activations cost
about one each."""
_ITERATIONS, _VALIDATION = 250, 50
"""Of an epoch of nnU-Net's."""
PUBLISHED = {
    "AMOS": (86.0, 88.3, 89.3),
    "KiTS": (70.5, 75.1, 77.3),
    "WORD": (80.7, 82.9, 84.5),
    "LiTS": (77.3, 79.8, 79.9),
    "ACDC": (91.0, 91.2, 91.3),
}
"""Published Dice (%) of nnU-Net on all labels after :data:`PUBLISHED_EPOCHS` epochs."""
PUBLISHED_EPOCHS = (200, 500, 1000)


@dataclass(frozen=True)
class Network:
    """What nnU-Net planned: ``patch`` (voxels) and ``spacing`` (mm) of the network's axes, of which a 2D configuration has
    two; ``transpose``: the image's axis that each of the network's is; ``batch``: network patches in an iteration."""

    patch: tuple[int, ...]
    spacing: tuple[float, ...]
    transpose: tuple[int, ...]
    batch: int
    iterations: int = _ITERATIONS
    validation: int = _VALIDATION

    @classmethod
    def of(cls, plans: Mapping[str, Any], configuration: str) -> Network:
        """From nnU-Net's plans."""
        found = plans["configurations"][configuration]
        ours = found.get("nnactive", {})
        return cls(
            tuple(map(int, found["patch_size"])),
            tuple(map(float, found["spacing"])),
            tuple(map(int, plans["transpose_forward"])),
            int(found["batch_size"]),
            int(ours.get("iterations_per_epoch", _ITERATIONS)),
            int(ours.get("val_iterations_per_epoch", _VALIDATION)),
        )

    @cache  # noqa: B019  (a plan has one network)
    def tiles(self, image: Geometry, step: float) -> int:
        """The network patches that nnU-Net predicts of an image, at a step of the sliding window."""
        shape = [image.shape[axis] for axis in self.transpose]
        mm = [image.spacing[axis] for axis in self.transpose]
        wanted = [*mm[: 3 - len(self.spacing)], *self.spacing]
        resampled = triple([max(1, round(n * have / want)) for n, have, want in zip(shape, mm, wanted, strict=True)])
        return prod(map(len, Windows(resampled, self.patch, step).starts()))


@dataclass(frozen=True)
class Cycle:
    """The work of one cycle, in predictions of one network patch (passes) and in hours.

    ``mirrored``: the ways in which the trainer mirrors, 1 for none. ``member_hours``: of a training of ``epochs``.
    ``pool`` and ``tests``: how many cases; the test cases are as large as those of the pool, ``images``, in the mean.
    """

    network: Network
    images: Sequence[Geometry]
    tests: int
    folds: int
    kind: MemberKind
    mirrored: int
    epochs: int
    member_hours: float
    inference: Inference = NNUNET

    @classmethod
    def of(cls, plan: Plan, network: Network, hours: Hours) -> Cycle:
        """Of a plan, evaluated as the cycles before its last one are."""
        mirrored = 2 ** len(network.patch) if trainers.mirrors(plan.trainer) else 1
        epochs = epochs_of(plan.trainer) or trainers.EPOCHS
        images = [geometry for case, geometry in plan.pool.items() if case not in plan.dropped]
        made = cls(network, images, len(plan.test), plan.folds, plan.member_kind, mirrored, epochs, hours.value)
        return replace(made, inference=plan.evaluation.inference)

    def tiles(self, step: float) -> float:
        """Network patches of a case, in the mean over the pool."""
        return fmean(self.network.tiles(image, step) for image in self.images)

    @property
    def _training_passes(self) -> int:
        each = _BACKWARD * self.network.iterations + self.network.validation
        return self.epochs * self.network.batch * each

    @property
    def pass_hours(self) -> float:
        """Of the prediction of one network patch."""
        return self.member_hours / self._training_passes

    @property
    def trainings(self) -> float:
        """Hours of all trainings."""
        return self.folds * self.member_hours

    @cached_property
    def evaluation_passes(self) -> float:
        """Of the networks of all folds, of the test set; snapshots and dropout are not evaluated apart."""
        ways = self.mirrored if self.inference.mirroring else 1
        return self.tests * self.tiles(self.inference.step) * self.folds * ways

    @property
    def evaluation(self) -> float:
        """Hours of the networks."""
        return self.evaluation_passes * self.pass_hours

    @cached_property
    def query_passes(self) -> float:
        """Of all members, of the pool."""
        axes = len(self.network.patch)
        return len(self.images) * self.tiles(QUERY_STEP) * self.kind.predictions(self.folds, axes)

    @property
    def query(self) -> float:
        """Hours of the networks."""
        return self.query_passes * self.pass_hours

    @property
    def hours(self) -> float:
        return self.trainings + self.evaluation + self.query


def rows(plan: Plan, network: Network, hours: Hours) -> list[tuple[str, str, str]]:
    """What, how much and why, as in the table that planning prints: the parts of a cycle, then what would save how much of it.

    Args:
        plan: what was decided.
        network: what nnU-Net planned.
        hours: of the training of one member.
    """
    cycle = Cycle.of(plan, network, hours)
    patch = "x".join(map(str, network.patch))
    each = f"{cycle.epochs} epochs x {network.iterations} iterations x {network.batch} network patches of {patch}"
    found = [
        ("a cycle", _hours(cycle.hours), "trainings and networks; ranking, surfaces and preprocessing take more"),
        ("trainings", _part(cycle, cycle.trainings), f"{plan.folds} x {_hours(hours.value)}: {hours.why}; {each}"),
    ]
    if plan.test:
        passes = f"{count(round(cycle.evaluation_passes), 'pass', 'passes')} of the networks"
        why = f"{passes}: {len(plan.test)} test cases, {plan.folds} networks, {cycle.inference}"
        found.append(("evaluation", _part(cycle, cycle.evaluation), why))
    passes = f"{count(round(cycle.query_passes), 'pass', 'passes')} of the networks"
    found.append(("query", _part(cycle, cycle.query), f"{passes}: {len(cycle.images)} cases of the pool, without mirroring"))
    for words, other, why in _cheaper(plan, cycle):
        saved = cycle.hours - other.hours
        if saved > 0.005 * cycle.hours:
            found.append((words, f"saves {_part(cycle, saved)}", why))
    return found


def _cheaper(plan: Plan, cycle: Cycle) -> list[tuple[str, Cycle, str]]:
    """Settings, the cycle that they make, and what is to be known about them."""
    found = []
    if plan.test and cycle.inference == NNUNET and plan.cycles > 1:
        other = replace(cycle, inference=_CHEAP if cycle.mirrored > 1 else replace(_CHEAP, mirroring=True))
        words = ("-evaluate_mirroring no " if cycle.mirrored > 1 else "") + f"-evaluate_step {_CHEAP.step:g}"
        times = cycle.evaluation_passes / other.evaluation_passes
        found.append((words, other, f"{times:.3g} times fewer passes in all cycles but the last, which has both"))
    if plan.test and plan.evaluation == Evaluation() and plan.cycles > 1:
        found.append((f"-evaluate {LAST}", replace(cycle, tests=0), "in all cycles but the last; there is no learning curve"))
    if plan.member_kind.name == FOLDS:
        fewer = "of trainings and networks; three members tell less about what they do not know than five"
        found += [("-folds 3", replace(cycle, folds=3), fewer)] if plan.folds > 3 else []
        found += [("-members mirror -folds 1", replace(cycle, folds=1, kind=MemberKind(MIRROR)), "docs/members.md")]
    elif plan.folds > 1 and plan.member_kind.name != SEEDS:
        found.append(("-folds 1", replace(cycle, folds=1), "docs/members.md"))
    if epochs_of(plan.trainer) and cycle.epochs > 1 and plan.preset is None:
        half = cycle.epochs // 2
        other = replace(cycle, epochs=half, member_hours=cycle.member_hours * half / cycle.epochs)
        found.append((f"-tr {_with_epochs(plan.trainer, half)}", other, "worse members: see the published Dice below"))
    return found


def _with_epochs(trainer: str, epochs: int) -> str:
    """The name of one of our trainers with other epochs."""
    match = trainers.NAME.fullmatch(trainer)
    assert match
    kind = f"_{match['kind']}" if match["kind"] else ""
    return f"{trainers.BASE}{kind}_{epochs}epochs{match['plain'] or ''}"


def published() -> list[list[str]]:
    """The table of :data:`PUBLISHED`, with its heading."""
    heading = ["published Dice, all labels", *(f"{epochs:,} epochs" for epochs in PUBLISHED_EPOCHS)]
    return [heading, *([name, *(f"{dice:.1f}" for dice in values)] for name, values in PUBLISHED.items())]


def _part(cycle: Cycle, hours: float) -> str:
    return f"{_hours(hours)} ({100 * hours / cycle.hours:.0f} %)"


def _hours(hours: float) -> str:
    return f"{hours:,.1f} h" if hours >= 2 else duration(round(3600 * hours))
