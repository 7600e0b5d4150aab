"""nnactive_query: choose the patches of the next cycle and have them annotated."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from nnactive_ext.cli.command import command
from nnactive_ext.cli.options import (
    add_device,
    add_experiment,
    add_folds,
    add_lock,
    add_parts,
    add_precision,
    add_quiet,
    add_report_ood,
    prepare,
    with_trainer,
    words_of,
)
from nnactive_ext.cli.workers import add_workers, check_shares, guard, runner_of
from nnactive_ext.planning.settings import MEMBERS_HELP, METHOD_HELP, SCREEN_HELP

if TYPE_CHECKING:
    from nnactive_ext.cluster.steps import Step
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.query_methods.methods import Method


class ListMethods(argparse.Action):
    """Prints all query methods and ends, whatever else is or is not on the command line."""

    def __init__(self, option_strings: Sequence[str], dest: str):
        text = "print all query methods with their formulas, sources and options, and exit"
        super().__init__(option_strings, dest, nargs=0, help=text)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        # Imported late, so that --help answers at once.
        from nnactive_ext.loop.tables import method_list

        try:
            print(method_list(), flush=True)
        except BrokenPipeError:  # `| head` has seen enough; Python would complain again when it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        parser.exit()


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_query",
        description="Scores the pool with the trained members of the current cycle, chooses the patches of the next cycle, "
        "and writes them to loop_NNN.json. In a simulation, the simulated annotator then labels them. nnactive_run does the "
        "same in each cycle.",
    )
    add_experiment(made)
    add_folds(made, "members to use, by their folds", "all folds of the experiment")
    made.add_argument("-members", metavar="KIND", help=f"{MEMBERS_HELP} (default: the experiment's)")
    made.add_argument("-tr", metavar="TRAINER", help="trainer of the members (default: the experiment's)")
    made.add_argument("--method", nargs="+", metavar=("NAME", "KEY=VALUE"), help=f"{METHOD_HELP} (default: the experiment's)")
    made.add_argument("--list_methods", action=ListMethods)
    made.add_argument("-query_size", type=int, metavar="N", help="number of patches to choose (default: the experiment's)")
    made.add_argument("-screen", type=float, metavar="SHARE", help=f"{SCREEN_HELP} (default: the experiment's)")
    add_parts(made, "the scoring of the pool", ", then one without -num_parts and -part_id to merge them")
    add_workers(made, "parts of the scoring", "with -device cpu: score so many parts at once, each on its share of the cores")
    add_device(made)
    add_precision(made)
    add_report_ood(made)
    add_quiet(made)
    add_lock(made)
    return made


def merging(experiment: Experiment, options: argparse.Namespace) -> str:
    """The command that merges the parts: the same without the part."""
    words = _chosen(options, options.method)
    words += [] if options.precision == "single" else ["-precision", options.precision]
    words += ["--disable_progress_bar"] if options.disable_progress_bar else []
    return experiment.commands.query(*words)


def _chosen(options: argparse.Namespace, method: Sequence[str] | None) -> list[object]:
    """What is queried: members, method, size, and the share that is left out."""
    return words_of(
        {
            "-f": options.f,
            "-members": options.members,
            "-tr": options.tr,
            "--method": method,
            "-query_size": options.query_size,
            "-screen": options.screen,
        }
    )


def asked_of(experiment: Experiment, options: argparse.Namespace) -> Experiment:
    """``experiment`` as if its members had been planned as the command has them."""
    from nnactive_ext.members.ensemble import asked_as

    experiment = with_trainer(experiment, options.tr)
    return asked_as(experiment, options.members) if options.members else experiment


def _lasting(experiment: Experiment, options: argparse.Namespace) -> tuple[Method, list[object]]:
    """The method, and the arguments of a process that scores for it, in whatever folder."""
    from nnactive_ext.query_methods import methods
    from nnactive_ext.query_methods.external import confirm_typed
    from nnactive_ext.query_methods.options import method_and_options

    name, given = method_and_options(options.method)
    confirm_typed(options.method or ())
    name, given = methods.lasting(*((name, given) if name else (experiment.plan.method, experiment.plan.method_options)))
    named = [name, *(f"{key}={value}" for key, value in given.items())] if options.method else None
    return methods.get_confirmed(name, **given), ["-d", experiment.number, *_chosen(options, named)]


def _part(step: Step) -> list[object]:
    return ["-num_parts", step.parts, "-part_id", step.index]


@command(parser)
def main(options: argparse.Namespace) -> None:
    guard(options)
    from nnactive_ext.cluster.steps import SCORE, Step, scorings
    from nnactive_ext.cluster.under_way import noted
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.labelling.opening import open_experiment
    from nnactive_ext.loop.cycles import finish_annotation, query_and_annotate
    from nnactive_ext.loop.progress import Progress
    from nnactive_ext.loop.status import next_step
    from nnactive_ext.loop.watching import ended_by_signals
    from nnactive_ext.members.ensemble import NnUNetEnsemble, check_members
    from nnactive_ext.nnunet.trainers import check_trainer
    from nnactive_ext.query_methods.options import method_and_options
    from nnactive_ext.querying.query import query_cycle
    from nnactive_ext.screening.listening import listening
    from nnactive_ext.screening.report import report_pool

    check_shares(options)
    if options.tr:
        check_trainer(options.tr)
    experiment = asked_of(open_experiment(options.d), options)
    progress = not options.disable_progress_bar
    chosen = (*method_and_options(options.method), options.query_size)

    def open_ensemble(experiment, folds):
        prepare(options.device)
        return NnUNetEnsemble(experiment, folds, options.device)

    def folds_of(experiment):
        return experiment.folds() if options.f is None else options.f

    opened = listening(open_ensemble) if options.report_ood else open_ensemble

    def query(experiment, parts=(0, 1)):
        return query_cycle(
            experiment, opened, folds_of(experiment), *chosen, parts, progress, options.precision, options.screen
        )

    def screen():
        if options.report_ood:
            report_pool(experiment, open_ensemble, folds_of(experiment), None, progress)

    if options.num_parts > 1:
        with noted(experiment, Step(SCORE, options.part_id, options.num_parts)):
            query(experiment, (options.part_id, options.num_parts))
        print(f"Part {options.part_id} of {options.num_parts} is scored.")
        if not options.guarded:
            print(f"Next: after the last part: {merging(experiment, options)}")
        return

    def share(experiment):
        """Let workers score the pool, where there are any."""
        method, words = _lasting(experiment, options)
        if not scorings(experiment, 2, method):
            return
        check_members(experiment, folds_of(experiment))  # before anything is started
        with runner_of("query", options, experiment, lambda step: [*words, *_part(step)]) as runner:
            if runner:
                shown = Progress(experiment, partial(print, flush=True))
                steps = scorings(experiment, runner.parts, method)
                runner.run(experiment, steps, lambda step: shown.next(experiment.state["cycle"], step.words))

    with ended_by_signals(), experiment.running():
        with experiment.lock(wait=True):
            experiment = asked_of(open_experiment(options.d, locked=True), options)
        if finish_annotation(experiment, progress):
            print(f"The annotation of cycle {experiment.state['cycle']} is finished: its labels are in place.")
        else:
            share(experiment)
            query_and_annotate(experiment, lambda: query(experiment), progress, screen=screen)
        print(next_step(Experiment(experiment.name)))


if __name__ == "__main__":
    main()
