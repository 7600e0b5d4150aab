"""The hours of training one member: as typed, timed on this machine, or assumed, with where they come from."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nnactive_ext.experiment.commands import device_here
from nnactive_ext.experiment.plan import Plan
from nnactive_ext.nnunet.pace import Pace, Training
from nnactive_ext.nnunet.planners import asked_for
from nnactive_ext.nnunet.trainers import EPOCHS, NAME
from nnactive_ext.planning.settings import Settings

ASSUMED = 2.0
"""Hours of 200 epochs of 250 iterations on a data centre's GPU, where nothing can be timed."""
_ITERATIONS = 250


@dataclass(frozen=True)
class Hours:
    """Of the training of one member, and where the number comes from. ``plans``: nnU-Net's, as far as they say what was timed;
    empty where nothing was."""

    value: float
    why: str
    plans: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> Hours | None:
        """As typed (``-training_hours``), if anything was."""
        return None if settings.training_hours is None else cls(settings.training_hours, "as asked for")


def member_hours(plan: Plan, dataset_json: Mapping[str, object], time: Callable[[Training], Pace | str] | None = None) -> Hours:
    """How long the training of a member of ``plan`` takes.

    Args:
        plan: what was decided.
        dataset_json: nnU-Net's dataset.json, but for the cases.
        time: :func:`nnactive_ext.nnunet.pace.measure`; None: nothing is timed.

    Returns:
        The hours: timed on the GPU of this machine, or on its cores for the CPU preset; else assumed.
    """
    device = "cpu" if plan.preset == "cpu" else device_here()
    if time is None and plan.preset == "cpu":
        return _assumed(plan, "of a GPU; on a CPU only the shares hold")
    if time is None or (device == "cpu" and plan.preset != "cpu"):
        return _assumed(plan, "no GPU here to time it on" if time else "not timed")
    geometry = list(plan.pool.values())
    pace = time(
        Training(
            [g.shape for g in geometry],
            [g.spacing for g in geometry],
            dataset_json,
            plan.configuration,
            plan.trainer,
            plan.planner,
            device,
            plan.preset,
            asked_for(plan.settings),
            plan.pretrained.get("plans", {}),
            plan.member_kind.in_plans,
        )
    )
    return (
        Hours(pace.seconds / 3600, pace.why, pace.plans) if isinstance(pace, Pace) else _assumed(plan, f"timing failed: {pace}")
    )


def epochs_of(trainer: str) -> int | None:
    """The epochs of a training by our own trainer, by its name; None for others."""
    name = NAME.fullmatch(trainer)
    return int(name["epochs"] or EPOCHS) if name else None


def _assumed(plan: Plan, why: str) -> Hours:
    iterations = os.environ.get("nnactive_iterations_per_epoch", "")
    epochs = epochs_of(plan.trainer) or EPOCHS
    each = int(iterations) if iterations.isdecimal() else _ITERATIONS
    value = float(f"{ASSUMED * epochs / EPOCHS * each / _ITERATIONS:.2g}")
    return Hours(value, f"assumed; GPUs differ by a factor of 3 and more ({why})")
