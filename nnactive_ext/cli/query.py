"""nnactive_query: choose the patches of the next cycle and have them annotated."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence

from nnactive_ext.cli.failing import failing_clearly
from nnactive_ext.cli.options import ListMethods, add_accumulators, add_device, add_method, add_quiet


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_query",
        description="Scores the pool with the trained members of the current cycle, writes the chosen patches to "
        "loop_NNN.json, and has the simulated annotator fill them in.",
    )
    made.add_argument("-d", required=True, metavar="DATASET", help="number or name of the experiment")
    made.add_argument("-f", nargs="+", type=int, metavar="FOLD", help="members to ask (default: all of the experiment)")
    made.add_argument("-tr", metavar="TRAINER", help="the members' trainer (default: the experiment's)")
    add_method(made, None)
    made.add_argument("--list_methods", action=ListMethods)
    made.add_argument("-query_size", type=int, metavar="N", help="patches to choose (default: the experiment's)")
    made.add_argument("-num_parts", type=int, default=1, help="score the pool in so many parts; then call without parts")
    made.add_argument("-part_id", type=int, default=0, help="the part this call scores, from 0")
    add_device(made)
    add_accumulators(made)
    add_quiet(made)
    return made


def main(args: list[str] | None = None) -> None:
    words = sys.argv[1:] if args is None else args
    options = parser().parse_args(words)
    options.merging = f"nnactive_query {shlex.join(_without_parts(words))}"
    with failing_clearly():
        _run(options)


def _without_parts(words: Sequence[str]) -> list[str]:
    """The same command for the whole pool: parts are merged by one that asks for the same."""
    kept, after = [], ""
    for word in words:
        if not (word.startswith(("-num_parts", "-part_id")) or after in ("-num_parts", "-part_id")):
            kept.append(word)
        after = word
    return kept


def _run(options: argparse.Namespace) -> None:
    from dataclasses import replace

    from nnactive_ext.nnunet.environment import prepare_device, require_nnunet_folders

    require_nnunet_folders()

    from nnactive_ext.errors import NnActiveError
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.loop.cycles import finish_annotation, query_and_annotate
    from nnactive_ext.members.ensemble import NnUNetEnsemble
    from nnactive_ext.query_methods.options import method_and_options
    from nnactive_ext.querying.query import query_cycle

    if not 0 <= options.part_id < options.num_parts:
        raise NnActiveError(f"-part_id {options.part_id}: with -num_parts {options.num_parts} it must be from 0 to one less.")
    experiment = Experiment.find(options.d)
    if options.tr:
        experiment = replace(experiment, planned=replace(experiment.plan, trainer=options.tr))
    progress = not options.disable_progress_bar
    method, method_options = method_and_options(options.method)

    def open_ensemble(experiment, folds):
        prepare_device(options.device)
        return NnUNetEnsemble(experiment, folds, options.device)

    def query(folds, parts=(0, 1)):
        return query_cycle(
            experiment,
            open_ensemble,
            folds,
            method,
            method_options,
            options.query_size,
            parts,
            progress,
            options.accumulators,
        )

    if options.num_parts > 1:
        query(options.f or experiment.folds(), (options.part_id, options.num_parts))
        print(f"Part {options.part_id} of {options.num_parts} is scored. When all are: {options.merging}")
        return
    with experiment.lock():
        if finish_annotation(experiment, progress):
            print(f"The annotation of cycle {experiment.state['cycle']}, which had been interrupted, is done.")
            return
        query_and_annotate(experiment, lambda: query(options.f or experiment.folds()), progress)


if __name__ == "__main__":
    main()
