"""What each method saves against random patches at equal Dice, and when that pays: from measured curves and times."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from statistics import fmean, median

from nnactive_ext.compare.settings import Setting
from nnactive_ext.compare.summary import complete
from nnactive_ext.compare.trajectories import Trajectory
from nnactive_ext.experiment.timing import QUERY, TRAIN, times_in
from nnactive_ext.metrics.economics import MeanSaved, Saved, mean_saved, patches_saved
from nnactive_ext.metrics.prices import Prices

_RANDOM = "random"
"""How the names of methods that draw patches begin: they are what others are measured against."""


@dataclass(frozen=True)
class Hours:
    """Of the machine, up to the cycle that reaches a Dice: of all ``trainings``, and of the queries."""

    trained: float
    queried: float
    trainings: float


@dataclass(frozen=True)
class Seed:
    """What is ``saved`` at ``dice``, the final one of the random method with this seed, and at the method's ``own_dice``."""

    seed: int
    dice: float
    saved: Saved
    own_dice: float
    own: Saved
    hours: Hours | None


@dataclass(frozen=True)
class Economy:
    """A ``method`` against a random one, ``base``, over the seeds that both have complete."""

    method: str
    base: str
    seeds: tuple[Seed, ...]

    @property
    def saved(self) -> MeanSaved:
        """At the final Dice of the random method."""
        return mean_saved([seed.saved for seed in self.seeds])

    @property
    def own(self) -> MeanSaved:
        """At the method's own final Dice."""
        return mean_saved([seed.own for seed in self.seeds])

    @property
    def hours(self) -> Hours | None:
        """Mean over seeds; None where a seed's times are not known."""
        known = [seed.hours for seed in self.seeds if seed.hours]
        if not known or len(known) < len(self.seeds):
            return None
        return Hours(*(fmean(getattr(one, part.name) for one in known) for part in fields(Hours)))


def economies(setting: Setting) -> list[Economy]:
    """Of every method that needs members against every random one, by name."""
    found = []
    for base in (method for method in setting.methods if method.startswith(_RANDOM)):
        for method in (other for other in setting.methods if not other.startswith(_RANDOM)):
            there = {t.seed: t for t in complete(setting, base)}
            pairs = [(t, there[t.seed]) for t in complete(setting, method) if t.seed in there]
            seeds = tuple(seed for own, other in pairs if (seed := _seed(own, other)))
            if seeds:
                found.append(Economy(method, base, seeds))
    return sorted(found, key=lambda one: (one.method, one.base))


def prices_of(setting: Setting, typed: Prices, minutes: float | None) -> tuple[Prices, str]:
    """The prices of a setting, and where the minutes per patch come from: typed, measured in its roll-outs, or assumed."""
    measured = [cycle.minutes_per_patch for t in setting.trajectories for cycle in t.cycles[-1:] if cycle.minutes_per_patch]
    if minutes is not None:
        return Prices(minutes, typed.expert_rate, typed.machine_rate), "as asked for"
    if measured:
        return Prices(median(measured), typed.expert_rate, typed.machine_rate), "the median of what experts took"
    return typed, "assumed (-minutes_per_patch)"


def _seed(own: Trajectory, base: Trajectory) -> Seed | None:
    """None where a final Dice is missing, or budgets do not increase."""
    if not own.scored or not base.scored or math.isnan(own.dice[-1]) or math.isnan(base.dice[-1]):
        return None
    curves = (own.budgets, own.dice), (base.budgets, base.dice)
    try:
        saved, at_own = patches_saved(*curves, base.dice[-1]), patches_saved(*curves, own.dice[-1])
    except ValueError:  # a cycle without new patches
        return None
    assert saved is not None, "one of the two is there at its last cycle"
    assert at_own is not None
    return Seed(own.seed, base.dice[-1], saved, own.dice[-1], at_own, hours_until(own, saved.needed))


def hours_until(trajectory: Trajectory, budget: float) -> Hours | None:
    """What the machine did up to the first cycle with so many patches; None where its times are not in the results folder."""
    last = next(result.cycle for result in trajectory.scored if result.patches >= budget - 1e-9)
    lines = [line for line in times_in(trajectory.folder) if line["cycle"] <= last]
    trained = [float(line["seconds"]) for line in lines if line["step"] == TRAIN]
    if not trained:
        return None
    # The last cycle's members need not be asked: its Dice is what was wanted.
    queried = sum(float(line["seconds"]) for line in lines if line["step"] in QUERY and line["cycle"] < last)
    return Hours(sum(trained) / 3600, queried / 3600, len(trained))
