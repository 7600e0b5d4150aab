"""nnactive_query: choose the patches of the next cycle and have them annotated."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
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
    check_parts,
    prepare,
    with_trainer,
    words_of,
)
from nnactive_ext.planning.settings import METHOD_HELP

if TYPE_CHECKING:
    from nnactive_ext.experiment.experiment import Experiment


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
    made.add_argument("-tr", metavar="TRAINER", help="trainer of the members (default: the experiment's)")
    made.add_argument("--method", nargs="+", metavar=("NAME", "KEY=VALUE"), help=f"{METHOD_HELP} (default: the experiment's)")
    made.add_argument("--list_methods", action=ListMethods)
    made.add_argument("-query_size", type=int, metavar="N", help="number of patches to choose (default: the experiment's)")
    add_parts(made, "the scoring of the pool", ", then one without -num_parts and -part_id to merge them")
    add_device(made)
    add_precision(made)
    add_quiet(made)
    add_lock(made)
    return made


def merging(experiment: Experiment, options: argparse.Namespace) -> str:
    """The command that merges the parts: the same without the part."""
    flags = {"-f": options.f, "-tr": options.tr, "--method": options.method, "-query_size": options.query_size}
    words = words_of(flags)
    words += [] if options.precision == "single" else ["-precision", options.precision]
    words += ["--disable_progress_bar"] if options.disable_progress_bar else []
    return experiment.commands.query(*words)


@command(parser)
def main(options: argparse.Namespace) -> None:
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.labelling.opening import open_experiment
    from nnactive_ext.loop.cycles import finish_annotation, query_and_annotate
    from nnactive_ext.loop.status import next_step
    from nnactive_ext.members.ensemble import NnUNetEnsemble
    from nnactive_ext.nnunet.trainers import check_trainer
    from nnactive_ext.query_methods.options import method_and_options
    from nnactive_ext.querying.query import query_cycle

    check_parts(options)
    if options.tr:
        check_trainer(options.tr)
    experiment = with_trainer(open_experiment(options.d), options.tr)
    progress = not options.disable_progress_bar
    chosen = (*method_and_options(options.method), options.query_size)

    def open_ensemble(experiment, folds):
        prepare(options.device)
        return NnUNetEnsemble(experiment, folds, options.device)

    def query(experiment, parts=(0, 1)):
        folds = experiment.folds() if options.f is None else options.f
        return query_cycle(experiment, open_ensemble, folds, *chosen, parts, progress, options.precision)

    if options.num_parts > 1:
        query(experiment, (options.part_id, options.num_parts))
        print(f"Part {options.part_id} of {options.num_parts} is scored.")
        print(f"Next: after the last part: {merging(experiment, options)}")
        return
    with experiment.running():
        with experiment.lock(wait=True):
            experiment = with_trainer(open_experiment(options.d, locked=True), options.tr)
        if finish_annotation(experiment, progress):
            print(f"The annotation of cycle {experiment.state['cycle']} is finished: its labels are in place.")
        else:
            query_and_annotate(experiment, lambda: query(experiment), progress)
        print(next_step(Experiment(experiment.name)))


if __name__ == "__main__":
    main()
