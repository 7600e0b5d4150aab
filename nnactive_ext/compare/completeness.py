"""Whether a trajectory reaches as far as those it is compared with, and if not, why."""

from __future__ import annotations

from itertools import pairwise

from nnactive_ext.compare.settings import Setting
from nnactive_ext.compare.trajectories import Trajectory


def shortcoming(trajectory: Trajectory, setting: Setting) -> str:
    """Why its area and its end cannot be compared with others of the setting; empty where they can."""
    budgets = trajectory.budgets
    if trajectory.cycles and not budgets:
        return "none of its cycles is evaluated as those of the others"
    if not budgets:
        gap = f", although cycle {trajectory.behind_gap[0]} is there" if trajectory.behind_gap else ""
        return f"no cycle 0 (it failed, or has not run yet{gap})"
    for before, after in pairwise(trajectory.scored):
        if after.patches <= before.patches:
            patches = f"{before.patches} and {after.patches} patches"
            return f"its budget does not grow from cycle {before.cycle} to {after.cycle} ({patches})"
    without = [one.cycle for one in trajectory.scored if one.mean_dice is None]
    if without:
        return f"no mean Dice in cycle {', '.join(map(str, without))}"
    if budgets[0] != setting.budgets[0] or budgets[-1] != setting.budgets[-1]:
        return _short(trajectory, setting)
    return ""


def _short(trajectory: Trajectory, setting: Setting) -> str:
    budgets, furthest = trajectory.budgets, len(setting.budgets)
    if trajectory.behind_gap:
        return f"cycle {len(trajectory.cycles)} is missing, although cycle {trajectory.behind_gap[0]} is there"
    text = f"{len(trajectory.cycles)} of {max(trajectory.planned, furthest)} cycles"
    if trajectory.planned < furthest:
        text += f" ({trajectory.planned} were planned)"
    if _used_up(trajectory):
        text += f"; the pool was used up: {budgets[-1]} patches, the others have {setting.budgets[-1]}"
    elif len(budgets) == furthest:
        text += f", {budgets[0]} to {budgets[-1]} patches; the others have {setting.budgets[0]} to {setting.budgets[-1]}"
    return text


def _used_up(trajectory: Trajectory) -> bool:
    """Whether the query that led to the last cycle found fewer patches than it was asked for."""
    queries = trajectory.record.get("queries") or ()
    return any(query["cycle"] == len(trajectory.cycles) - 1 and query.get("missing") for query in queries)


def comparable_dice(trajectory: Trajectory, setting: Setting) -> list[float]:
    """The Dice of the cycles up to the first one whose budget is not that of the others, for tests cycle by cycle."""
    pairs = list(zip(trajectory.budgets, trajectory.dice, setting.budgets, strict=False))
    return [dice for i, (_, dice, _) in enumerate(pairs) if all(budget == common for budget, _, common in pairs[: i + 1])]
