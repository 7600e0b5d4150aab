"""One line on whether another cycle seems worth it and what that rests on: the same in status, report and browser."""

from __future__ import annotations

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.result import read_results, same_classes
from nnactive_ext.labelling.minutes import measured
from nnactive_ext.loop.findings import nothing_predicted
from nnactive_ext.planning.cost import PAYS, Cost, rows
from nnactive_ext.planning.remaining import remaining
from nnactive_ext.report.disagreement import disagreement
from nnactive_ext.report.facts import advice_on
from nnactive_ext.report.verdict import EARLY, FELL, GO_ON, HELD_OUT, MEANING, NOISE, STOP, TEST, Advice, level
from nnactive_ext.words import points

_RULE = "The rule that judges these numbers is our own, not a published one"
_JUDGED = (GO_ON, STOP, FELL, EARLY)
"""Headlines that the rule decides; the others are facts, such as a pool that is used up."""
_SHOWN = 3
"""Cycles whose Dice the line gives: the rule looks at the last two changes."""


def worth(experiment: Experiment) -> str:
    """Say whether another cycle seems worth it.

    Args:
        experiment: an experiment.

    Returns:
        The line of :func:`worth_line`; empty before the first result.
    """
    results = read_results(experiment.results)
    if not results:
        return ""
    nothing = nothing_predicted(experiment, same_classes(results))
    made = advice_on(experiment, results, None, "", nothing)
    if made.headline == EARLY and made.basis == HELD_OUT and level(made.steps):
        # Only then does the verdict hang on what the members said about the pool, which is in a file for each case and cycle.
        made = advice_on(experiment, results, disagreement(experiment), "", nothing)
    return worth_line(made, remaining(experiment, measured(experiment)) if experiment.plan.human else None)


def worth_line(advice: Advice, left: Cost | None) -> str:
    """The verdict, what it rests on, that the rule is ours, and from how many saved patches on the rest of the plan pays.

    Args:
        advice: the advice of the report.
        left: what the rest of the plan costs; None where nothing is left, or where nobody annotates.

    Returns:
        A few sentences in one line of plain text.
    """
    headline = advice.headline
    said = [f"Another cycle: {headline}" + (f" ({MEANING[headline]})" if headline in MEANING else "")]
    if headline in _JUDGED and advice.levels:
        said += [_basis(advice), _RULE]
    if left:
        pays = {what: value for what, value, _ in rows(left)}[PAYS]
        said.append(f"Of the {left.patches} patches left, {PAYS} {pays}")
    return f"{'. '.join(said)}."


def _basis(advice: Advice) -> str:
    """The Dice of the last cycles, the changes between them, and what counts as noise."""
    shown = advice.levels[-_SHOWN:]
    values = ", ".join(f"{100 * dice:.1f}" for _, dice in shown)
    what = "mean Dice on the test set" if advice.basis == TEST else "cross-validated mean Dice on annotated voxels"
    cycles = f"cycle {shown[0][0]}" if len(shown) == 1 else f"cycles {', '.join(str(cycle) for cycle, _ in shown)}"
    told = f"This rests on the {what}, {values} % after {cycles}"
    if not advice.steps:
        return f"{told}: there is no change to judge yet"
    last = advice.steps[-1]
    interval = f", 95 % interval over test cases {points(last.low)} to {points(last.high)}" if last.low is not None else ""
    said = (
        f"{told} (last change {points(last.value)} points{interval}); changes below {100 * NOISE:.0f} points count as noise "
        "between trainings"
    )
    if advice.basis != HELD_OUT:
        return said
    said += ", and each cycle has other voxels"
    if advice.headline == STOP:
        said += "; the members are less than half as unsure about the rest of the pool as at first"
    return said
