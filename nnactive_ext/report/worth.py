"""One line on whether another cycle seems worth it, from what the report and the status say."""

from __future__ import annotations

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.result import read_results, same_classes
from nnactive_ext.labelling.minutes import measured
from nnactive_ext.loop.findings import missed_words, nothing_predicted, yields_by_cycle
from nnactive_ext.planning.cost import PAYS, rows
from nnactive_ext.planning.remaining import remaining
from nnactive_ext.report.facts import advice_on
from nnactive_ext.report.verdict import MEANING


def worth(experiment: Experiment) -> str:
    """The headline of the report's advice, what it means, and from how many saved patches on the rest of the plan pays."""
    results = read_results(experiment.results)
    yields, nothing = yields_by_cycle(experiment, results), nothing_predicted(experiment, same_classes(results))
    headline = advice_on(experiment, results, missed_words(experiment, yields), nothing).headline
    said = f"Another cycle: {headline}" + (f" ({MEANING[headline]})" if headline in MEANING else "")
    cost = remaining(experiment, measured(experiment)) if experiment.plan.human else None
    if cost is None:
        return f"{said}."
    pays = {what: value for what, value, _ in rows(cost)}[PAYS]
    return f"{said}; of the {cost.patches} patches left, {PAYS} {pays}."
