"""The patches that active learning saves at equal Dice, with their spread over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from nnactive_ext.metrics.averages import mean_and_spread
from nnactive_ext.metrics.trajectory import budget_to_target

AT_LEAST, AT_MOST, EXACT = "at least", "at most", ""
_LEVEL = 0.95
"""Of the interval of the mean over seeds."""


class Saved(NamedTuple):
    """The ``patches`` that a method saves at one Dice; ``bound`` says where one of the two never gets there.

    ``needed``: the patches that the method needs, or has where it does not get there.
    """

    patches: float
    bound: str
    needed: float


def patches_saved(
    method: tuple[Sequence[float], Sequence[float]], base: tuple[Sequence[float], Sequence[float]], target: float
) -> Saved | None:
    """The patches that ``base`` needs for a Dice, minus those that ``method`` needs (r of thesis Eq 4.1).

    Args:
        method: budgets (patches) and Dice of each cycle; straight lines join the cycles.
        base: the same of random patches.
        target: the Dice, in the unit of the curves.

    Returns:
        What is saved, negative where the method needs more: "at least" so many where only the method gets there, for the base
        needs more than it has; "at most" where only the base does. None where neither does.

    >>> random, other = ([20, 40, 60], [0.5, 0.6, 0.7]), ([20, 40, 60], [0.6, 0.7, 0.75])
    >>> patches_saved(other, random, 0.6), patches_saved(other, random, 0.75)
    (Saved(patches=20.0, bound='', needed=20.0), Saved(patches=0.0, bound='at least', needed=60.0))
    """
    own, others = budget_to_target(*method, target), budget_to_target(*base, target)
    if own is None and others is None:
        return None
    bound = AT_LEAST if others is None else AT_MOST if own is None else EXACT
    own = float(method[0][-1]) if own is None else own
    return Saved((float(base[0][-1]) if others is None else others) - own, bound, own)


class MeanSaved(NamedTuple):
    """Mean, deviation (sample) and 95 % interval of the mean of r over ``n`` seeds; NaN where there are too few.

    ``bound`` holds for the mean: one seed that is a bound makes the mean one; None where seeds are bounds on both sides.
    """

    mean: float
    std: float
    n: int
    low: float
    high: float
    bound: str | None

    @property
    def pays(self) -> bool | None:
        """Whether E[r] > 0 (requirement R of thesis 4.4): None where the interval holds 0, or a bound leaves it open."""
        if self.low > 0 and self.bound in (EXACT, AT_LEAST):
            return True
        return False if self.high < 0 and self.bound in (EXACT, AT_MOST) else None


def mean_saved(seeds: Sequence[Saved]) -> MeanSaved:
    """Over seeds; the interval is Student's.

    >>> found = mean_saved([Saved(10, "", 20), Saved(14, "at least", 20)])
    >>> found.mean, found.bound, found.pays
    (12.0, 'at least', None)
    """
    from scipy.stats import t

    mean, std, n = mean_and_spread([one.patches for one in seeds])
    half = float(t.ppf((1 + _LEVEL) / 2, n - 1)) * std / math.sqrt(n) if n > 1 else math.nan
    bounds = {one.bound for one in seeds} - {EXACT}
    return MeanSaved(mean, std, n, mean - half, mean + half, None if len(bounds) > 1 else next(iter(bounds), EXACT))
