"""The reasons of an advice in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nnactive_ext.annotation.reasons import percent
from nnactive_ext.plan import Plan
from nnactive_ext.report.disagreement import Disagreement
from nnactive_ext.report.improvement import Change

if TYPE_CHECKING:
    from nnactive_ext.report.advice import Advice

_LAG = 0.15
"""Dice below the mean of the other classes from which a class is said to lag."""


def words(
    advice: Advice,
    known: Sequence[Mapping[str, Any]],
    results: Sequence[Mapping[str, Any]],
    plan: Plan,
    disagreements: Sequence[Disagreement] | None,
) -> tuple[str, ...]:
    """``known``: those of the ``results`` that have a mean Dice."""
    parts = [
        _last(advice, known),
        _line(advice),
        _noise(advice),
        _rising(advice),
        _lagging(advice),
        _pool(disagreements),
        _foreground(results),
        _left(results, plan),
    ]
    return tuple(part for part in parts if part)


def _last(advice: Advice, known: Sequence[Mapping[str, Any]]) -> str:
    from nnactive_ext.report.advice import TEST, dice

    if not known:
        return ""
    now = f"{100 * (dice(known[-1], advice.basis) or 0):.1f}"
    held_out = (
        ""
        if advice.basis == TEST
        else " It is measured on annotated voxels of cases that the member did not train on, which the "
        "query method chose because they are hard, and they are others in each cycle: it need not be the Dice on whole images, "
        "and it can fall although the models become better."
    )
    if not advice.steps:
        return f"One cycle has a result so far (mean Dice {now} %): there is no change to judge.{held_out}"
    step = advice.steps[-1]
    interval = f" (95 % interval over {step.cases} test cases: {_between(step)})" if step.low is not None else ""
    if step.left_out:
        interval += f", without {', '.join(step.left_out)}, which too few test cases have,"
    rate = step.per_voxels(advice.unit)
    rates = [f"{points(rate)} per {advice.unit:,} annotated voxels"] if rate is not None else []
    if step.per_patch is not None:
        rates.append(f"{points(step.per_patch, 2)} per patch")
    per = f", {' or '.join(rates)}" if rates else ""
    return (
        f"From cycle {step.first} to {step.last}, with {step.patches} more patches, mean Dice on the {advice.basis} changed by "
        f"{points(step.value)} points{interval}{per}; it is {now} % now.{held_out}"
    )


def _line(advice: Advice) -> str:
    line = advice.slope
    if line is None:
        return ""
    value, low, high = (points(x * advice.unit) for x in (line.value, line.low, line.high))
    few = ", which is wide because three cycles are few" if line.cycles == 3 else ""
    return (
        f"A straight line through the last {line.cycles} cycles has a slope of {value} points per {advice.unit:,} annotated "
        f"voxels (95 % interval: {low} to {high}{few})."
    )


def _noise(advice: Advice) -> str:
    if not advice.steps:
        return ""
    interval = "The interval over test cases does not hold that, so " if advice.steps[-1].low is not None else ""
    say = f"{interval}a change of less than 2 points says little by itself"
    return (
        "Two trainings on the very same labels can differ by 1 to 2 points on small data (docs/hippocampus.md). "
        f"{say[0].upper()}{say[1:]}, and a single seed cannot tell chance from progress."
    )


def _rising(advice: Advice) -> str:
    rising = [f"{one.name} ({points(one.change.value)})" for one in advice.classes if one.rises and one.change]
    return f"Still rising with the last query, beyond chance over the test cases: {', '.join(rising)}." if rising else ""


def _lagging(advice: Advice) -> str:
    found = {one.name: one for one in advice.classes if one.dice is not None}
    if len(found) < 2:
        return ""
    lowest = min(found.values(), key=lambda one: one.dice or 0.0)
    others = [one.dice or 0.0 for one in found.values() if one is not lowest]
    if (lowest.dice or 0.0) > sum(others) / len(others) - _LAG:
        return ""
    seen = f"; {lowest.voxels:,} voxels of it are annotated" if lowest.voxels is not None else ""
    lags = f"{lowest.name} lags behind the other classes (Dice {100 * (lowest.dice or 0):.1f} %{seen})"
    if lowest.change is None:
        return f"{lags}."
    if lowest.rises:
        return f"{lags}, and is rising."
    return (
        f"{lags} and is not seen to rise. If it matters, look at the pictures of boxes chosen for it: do they hold it, and is "
        "it annotated well? More of the same queries may not help it."
    )


def _pool(disagreements: Sequence[Disagreement] | None) -> str:
    if not disagreements:
        return "Nothing is known of how unsure the ensemble is about the rest of the pool: no query has asked it."
    last = disagreements[-1]
    now = (
        f"After cycle {last.cycle} the best patch left in each of {last.cases} cases of the pool scored {last.median:.3g} in "
        f"the median ({last.high:.3g} in the most uncertain tenth)"
    )
    if len(disagreements) < 2:
        return f"{now}; an earlier cycle to compare with is missing."
    before = disagreements[-2]
    if before.query != last.query:
        return f"{now}; the query before used another method ({before.query}), whose scores do not compare."
    if before.median <= 0:
        return f"{now}."
    share = last.median / before.median - 1
    much = percent(abs(share))
    trend = "about as much as" if abs(share) < 0.05 else f"{much} {'more' if share > 0 else 'less'} than"
    return f"{now}, {trend} after cycle {before.cycle}."


def _foreground(results: Sequence[Mapping[str, Any]]) -> str:
    if not results or results[-1].get("foreground_share") is None:
        return ""
    new = results[-1].get("new_foreground_share")
    newest = f", {percent(new)} of those of the last query" if new is not None and results[-1]["cycle"] > 0 else ""
    return f"{percent(results[-1]['foreground_share'])} of all annotated voxels are foreground{newest}."


def _left(results: Sequence[Mapping[str, Any]], plan: Plan) -> str:
    if not results:
        return ""
    done = results[-1]["cycle"] + 1
    if done < plan.cycles:
        left = plan.cycles - done
        return f"{left} of the {plan.cycles} planned cycles {'is' if left == 1 else 'are'} still to come."
    return f"All {plan.cycles} planned cycles are done; nnactive_change -cycles plans more."


def points(value: float, digits: int = 1) -> str:
    """Dice in points, with its sign.

    >>> points(-0.0123), points(0.0504)
    ('−1.2', '+5.0')
    """
    text = f"{100 * value:+.{digits}f}"
    return text.replace("-", "−")


def _between(step: Change) -> str:
    return f"{points(step.low or 0.0)} to {points(step.high or 0.0)}"
