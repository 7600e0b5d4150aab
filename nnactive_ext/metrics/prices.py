"""When active learning pays: the price of the patches that it saves against that of the machine (Eq 4.1 of the thesis)."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Prices:
    """Minutes of an expert per patch, and money per hour, in any currency, of the expert and of the machine.

    Eq 4.1 of the thesis (docs/methods.md names it): annotating with active learning costs
    C_AL = C_base - r c_annotation + c_overhead, where C_base is the cost of random patches to the same quality and r the
    number of patches saved. So it pays when r > c_overhead / c_annotation. ``hours`` are those of the machine, above what
    random patches need.

    >>> one_hour_a_cycle = Prices(minutes_per_patch=5, expert_rate=100, machine_rate=2)
    >>> round(one_hour_a_cycle.patch_cost, 4), round(one_hour_a_cycle.break_even(1), 4)
    (8.3333, 0.24)
    """

    minutes_per_patch: float = 3.0
    expert_rate: float = 100.0
    machine_rate: float = 2.0

    @property
    def patch_cost(self) -> float:
        """c_annotation."""
        return self.minutes_per_patch / 60 * self.expert_rate

    def overhead(self, hours: float) -> float:
        """c_overhead."""
        return hours * self.machine_rate

    def break_even(self, hours: float) -> float:
        """The r at which C_AL = C_base."""
        return self.overhead(hours) / self.patch_cost

    def difference(self, hours: float, saved: float) -> float:
        """C_AL - C_base = c_overhead - r c_annotation; negative where active learning pays."""
        return self.overhead(hours) - saved * self.patch_cost

    def break_even_minutes(self, hours: float, saved: float) -> float:
        """The minutes per patch from which on it pays to save so many patches; infinite where none is saved."""
        return 60 * self.overhead(hours) / (saved * self.expert_rate) if saved > 0 else math.inf

    def break_even_hours(self, saved: float, trainings: float, others: float = 0.0) -> float:
        """The hours per training up to which it pays; ``others`` are hours of the machine for all else, such as queries.

        Negative where it would not pay with trainings that take no time; infinite where the machine costs nothing.
        """
        if self.machine_rate == 0:
            return math.inf
        return (saved * self.patch_cost / self.machine_rate - others) / trainings
