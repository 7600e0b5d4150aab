"""All cycles of an experiment: looks at the files, does what is missing, and can be killed anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from nnactive_ext.cluster.carrying_out import OneByOne, Runner
from nnactive_ext.cluster.steps import FINISH, Step, is_evaluated, shares, trainings
from nnactive_ext.errors import NnActiveError, PoolExhausted
from nnactive_ext.experiment.archive import keep_result
from nnactive_ext.experiment.evaluating import inferences, patches_lacking
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import loop_file
from nnactive_ext.experiment.result import read_results
from nnactive_ext.experiment.timing import Timing
from nnactive_ext.labelling.closing import TasksOpen, apply_corrections, close_cycle
from nnactive_ext.labelling.relabel import annotate_cycle
from nnactive_ext.labelling.strangers import call_strangers
from nnactive_ext.loop.progress import Progress
from nnactive_ext.loop.tables import cycle_table
from nnactive_ext.members.ensemble import training_begun
from nnactive_ext.members.evaluation import evaluate
from nnactive_ext.members.tools import Tools
from nnactive_ext.query_methods.base import Query
from nnactive_ext.querying.query import query_cycle
from nnactive_ext.screening.listening import listening
from nnactive_ext.screening.report import report_pool
from nnactive_ext.words import listed, warned


def run_cycles(
    experiment: Experiment,
    tools: Tools,
    progress: bool = True,
    say: Callable[[str], None] = print,
    accumulators: str = "single",
    runner: Runner | None = None,
    once: bool = False,
    report_ood: bool = False,
) -> None:
    """Train, evaluate, query and annotate until the planned cycles are done.

    A step whose result exists is not repeated. In a roll-out the function also returns when a query is chosen and it is the
    experts' turn.

    Args:
        experiment: a planned experiment. No other command may run it at the same time; answers may be handed in.
        tools: what trains members and opens them for prediction.
        progress: show progress bars.
        say: gets what happens, one line each.
        accumulators: "single" or "half", see :class:`nnactive_ext.members.statistics.RunningStatistics`.
        runner: who carries out trainings, and shares evaluation and scoring (default: this process, one step after another).
        once: return after the next query.
        report_ood: screen the pool in each cycle, before its labels change (:mod:`nnactive_ext.screening`).

    Raises:
        NnActiveError: a results file is damaged (before anything is done), or a step failed.
        PoolExhausted: the pool is used up; it is raised after the last cycle that the pool could feed.
    """
    with experiment.running():
        _run_cycles(experiment.anew(), tools, progress, say, accumulators, runner or OneByOne(tools), once, report_ood)


def _run_cycles(
    experiment: Experiment,
    tools: Tools,
    progress: bool,
    say: Callable[[str], None],
    accumulators: str,
    runner: Runner,
    once: bool,
    report_ood: bool,
) -> None:
    read_results(experiment.results)  # refuses a damaged file now instead of after hours of training
    try:
        finish_annotation(experiment, progress, say)
    except TasksOpen as error:
        if experiment.state["cycle"] >= 0 and experiment.plan.label_version:
            # Members of other classes were put away; those of today predict what is to be annotated.
            _run(experiment, trainings(experiment), runner, Progress(experiment, say))
        say(str(error))
        return
    steps = Progress(experiment, say)
    while True:
        experiment = experiment.anew()  # closing the first cycle names nnU-Net's plans, and cases may have left the pool
        plan = experiment.plan
        cycle = experiment.state["cycle"]
        folds = experiment.folds()
        timing = Timing(experiment, cycle)
        _run(experiment, trainings(experiment), runner, steps)
        _run(experiment, shares(experiment, runner.parts), runner, steps)
        if not is_evaluated(experiment):
            judge = partial(evaluate, experiment, partial(tools.open_ensemble, experiment), folds, progress)
            keep_result(experiment, cycle)
            if plan.test and not inferences(experiment):
                judge()  # counts what was annotated
            else:
                steps.next(cycle, "evaluating the test set" if plan.test else "evaluating by cross-validation")
                with timing.of("evaluate"):
                    judge()
            say(cycle_table(experiment))
        if cycle >= plan.cycles - 1:
            return
        if missing := patches_lacking(experiment):
            raise PoolExhausted(
                f"The pool of {experiment.name} is used up: the query of cycle {cycle} lacked {missing} patches. The "
                f"experiment ends after cycle {cycle} of {plan.cycles - 1}."
            )
        steps.next(cycle, "querying the pool")
        opened = listening(tools.open_ensemble) if report_ood else tools.open_ensemble
        ask = partial(query_cycle, experiment, opened, folds, progress=progress, accumulators=accumulators)
        screen = partial(report_pool, experiment, tools.open_ensemble, folds, None, progress, say) if report_ood else None
        query_and_annotate(experiment, ask, progress, say, go_on=True, screen=screen)
        if plan.human or once:
            return


def finish(
    experiment: Experiment,
    tools: Tools,
    progress: bool = True,
    say: Callable[[str], None] = print,
    accumulators: str = "single",
) -> None:
    """Carry out the last step of a cycle: what other processes have not evaluated and scored, the choice, the annotation.

    Raises:
        NnActiveError: a member is not trained yet, or as :func:`run_cycles`.
    """
    with experiment.running():
        experiment = experiment.anew()
        if experiment.last_loop > experiment.state["cycle"]:  # chosen already, and annotated where nobody is asked
            if not experiment.plan.human:
                finish_annotation(experiment, progress, say)
        elif open_ones := trainings(experiment):
            first = listed([step.name for step in open_ones])
            raise NnActiveError(f"{experiment.name}: {first} must be carried out before {FINISH}.")
        else:
            run_cycles(experiment, tools, progress, say, accumulators, once=True)


def _run(experiment: Experiment, steps: Sequence[Step], runner: Runner, progress: Progress) -> None:
    cycle = experiment.state["cycle"]
    runner.run(experiment, steps, lambda step: progress.next(cycle, step.words))


def query_and_annotate(
    experiment: Experiment,
    query: Callable[[], Query | None],
    progress: bool = True,
    say: Callable[[str], None] = print,
    go_on: bool = False,
    screen: Callable[[], object] | None = None,
) -> None:
    """Query, tell the user about it, annotate. A query that found nothing is an error that changed nothing; one that
    found too little is carried out and then an error, unless the caller wants to ``go_on``. ``screen`` is called in between,
    while the members that were asked are those of the labels in place."""
    chosen = query()
    if screen and chosen:
        screen()
    assert chosen is not None, "a query in parts does not choose"
    for line in warned(chosen.warnings):
        say(line)
    if not chosen.patches:
        raise PoolExhausted(f"The pool of {experiment.name} is used up: no further patch fits. Nothing was changed.")
    if experiment.plan.human:
        say(f"{len(chosen.patches)} patches chosen: {loop_file(experiment.raw, experiment.last_loop)}")
        return
    finish_annotation(experiment, progress, say)
    cycle = experiment.state["cycle"]
    say(f"{len(chosen.patches)} patches chosen and annotated: {loop_file(experiment.raw, cycle)}")
    if chosen.missing and not go_on:
        raise PoolExhausted(f"The pool of {experiment.name} is used up: {chosen.missing} patches less than asked for.")


def finish_annotation(experiment: Experiment, progress: bool = True, say: Callable[[str], None] = print) -> bool:
    """Annotate the loops whose patches are chosen but whose labels are not in place; whether there were any.

    Where people annotate, one with fewer tasks done than the plan's share raises :class:`TasksOpen` and stays as it is.
    Corrections that were noted while members of the current cycle were trained wait until the next cycle is closed.
    """
    with experiment.lock(wait=True):
        pending = range(experiment.state["cycle"] + 1, experiment.last_loop + 1)
        if experiment.plan.human and (pending or not training_begun(experiment)):
            apply_corrections(experiment, [], progress)  # what a killed import, or one during a run, left behind
            experiment = experiment.anew()
        for cycle in pending:
            if experiment.plan.human:
                warnings = close_cycle(experiment, cycle, progress=progress)
            else:
                experiment = call_strangers(experiment, cycle)
                warnings = annotate_cycle(experiment, cycle, progress)
            for line in warned(warnings):
                say(line)
    return bool(pending)
