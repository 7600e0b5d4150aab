"""How far trainings on the same labels lie apart, which no query method is to blame for."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nnactive_ext.compare.settings import Setting
from nnactive_ext.compare.trajectories import Trajectory


def training_noise(setting: Setting) -> tuple[list[float], int]:
    """Per seed with two methods or more the range of their Dice in cycle 0, where all have the same labels; and how many
    of these ranges are exactly 0, which tells that cycle 0 was shared and not trained anew."""
    ranges = [_range([t.dice[0] for t in setting.trajectories if t.seed == seed and begins(t)]) for seed in setting.seeds]
    known = [found for found in ranges if not math.isnan(found)]
    return known, sum(found == 0 for found in known)


def begins(trajectory: Trajectory) -> bool:
    """Whether cycle 0 is on its curve."""
    return bool(trajectory.scored) and trajectory.scored[0].cycle == 0


def noise_text(setting: Setting) -> str:
    """In a sentence; empty where nothing can be said."""
    ranges, shared = training_noise(setting)
    if not ranges:
        return ""
    if shared == len(ranges):
        return f"{setting.name}: cycle 0 is shared by the methods of a seed, so it tells nothing about the noise of training."
    return (
        f"{setting.name}: in cycle 0 all methods of a seed have the same labels, and yet their Dice differ by up to "
        f"{100 * max(ranges):.2f} percentage points (nnU-Net's training is not seeded). Smaller differences later may be "
        "noise, too."
    )


def _range(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return max(known) - min(known) if len(known) > 1 else math.nan
