"""What an experiment will cost, roughly, so that a lab can decide before it begins: hours, and when it pays."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nnactive_ext.errors import NnActiveError


@dataclass(frozen=True)
class Cost:
    """What is asked for, and what it takes.

    ``boxes`` are those of all cycles, ``voxels`` all in them, ``pool_voxels`` all there are. Rates are money per hour, in
    any currency. Eq 4.1 of the thesis: annotating with active learning costs C_AL = C_base - r c_annotation + c_overhead,
    where C_base is the cost of random boxes to the same quality and r how many of these are saved. So it pays when
    r > c_overhead / c_annotation.

    The overhead is the training of all members in all cycles. That of the last one is counted, though it would be trained
    anyway, and time that people wait is not, because they can do other work meanwhile.
    """

    boxes: int
    voxels: int
    pool_voxels: int
    cycles: int
    folds: int
    minutes_per_box: float
    member_hours: float
    expert_rate: float
    machine_rate: float

    @property
    def annotation_hours(self) -> float:
        return self.boxes * self.minutes_per_box / 60

    @property
    def training_hours(self) -> float:
        return self.cycles * self.folds * self.member_hours

    @property
    def box_cost(self) -> float:
        """c_annotation."""
        return self.minutes_per_box / 60 * self.expert_rate

    @property
    def overhead(self) -> float:
        """c_overhead."""
        return self.training_hours * self.machine_rate

    @property
    def break_even(self) -> float:
        """The r at which C_AL = C_base."""
        return self.overhead / self.box_cost

    @property
    def boxes_to_save(self) -> int:
        """The smallest r at which C_AL < C_base."""
        return math.floor(self.break_even + 1e-9) + 1  # 19.9999999999 is 20: 3 / 60 is not exact


def estimate(
    boxes: int,
    box_voxels: int,
    pool_voxels: int,
    cycles: int,
    folds: int,
    minutes_per_box: float,
    training_hours: float,
    expert_rate: float,
    machine_rate: float,
) -> Cost:
    """The cost of ``boxes`` of ``box_voxels`` each in a pool of ``pool_voxels``; ``training_hours`` are one member's.

    A free machine (0) is fine; an expert who takes no time or no money is an NnActiveError, as is any negative number.
    """
    above_zero = {
        "boxes": boxes,
        "box_voxels": box_voxels,
        "pool_voxels": pool_voxels,
        "cycles": cycles,
        "folds": folds,
        "minutes_per_box": minutes_per_box,
        "expert_rate": expert_rate,
    }
    for name, value in above_zero.items():
        if not (math.isfinite(value) and value > 0):
            raise NnActiveError(f"{name} is {value}: it must be more than 0. Without it no cost can be estimated.")
    for name, value in {"training_hours": training_hours, "machine_rate": machine_rate}.items():
        if not (math.isfinite(value) and value >= 0):
            raise NnActiveError(f"{name} is {value}: it must be 0 or more.")
    voxels = boxes * box_voxels
    return Cost(boxes, voxels, pool_voxels, cycles, folds, minutes_per_box, training_hours, expert_rate, machine_rate)


def rows(cost: Cost) -> list[tuple[str, str, str]]:
    """What, how much and why, as in the table that planning prints."""
    pays = f"if it saves {_boxes(cost.boxes_to_save)} or more"
    why = f"Eq 4.1: overhead {cost.overhead:,.6g} / {cost.box_cost:,.4g} a box"
    if cost.boxes_to_save > cost.boxes:
        pays = f"hardly: only if it saves {_boxes(cost.boxes_to_save)}, more than it asks for"
        why += "; random boxes with foreground (random_fg_66) need no such training: the better choice here"
    return [
        (
            "annotation",
            f"{_boxes(cost.boxes)}, {_count(cost.voxels)} voxels ({_percent(cost.voxels / cost.pool_voxels)} of the pool), "
            f"{cost.annotation_hours:,.1f} h",
            f"{cost.minutes_per_box:g} min a box (-minutes_per_box)",
        ),
        (
            "training",
            f"{_times(cost.cycles, 'cycle')} x {_times(cost.folds, 'member')} x {cost.member_hours:g} h = "
            f"{cost.training_hours:,.6g} h",
            f"{cost.member_hours:g} h for one (-training_hours)",
        ),
        ("active learning pays", pays, why),
    ]


def _boxes(number: int) -> str:
    return "1 box" if number == 1 else f"{number:,} boxes"


def _times(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _count(number: int) -> str:
    return f"{number / 1e6:,.1f} M" if number >= 1e6 else f"{number:,}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"
