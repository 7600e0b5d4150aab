"""What an advice says of the queries to come: what the pool still holds, and how many cycles are planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnactive_ext.experiment.plan import START, Plan
from nnactive_ext.report.disagreement import Disagreement
from nnactive_ext.words import share


def pool(disagreements: Sequence[Disagreement] | None) -> str:
    """How unsure the ensemble is about the rest of the pool."""
    if not disagreements:
        return "Nothing is known of how unsure the ensemble is about the rest of the pool: no query has asked it."
    last = disagreements[-1]
    now = (
        f"After cycle {last.cycle} the best box left in each of {last.cases} cases of the pool scored {last.median:.3g} in "
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


def used_up(missing: int, unanswered: bool, plan: Plan) -> str:
    """That no query can follow."""
    boxes = "1 box" if missing == 1 else f"{missing} boxes"
    said = f"The last query found {boxes} fewer than it was asked for: no more fit into the pool, so it is used up."
    if unanswered:
        said += " The boxes that are still open are the last ones."
    if plan.human:
        return f"{said} Another query needs new images (nnactive_change -add)."
    return f"{said} Another query would need a larger pool."


def left(results: Sequence[Mapping[str, Any]], plan: Plan) -> str:
    """How many of the planned cycles are to come."""
    if not results or plan.purpose == START:  # which others continue
        return ""
    done = results[-1]["cycle"] + 1
    if done < plan.cycles:
        rest = plan.cycles - done
        return f"{rest} of the {plan.cycles} planned cycles {'is' if rest == 1 else 'are'} still to come."
    return f"All {plan.cycles} planned cycles are done; nnactive_change -cycles plans more."
