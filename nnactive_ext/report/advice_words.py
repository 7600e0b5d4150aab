"""The reasons of an advice in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from nnactive_ext.experiment.commands import Commands
from nnactive_ext.experiment.plan import ALL_LABELS, START, Plan
from nnactive_ext.experiment.result import CycleResult
from nnactive_ext.report.disagreement import Disagreement
from nnactive_ext.report.improvement import FEWEST, Change
from nnactive_ext.report.verdict import HELD_OUT, NOISE, TEST, Advice, dice, falls
from nnactive_ext.words import count, points, share

_LAG = 0.15
"""Dice below the mean of the other classes from which a class is said to lag."""
_SAME_LABELS = (
    "two trainings on the very same labels can differ by 1 to 2 points on small data (docs/hippocampus.md), and by 7 after a "
    "hundred iterations (docs/benchmarks/hippocampus/README.md)"
)


def words(
    advice: Advice,
    known: Sequence[CycleResult],
    results: Sequence[CycleResult],
    plan: Plan,
    disagreements: Sequence[Disagreement] | None,
    missing: int = 0,
    unanswered: bool = False,
) -> tuple[str, ...]:
    """``known``: those of the ``results`` that have a mean Dice; the rest as for :func:`~nnactive_ext.report.advice.advice`."""
    if plan.purpose == ALL_LABELS:
        parts = [_limit(advice, known), _lagging(advice, asks=False), _foreground(results)]
    else:
        parts = [
            _used_up(missing, unanswered, plan) if missing else "",
            _last(advice, known),
            _fallen(advice, plan),
            _line(advice),
            _noise(advice),
            _rising(advice),
            _falling(advice),
            _lagging(advice, asks=not missing),
            "" if missing else _pool(disagreements),
            _foreground(results),
            "" if missing else _left(results, plan),
        ]
    return tuple(part for part in parts if part)


def _limit(advice: Advice, known: Sequence[CycleResult]) -> str:
    if not known:
        return ""
    now = f"{100 * (dice(known[-1], advice.basis) or 0):.1f}"
    return (
        f"Every image of the pool is annotated whole, and nothing is queried: a mean Dice of {now} % on the {advice.basis} is "
        "what this trainer reaches on these data at best. It is what experiments with queries are measured against, and their "
        f"ensembles may pass it by chance: {_SAME_LABELS}."
    )


def _fallen(advice: Advice, plan: Plan) -> str:
    """What to check when more annotation made it worse, which it should not."""
    if not advice.steps:
        return ""
    step = advice.steps[-1]
    if advice.basis == HELD_OUT:
        if step.value > -2 * NOISE:
            return ""
        may = "The Dice fell, which may only mean that the patches of the last query are harder."
    elif falls(step):
        may = "The Dice fell by more than chance over the test cases, and more annotation should not make a model worse."
    else:
        return ""
    who = "are they complete, of the right class, not shifted" if plan.human else "do they fit the images"
    return (
        f"{may} Before anything else, look at the annotations of the last query in section 3 ({who}?), and at the logs of the "
        "training: did every fold end, and did its loss go down? If both are well, train again on the same labels: the noise "
        "of a training shows in how far the two results differ."
    )


def _last(advice: Advice, known: Sequence[CycleResult]) -> str:
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
    if step.low is None and advice.basis == TEST:
        interval = f" (fewer than {FEWEST} test cases: no interval)"
    if step.left_out:
        interval += f", without {', '.join(step.left_out)}, which too few test cases have,"
    rate = step.per_voxels(advice.unit)
    rates = [f"{points(rate)} per {advice.unit:,} annotated voxels"] if rate is not None else []
    if step.per_patch is not None:
        rates.append(f"{points(step.per_patch, 2)} per patch")
    patches = count(step.patches, "more patch", "more patches")
    per = f", {' or '.join(rates)}" if rates else ""
    return (
        f"From cycle {step.first} to {step.last}, with {patches}, mean Dice on the {advice.basis} changed by "
        f"{points(step.value)} points{interval}{per}; it is {now} % now.{held_out}"
    )


def _line(advice: Advice) -> str:
    line = advice.slope
    if line is None:
        return ""
    return (
        f"A straight line through the last {line.cycles} cycles has a slope of {points(line.value * advice.unit)} points per "
        f"{advice.unit:,} annotated voxels; so few cycles give it no interval."
    )


def _noise(advice: Advice) -> str:
    if not advice.steps:
        return ""
    interval = "The interval over test cases does not hold that, so " if advice.steps[-1].low is not None else ""
    say = f"{interval}a change of less than 2 points says little by itself"
    return (
        f"{_SAME_LABELS[0].upper()}{_SAME_LABELS[1:]}. "
        f"{say[0].upper()}{say[1:]}, and a single seed cannot tell chance from progress."
    )


def _rising(advice: Advice) -> str:
    rising = [f"{one.name} ({points(one.change.value)})" for one in advice.classes if one.rises and one.change]
    return f"Still rising with the last query, beyond chance over the test cases: {', '.join(rising)}." if rising else ""


def _falling(advice: Advice) -> str:
    found = [f"{one.name} ({points(one.change.value)})" for one in advice.classes if one.falls and one.change]
    return f"Worse with the last query, beyond chance over the test cases: {', '.join(found)}." if found else ""


def _lagging(advice: Advice, asks: bool) -> str:
    """``asks``: whether another query may follow."""
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
    more = " More of the same queries may not help it." if asks else ""
    return (
        f"{lags} and is not seen to rise. If it matters, look at the pictures of patches chosen for it: do they hold it, and "
        f"is it annotated well?{more}"
    )


def _foreground(results: Sequence[CycleResult]) -> str:
    if not results or results[-1].foreground_share is None:
        return ""
    new = results[-1].new_foreground_share
    newest = f", {share(new)} of those of the last query" if new is not None and results[-1].cycle > 0 else ""
    return f"{share(results[-1].foreground_share)} of all annotated voxels are foreground{newest}."


def _pool(disagreements: Sequence[Disagreement] | None) -> str:
    """How unsure the ensemble is about the rest of the pool."""
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
    ratio = last.median / before.median - 1
    much = share(abs(ratio))
    trend = "about as much as" if abs(ratio) < 0.05 else f"{much} {'more' if ratio > 0 else 'less'} than"
    return f"{now}, {trend} after cycle {before.cycle}."


def _used_up(missing: int, unanswered: bool, plan: Plan) -> str:
    """That no query can follow."""
    patches = count(missing, "patch", "patches")
    said = f"The last query found {patches} fewer than it was asked for: no more fit into the pool, so it is used up."
    if unanswered:
        said += " The patches that are still open are the last ones."
    if plan.human:
        return f"{said} Another query needs new images ({Commands(plan).change('-add', 'FOLDER')})."
    return f"{said} Another query would need a larger pool."


def _left(results: Sequence[CycleResult], plan: Plan) -> str:
    """How many of the planned cycles are to come."""
    if not results or plan.purpose == START:  # which others continue
        return ""
    done = results[-1].cycle + 1
    if done < plan.cycles:
        rest = plan.cycles - done
        return f"{rest} of the {plan.cycles} planned cycles {'is' if rest == 1 else 'are'} still to come."
    return f"All {plan.cycles} planned cycles are done; {Commands(plan).change('-cycles', plan.cycles + 1)} plans more."


def _between(step: Change) -> str:
    return f"{points(step.low or 0.0)} to {points(step.high or 0.0)}"
