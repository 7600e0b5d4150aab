"""The verdicts of a simulated annotator: a case that does not belong is irrelevant as soon as a patch of it is asked for."""

from __future__ import annotations

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import by_case, loop_file, read_loop
from nnactive_ext.experiment.plan import IRRELEVANT
from nnactive_ext.files import write_json
from nnactive_ext.labelling.dropping import described, drop, without
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.verdicts import irrelevant_cases
from nnactive_ext.labelling.votes import VERDICT

WHO = "simulated"


def call_strangers(experiment: Experiment, cycle: int) -> Experiment:
    """Call the irrelevant cases that a cycle asks about irrelevant, before its patches are annotated.

    Done again after a kill, the result is the same.

    Args:
        experiment: a simulation, also one that is being made; the caller holds its lock.
        cycle: of the loop file with the patches.

    Returns:
        The experiment without these cases in its pool; itself where there are none.
    """
    plan = experiment.plan
    if not plan.irrelevant:
        return experiment
    asked = by_case(read_loop(loop_file(experiment.raw, cycle), experiment.dataset.file_ending))
    strangers = [case for case in asked if case in plan.irrelevant and case in plan.pool]
    if not strangers:
        return experiment
    ledger, known = Ledger(experiment.annotation), irrelevant_cases(experiment)
    for case in strangers:
        if case not in known:
            ledger.add(VERDICT, WHO, case=case, task=None, irrelevant=True, why="", cycle=cycle)
    if not experiment.planned:
        drop(experiment, WHO, strangers, IRRELEVANT)
        return experiment.anew()
    plan = without(experiment, WHO, strangers, IRRELEVANT)
    write_json(experiment.raw / "dataset.json", described(experiment, plan, {}))
    return Experiment(experiment.name, plan)
