"""Settings (dataset x label regime x query patch size) and the trajectories in each."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from nnactive_ext.compare.trajectories import Trajectory
from nnactive_ext.experiment.evaluating import common_inference, comparable
from nnactive_ext.experiment.inference import NNUNET, Inference
from nnactive_ext.experiment.member_kinds import FOLDS, MemberKind
from nnactive_ext.experiment.plan import ALL_LABELS, START


def members_of(plan: Mapping[str, Any]) -> str:
    """What the members of a recorded plan are, as ``-members`` names it."""
    return str(MemberKind.of((plan.get("settings") or {}).get("members", FOLDS)))


@dataclass(frozen=True)
class Key:
    """What makes a setting; all else must be equal inside one."""

    source: str
    patch_size_mm: tuple[float, ...]
    starting_budget: int
    query_size: int
    members: str = FOLDS

    @classmethod
    def of(cls, trajectory: Trajectory) -> Key:
        plan = trajectory.plan
        size = tuple(round(float(mm), 3) for mm in plan["patch_size_mm"])
        return cls(
            str(trajectory.record["source"]), size, int(plan["starting_budget"]), int(plan["query_size"]), members_of(plan)
        )


@dataclass(frozen=True, eq=False)
class Setting:
    """``name`` is as short as tells it from the others; ``full`` are the experiments on all labels that belong to it.
    ``inference``: that of the scores in curves."""

    key: Key
    name: str
    trajectories: tuple[Trajectory, ...]
    full: tuple[Trajectory, ...] = field(default=())
    inference: Inference = NNUNET

    @property
    def slug(self) -> str:
        """The name for names of files."""
        return re.sub(r"[^A-Za-z0-9-]+", "_", self.name).strip("_") or "setting"

    @cached_property
    def methods(self) -> list[str]:
        return sorted({trajectory.method for trajectory in self.trajectories})

    @cached_property
    def seeds(self) -> list[int]:
        return sorted({trajectory.seed for trajectory in self.trajectories})

    @property
    def classes(self) -> list[str]:
        return list(self.trajectories[0].record["classes"])

    @cached_property
    def budgets(self) -> list[int]:
        """Those of the trajectory that got furthest: the range over which the others are compared with it."""
        return max((trajectory.budgets for trajectory in self.trajectories), key=lambda b: (b[-1:], len(b), b))

    @property
    def final_as_nnunet(self) -> bool:
        """Whether the last scores are those as nnU-Net evaluates it, whatever the curves' are."""
        return any(trajectory.as_nnunet for trajectory in self.trajectories)

    def of(self, method: str) -> list[Trajectory]:
        """The trajectories of a method, by seed."""
        return sorted((t for t in self.trajectories if t.method == method), key=lambda t: t.seed)


@dataclass(frozen=True)
class Grouped:
    """``starts`` are the experiments that hold only the cycle 0 others begin with."""

    settings: tuple[Setting, ...]
    full: tuple[Trajectory, ...]
    starts: tuple[Trajectory, ...]


def group(trajectories: Sequence[Trajectory]) -> Grouped:
    """Sort trajectories into settings, which know no experiments on all labels yet; their order does not matter."""
    starts = tuple(t for t in trajectories if t.purpose == START)
    full = tuple(t for t in trajectories if t.purpose == ALL_LABELS)
    found: dict[Key, list[Trajectory]] = defaultdict(list)
    for trajectory in trajectories:
        if trajectory.purpose not in (START, ALL_LABELS):
            found[Key.of(trajectory)].append(trajectory)
    keys = sorted(found, key=lambda key: (key.source, key.patch_size_mm, key.starting_budget, key.query_size, key.members))
    names = setting_names(keys)
    inside = {key: tuple(sorted(found[key], key=lambda t: (t.method, t.seed, t.name, str(t.folder)))) for key in keys}
    return Grouped(tuple(_alike(Setting(key, names[key], inside[key])) for key in keys), full, starts)


def _alike(setting: Setting) -> Setting:
    """``setting`` with the scores that can be compared: curves of one inference, in the cycles that all have; the last cycle
    as nnU-Net evaluates it, where all that got so far have that."""
    curves = [t.cycles for t in setting.trajectories]
    reached = max(map(len, curves))
    as_nnunet = all(NNUNET in cycles[-1].inferences for cycles in curves if cycles and len(cycles) == reached)
    inference, _ = common_inference(curves)
    found = [replace(t, cycles=tuple(c)) for t, c in zip(setting.trajectories, comparable(curves), strict=True)]
    if as_nnunet:
        lasts = [cycles[-1].scored(NNUNET) if len(cycles) == reached > 0 else None for cycles in curves]
        found = [replace(t, as_nnunet=last) for t, last in zip(found, lasts, strict=True)]
    return replace(setting, trajectories=tuple(found), inference=inference)


def with_full(setting: Setting, full: Sequence[Trajectory]) -> Setting:
    """``setting`` with its experiments on all labels: scores with the curves' inference, and the last ones as its own are."""

    def alike(t: Trajectory) -> Trajectory:
        last = t.cycles[-1].scored(NNUNET) if setting.final_as_nnunet and t.cycles else None
        cycles = tuple(cycle.scored(setting.inference) for cycle in t.cycles)
        return replace(t, cycles=cycles, as_nnunet=last if last and last.inference else None)

    return replace(setting, full=tuple(map(alike, full)))


def setting_names(keys: Sequence[Key]) -> dict[Key, str]:
    """The dataset, and the query patch size and label regime where settings of one dataset differ in them."""
    plain = {key.source: re.sub(r"^Dataset\d{3,}_", "", key.source) for key in keys}
    alike = Counter(plain.values())
    names = {}
    for key in keys:
        same = [other for other in keys if other.source == key.source]
        parts = [plain[key.source] if alike[plain[key.source]] == 1 else key.source]
        if _differs(same, lambda k: k.patch_size_mm):
            parts.append(size_text(key.patch_size_mm))
        if _differs(same, lambda k: (k.starting_budget, k.query_size)):
            parts.append(f"{key.starting_budget} + {key.query_size} patches")
        if _differs(same, lambda k: k.members):
            parts.append(f"members: {key.members}")
        names[key] = ", ".join(parts)
    return names


def size_text(size_mm: Sequence[float]) -> str:
    """A query patch size, along z, y, x.

    >>> size_text((5.0, 12.25, 12.25))
    '5 x 12.25 x 12.25 mm'
    """
    return " x ".join(f"{mm:.6g}" for mm in size_mm) + " mm"


def _differs(keys: Sequence[Key], part: Callable[[Key], object]) -> bool:
    return len({part(key) for key in keys}) > 1
