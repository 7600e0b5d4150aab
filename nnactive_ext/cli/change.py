"""nnactive_change: alter a running experiment between cycles."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnactive_ext.cli.command import command
from nnactive_ext.cli.options import add_experiment, add_quiet, current_user
from nnactive_ext.errors import NnActiveError
from nnactive_ext.planning.options import add_changes, changeable
from nnactive_ext.planning.settings import Settings


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_change",
        description="Changes an experiment between cycles: the number of cycles, the seed, the expert, the share of tasks to "
        "be done, and the cases of the pool. nnactive_plan.json records each change.",
    )
    add_experiment(made)
    add_changes(made, Settings)
    made.add_argument("-add", type=Path, metavar="FOLDER", help="add the images of a folder to the pool of a roll-out")
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
    made.add_argument("-drop", nargs="+", metavar="CASE", help="remove cases and their labels from the pool")
    made.add_argument("-who", metavar="NAME", help="name to record with the change (default: the user who runs the command)")
    add_quiet(made)
    return made


@command(parser)
def main(options: argparse.Namespace) -> None:
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.labelling.opening import open_experiment
    from nnactive_ext.loop.status import next_step
    from nnactive_ext.planning.changes import add_cases, change_settings, drop_cases

    wanted = {name: getattr(options, flag.lstrip("-")) for name, flag in changeable(Settings).items()}
    if options.groups and not options.add:
        raise NnActiveError("-groups gives new cases their groups: it goes with -add FOLDER.")
    if not options.add and not options.drop and all(value is None for value in wanted.values()):
        raise NnActiveError("Nothing to change was given. nnactive_change -h lists what can be changed.")
    who = options.who or current_user()
    name = open_experiment(options.d).name
    with Experiment(name).lock():
        human = Experiment(name).plan.human
        if options.add and not human:
            raise NnActiveError("-add is for roll-outs only: the simulated annotator needs reference labels.")
        for line in change_settings(Experiment(name), who, wanted):
            print(line)
        warnings: tuple[str, ...] = ()
        if options.drop:
            warnings += drop_cases(Experiment(name), who, options.drop)
            print(f"dropped: {', '.join(options.drop)}")
        if options.add:
            progress = not options.disable_progress_bar
            maps, label_pattern = options.label_maps, options.label_pattern
            more_of = (options.pattern, maps, label_pattern, progress, options.groups)
            added, more = add_cases(Experiment(name), who, options.add, *more_of)
            warnings += more
            print(f"added: {len(added)} cases ({', '.join(added[:5])}{', ...' if len(added) > 5 else ''})")
        for warning in warnings:
            print(f"WARNING: {warning}")
        print(next_step(Experiment(name)))


if __name__ == "__main__":
    main()
