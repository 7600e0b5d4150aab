"""Estimates the cost of an experiment, so that a lab can decide before it begins: hours, and when active learning pays."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nnactive_ext.errors import NnActiveError
from nnactive_ext.metrics.prices import Prices
from nnactive_ext.planning.decisions import THESIS
from nnactive_ext.words import count, duration


@dataclass(frozen=True)
class Cost:
    """The patches to annotate, and the hours and money that they and the trainings take.

    ``patches`` counts those of all cycles, ``voxels`` the voxels in them, ``pool_voxels`` those of the pool. Rates are money
    per hour, in any currency. ``hours_why`` and ``minutes_why``: where the hours of training one member and the minutes
    per patch come from; without the latter the minutes are assumed.

    When active learning pays: Eq 4.1, in :class:`nnactive_ext.metrics.prices.Prices`. The overhead is the training of all
    members in all cycles, and all queries where they were measured (``query_hours``). The training of the last cycle is
    counted, though it would be needed anyway, and time that people wait is not, because they can do other work meanwhile.
    """

    patches: int
    voxels: int
    pool_voxels: int
    cycles: int
    folds: int
    minutes_per_patch: float
    member_hours: float
    expert_rate: float
    machine_rate: float
    hours_why: str = "as asked for"
    minutes_why: str = ""
    query_hours: float = 0.0

    @property
    def annotation_hours(self) -> float:
        return self.patches * self.minutes_per_patch / 60

    @property
    def complete_hours(self) -> float:
        """Of labelling every voxel of the pool, if it takes as long per voxel as patches do."""
        return self.annotation_hours * self.pool_voxels / self.voxels

    @property
    def training_hours(self) -> float:
        return self.cycles * self.folds * self.member_hours

    @property
    def prices(self) -> Prices:
        return Prices(self.minutes_per_patch, self.expert_rate, self.machine_rate)

    @property
    def patch_cost(self) -> float:
        """c_annotation."""
        return self.prices.patch_cost

    @property
    def overhead(self) -> float:
        """c_overhead."""
        return self.prices.overhead(self.training_hours + self.query_hours)

    @property
    def break_even(self) -> float:
        """The r at which C_AL = C_base."""
        return self.prices.break_even(self.training_hours + self.query_hours)

    @property
    def patches_to_save(self) -> int:
        """The smallest r at which C_AL < C_base."""
        return math.floor(self.break_even + 1e-9) + 1  # 19.9999999999 is 20: 3 / 60 is not exact


def estimate(
    patches: int,
    patch_voxels: int,
    pool_voxels: int,
    cycles: int,
    folds: int,
    minutes_per_patch: float,
    training_hours: float,
    expert_rate: float,
    machine_rate: float,
    hours_why: str = "as asked for",
    minutes_why: str = "",
    query_hours: float = 0.0,
) -> Cost:
    """The cost of ``patches`` of ``patch_voxels`` each in a pool of ``pool_voxels``; ``training_hours`` are for one member.

    A free machine (0) is fine; an expert who takes no time or no money is an NnActiveError, as is any negative number.
    """
    above_zero = {
        "patches": patches,
        "patch_voxels": patch_voxels,
        "pool_voxels": pool_voxels,
        "cycles": cycles,
        "folds": folds,
        "minutes_per_patch": minutes_per_patch,
        "expert_rate": expert_rate,
    }
    for name, value in above_zero.items():
        if not (math.isfinite(value) and value > 0):
            raise NnActiveError(f"{name} is {value}: it must be more than 0. Without it no cost can be estimated.")
    for name, value in {"training_hours": training_hours, "machine_rate": machine_rate, "query_hours": query_hours}.items():
        if not (math.isfinite(value) and value >= 0):
            raise NnActiveError(f"{name} is {value}: it must be 0 or more.")
    voxels = patches * patch_voxels
    return Cost(
        patches,
        voxels,
        pool_voxels,
        cycles,
        folds,
        minutes_per_patch,
        training_hours,
        expert_rate,
        machine_rate,
        hours_why,
        minutes_why,
        query_hours,
    )


PAYS = "active learning pays"
LARGE = 0.1
"""The share of the pool's voxels above which a warning compares the patches with labelling all of it."""


def rows(cost: Cost) -> list[tuple[str, str, str]]:
    """What, how much and why, as in the table that planning prints; the last row is a warning, if there is one."""
    share = cost.voxels / cost.pool_voxels
    pays = f"if it saves {_patches(cost.patches_to_save)} or more"
    machine = "training and queries cost" if cost.query_hours else "training costs"
    why = f"{machine} {cost.overhead:,.2f}, a patch {cost.patch_cost:,.2f} (Eq 4.1 of {THESIS})"
    if cost.patches_to_save > cost.patches:
        pays = f"hardly: only if it saves {_patches(cost.patches_to_save)}, more than it asks for"
        why += "; random patches with foreground (random_fg_66) need no such training: the better choice here"
    found = [
        (
            "annotation",
            f"{_patches(cost.patches)}, {_count(cost.voxels)} voxels ({_percent(share)} of the pool), "
            f"{cost.annotation_hours:,.1f} h",
            cost.minutes_why or f"{cost.minutes_per_patch:g} min per patch assumed (-minutes_per_patch)",
        ),
        (
            "complete labelling",
            f"{cost.complete_hours:,.1f} h",
            "of all voxels of the pool, at the same time per voxel as in patches; tools that fill slices may need less",
        ),
        (
            "training",
            f"{count(cost.cycles, 'cycle')} x {count(cost.folds, 'training')} x {_hours(cost.member_hours)} = "
            f"{_hours(cost.training_hours)}",
            f"{_hours(cost.member_hours)} each: {cost.hours_why} (-training_hours)",
        ),
        *([("queries", _hours(cost.query_hours), "as long as the queries so far")] if cost.query_hours else []),
        (PAYS, pays, why),
    ]
    if share > LARGE:
        told = f"labelling all of it takes {_hours(cost.complete_hours)}; fewer patches: -query_size, -starting_budget, -cycles"
        found.append(("WARNING", f"{_percent(share)} of the pool", told))
    return found


def _hours(hours: float) -> str:
    return f"{hours:,.1f}".removesuffix(".0") + " h" if hours >= 2 else duration(round(3600 * hours)) if hours else "0 h"


def _patches(number: int) -> str:
    return count(number, "patch", "patches")


def _count(number: int) -> str:
    return f"{number / 1e6:,.1f} M" if number >= 1e6 else f"{number:,}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"
