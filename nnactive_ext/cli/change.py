"""nnactive_change: alter a running experiment between cycles."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnactive_ext.cli.command import command
from nnactive_ext.cli.options import add_experiment, add_lock, add_quiet, current_user
from nnactive_ext.errors import NnActiveError
from nnactive_ext.planning.options import add_changes, changes
from nnactive_ext.planning.settings import Settings
from nnactive_ext.words import count, warned


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_change",
        description="Changes an experiment between cycles: the number of cycles, the seed, the expert, the share of tasks to "
        "be done, the cases of the pool, and the classes. nnactive_plan.json records each change. It also restores plans that "
        "were replaced (-plans) and takes over changed reference label maps (-references).",
    )
    add_experiment(made)
    add_changes(made, Settings)
    made.add_argument("-add", type=Path, metavar="FOLDER", help="add the images of a folder to the pool of a roll-out")
    made.add_argument(
        "-blocks",
        type=int,
        metavar="N",
        help="draw N blocks from the volume that -add names, or from the volumes in that folder; none overlaps an older one",
    )
    made.add_argument("-pattern", metavar="PATTERN", help="name pattern of these image files, as for nnactive_plan")
    made.add_argument("-label_maps", type=Path, metavar="FOLDER", help="folder with label maps of some of these cases")
    made.add_argument(
        "-label_pattern", default="{case}", metavar="PATTERN", help="name pattern of the label maps (default: %(default)s)"
    )
    made.add_argument(
        "-groups",
        metavar="FILE|PATTERN",
        help="groups of these cases, such as their patients: a table of cases and groups, or a pattern of the case names "
        "(default: the pattern that the roll-out was planned with)",
    )
    made.add_argument(
        "-spacing",
        nargs="+",
        metavar="LENGTH",
        help="spacing of these images along z y x, as for nnactive_plan (default: the one that the roll-out was planned with)",
    )
    made.add_argument("-drop", nargs="+", metavar="CASE", help="remove cases and their labels from the pool")
    made.add_argument(
        "-labels",
        nargs="+",
        metavar="WORD",
        help="change the classes of a roll-out: add NAME [from A B ...], rename A B, merge A B ... into NAME, split A into B C "
        "...; or a JSON or TOML file with several of these. Annotated voxels whose class is not known any more become ignore",
    )
    made.add_argument(
        "-references",
        choices=("reread",),
        help="reread: use the reference label maps of a simulation as they are now, after they were changed, and write the "
        "labels of annotated cases again",
    )
    made.add_argument(
        "-plans",
        choices=("restore",),
        help="restore: put back nnU-Net's plans and dataset.json as they were planned, after nnU-Net's own planning or "
        "preprocessing replaced them, and preprocess the cases again",
    )
    made.add_argument(
        "-ledger",
        choices=("accept",),
        help="accept: where there is no backup of a damaged ledger, continue with its whole events; the damaged file is kept, "
        "and the labels of closed cycles are written again",
    )
    made.add_argument("-who", metavar="NAME", help="name to record with the change (default: the user who runs the command)")
    add_quiet(made)
    add_lock(made)
    return made


def _put_right(options: argparse.Namespace, progress: bool) -> None:
    """``-plans restore``, ``-references reread`` or ``-ledger accept``: other commands wait for it."""
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.experiment.input_checks import PLANS, REFERENCES, SOURCE
    from nnactive_ext.labelling.opening import open_experiment
    from nnactive_ext.loop.status import next_step
    from nnactive_ext.planning.recovering import accept_ledger
    from nnactive_ext.planning.references import reread_references
    from nnactive_ext.planning.restoring import restore_plans

    name = Experiment.find(options.d).name
    with Experiment(name).running(), Experiment(name).lock():
        if options.ledger:
            told = accept_ledger(open_experiment(name, locked=True, recovering=True), progress)
        elif options.plans:
            experiment = open_experiment(name, locked=True, changed=(PLANS, SOURCE, REFERENCES))
            told = restore_plans(experiment, progress)
        else:
            experiment = open_experiment(name, locked=True, changed=(REFERENCES,))
            told = reread_references(experiment, options.who or current_user(), progress)
        for line in told:
            print(line)
        print(next_step(open_experiment(name, locked=True)))


@command(parser)
def main(options: argparse.Namespace) -> None:
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.labelling.closing import follow_noted
    from nnactive_ext.labelling.opening import open_experiment
    from nnactive_ext.loop.status import next_step, reopened
    from nnactive_ext.planning.changes import add_cases, cases_to_drop, change_settings, drop_cases
    from nnactive_ext.planning.labels import read_operations
    from nnactive_ext.planning.relabelling import change_labels, check_relabelling
    from nnactive_ext.planning.relabelling import told as labels_told

    wanted = changes(Settings, options)
    alone = [option for option in (options.references, options.plans, options.ledger) if option]
    if alone:
        others = (options.add, options.drop, options.labels, *alone[1:], *wanted.values())
        if any(value not in (None, "") for value in others):
            raise NnActiveError("-references, -plans and -ledger are given alone: repeat the command for other changes.")
        _put_right(options, not options.disable_progress_bar)
        return
    if options.groups and not options.add:
        raise NnActiveError("-groups gives new cases their groups: it goes with -add FOLDER.")
    if options.blocks is not None and (not options.add or options.pattern or options.label_maps):
        raise NnActiveError(
            "-blocks draws blocks from a large volume: it goes with -add VOLUME, without -pattern and -label_maps."
        )
    if options.spacing and not options.add:
        raise NnActiveError("-spacing is that of new images: it goes with -add FOLDER.")
    if not (options.add or options.drop or options.labels) and all(value is None for value in wanted.values()):
        raise NnActiveError("Nothing to change was given. nnactive_change -h lists what can be changed.")
    who = options.who or current_user()
    operations = read_operations(options.labels) if options.labels else []
    dropped = cases_to_drop(Experiment.find(options.d), options.drop) if options.drop else []
    name = open_experiment(options.d, without=dropped).name
    with Experiment(name).running(), Experiment(name).lock():
        open_experiment(name, locked=True, without=dropped)
        human = Experiment(name).plan.human
        for line in warned(follow_noted(Experiment(name), not options.disable_progress_bar)):
            print(line)
        if options.add and not human:
            raise NnActiveError("-add is for roll-outs only: the simulated annotator needs reference labels.")
        if operations:  # before anything else is changed
            check_relabelling(Experiment(name), operations)
        for line in change_settings(Experiment(name), who, wanted):
            print(line)
        warnings: tuple[str, ...] = ()
        if dropped:
            warnings += drop_cases(Experiment(name), who, dropped)
            print(f"dropped: {', '.join(dropped)}")
        if options.add:
            progress = not options.disable_progress_bar
            maps, label_pattern = options.label_maps, options.label_pattern
            more_of = (options.pattern, maps, label_pattern, progress, options.groups, options.spacing, options.blocks)
            added, more = add_cases(Experiment(name), who, options.add, *more_of)
            warnings += more
            print(f"added: {count(len(added), 'case')} ({', '.join(added[:5])}{', ...' if len(added) > 5 else ''})")
        if options.labels:
            relabelled = change_labels(Experiment(name), who, operations, not options.disable_progress_bar)
            warnings += relabelled.warnings
            for line in labels_told(relabelled):
                print(line)
        for line in warned(warnings):
            print(line)
        experiment = open_experiment(name, locked=True)
        print("\n".join([*reopened(experiment), next_step(experiment)]))


if __name__ == "__main__":
    main()
