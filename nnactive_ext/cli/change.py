"""nnactive_change: alter a running experiment between cycles."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnactive_ext.cli.failing import failing_clearly
from nnactive_ext.cli.options import add_quiet, current_user
from nnactive_ext.errors import NnActiveError


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_change",
        description="Alters an experiment between cycles, and records it in nnactive_plan.json: more cycles than planned, "
        "another seed or expert from now on, images added to the pool, broken ones dropped from it.",
    )
    made.add_argument("-d", required=True, metavar="DATASET", help="number or name of the experiment")
    made.add_argument("-cycles", type=int, metavar="N", help="cycles in all, counting cycle 0")
    made.add_argument("-seed", type=int, help="for queries and folds from now on")
    made.add_argument("-expert", metavar="NAME", help="who annotates from now on, where nothing else is said")
    made.add_argument("-share", type=float, help="of a cycle's tasks that must be done before training")
    made.add_argument("-add", type=Path, metavar="FOLDER", help="add the images of a folder to the pool of a roll-out")
    made.add_argument("-pattern", metavar="PATTERN", help="of these files, as for nnactive_plan")
    made.add_argument("-label_maps", type=Path, metavar="FOLDER", help="label maps of some of these cases")
    made.add_argument("-label_pattern", default="{case}", metavar="PATTERN", help="of their names (default: %(default)s)")
    made.add_argument("-drop", nargs="+", metavar="CASE", help="take cases out of the pool, with what was annotated in them")
    made.add_argument("-who", metavar="NAME", help="who changes it (default: the user)")
    add_quiet(made)
    return made


def main(args: list[str] | None = None) -> None:
    options = parser().parse_args(args)
    with failing_clearly():
        _run(options)


def _run(options: argparse.Namespace) -> None:
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.loop.status import next_step
    from nnactive_ext.nnunet.environment import require_nnunet_folders
    from nnactive_ext.planning.changes import add_cases, change_settings, drop_cases

    require_nnunet_folders()
    wishes = {name: getattr(options, name) for name in ("cycles", "seed", "expert", "share")}
    if not options.add and not options.drop and all(value is None for value in wishes.values()):
        raise NnActiveError("Nothing to change. nnactive_change -h says what can be.")
    who = options.who or current_user()
    name = Experiment.find(options.d).name
    with Experiment(name).lock():
        human = Experiment(name).plan.human
        if options.add and not human:
            raise NnActiveError("-add: a simulated annotator needs reference labels; images are added to roll-outs only.")
        for line in change_settings(Experiment(name), who, wishes):
            print(line)
        warnings: tuple[str, ...] = ()
        if options.drop:
            warnings += drop_cases(Experiment(name), who, options.drop)
            print(f"dropped: {', '.join(options.drop)}")
        if options.add:
            progress = not options.disable_progress_bar
            maps, label_pattern = options.label_maps, options.label_pattern
            added, more = add_cases(Experiment(name), who, options.add, options.pattern, maps, label_pattern, progress)
            warnings += more
            print(f"added: {len(added)} cases ({', '.join(added[:5])}{', ...' if len(added) > 5 else ''})")
        for warning in warnings:
            print(f"WARNING: {warning}")
        print(next_step(Experiment(name)))


if __name__ == "__main__":
    main()
