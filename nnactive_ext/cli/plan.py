"""nnactive_plan: make an active-learning experiment from a dataset."""

from __future__ import annotations

import argparse

from nnactive_ext.cli.command import command
from nnactive_ext.cli.options import add_lock, add_quiet
from nnactive_ext.planning.options import add_options, from_options
from nnactive_ext.planning.settings import Settings
from nnactive_ext.words import warned


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_plan",
        description="Makes an experiment. A simulation (-d) starts from a fully labelled nnU-Net dataset; the simulated "
        "annotator copies its labels. Planning splits the dataset into pool and test set, decides the sizes of patches and "
        "queries, draws the starting budget, writes partial labels, and runs nnU-Net's planning and preprocessing. A "
        "roll-out (-i) starts from a folder of images that people will annotate. Planning checks every file, decides the "
        "sizes, estimates the cost, and makes the first annotation tasks. Images are never changed, and copied only where "
        "nnU-Net cannot read them as needed: DICOM series, TIFF stacks, folders of slices, and thick slices along other axes "
        "than those of the other images.",
    )
    add_options(made, Settings)
    add_quiet(made)
    add_lock(made)
    return made


@command(parser)
def main(options: argparse.Namespace) -> None:
    # Imported late, so that --help answers at once.
    from nnactive_ext.experiment.locks import locked
    from nnactive_ext.planning.create import check_number

    settings = from_options(Settings, options)
    with locked(settings.number):
        check_number(settings.number)
        (_rollout if settings.folder else _simulation)(settings, not options.disable_progress_bar)


def _simulation(settings: Settings, progress: bool) -> None:
    from dataclasses import replace

    from nnactive_ext.experiment.experiment import refuse_interrupted
    from nnactive_ext.experiment.loops import read_loop
    from nnactive_ext.loop.status import by_hand, next_step
    from nnactive_ext.loop.tables import cost_table, plan_table
    from nnactive_ext.nnunet.dataset import find_dataset
    from nnactive_ext.parallel import aside
    from nnactive_ext.planning.at_once import at_once
    from nnactive_ext.planning.create import create
    from nnactive_ext.planning.division import divide
    from nnactive_ext.planning.hours import Hours, member_hours
    from nnactive_ext.planning.measure import measure
    from nnactive_ext.planning.pretrained import start_for
    from nnactive_ext.planning.simulation import check_simulation, decide

    source = find_dataset(settings.dataset or "")
    refuse_interrupted(source.name)
    check_simulation(source, settings)  # before every image is read
    if settings.start_from:
        settings = replace(settings, starting_budget=len(read_loop(settings.start_from, source.file_ending)))
    division = divide(source, settings)  # of names alone, so before every image is read
    source = division.source
    files = [file for case in source.cases.values() for file in case.images]
    with at_once(settings.number, files, len(source.cases), len(division.pool), progress) as copies:
        plan = decide(source, measure(source, settings.processes, progress, copies), settings, division)
        with aside():
            print(f"\n{plan.dataset} from {source.folder}\n\n{plan_table(plan.decisions)}\n")
        weights = start_for(settings, source.json["channel_names"].values())
        experiment, warnings = create(plan, source, settings.start_from, progress, weights, copies)
    for line in warned(warnings):
        print(line)
    print(f"\n{cost_table(experiment, Hours.of(settings) or member_hours(plan, source.json))}")
    print(f"\nMade {experiment.raw}\n{by_hand(experiment)}")
    if plan.preset is None and experiment.device == "cpu":
        print("torch finds no GPU on this machine; on one with a GPU, leave out -device cpu.")
    print(next_step(experiment))


def _rollout(settings: Settings, progress: bool) -> None:
    from dataclasses import replace

    from nnactive_ext.intake.channel_names import channels_beside
    from nnactive_ext.intake.inspect import inspect
    from nnactive_ext.loop.status import next_step
    from nnactive_ext.loop.tables import plan_table
    from nnactive_ext.nnunet.pace import timed
    from nnactive_ext.parallel import aside, default_processes, in_one_go
    from nnactive_ext.planning.at_once import shares_of_folder
    from nnactive_ext.planning.blocks import cases_in, channels_in
    from nnactive_ext.planning.create import create_rollout
    from nnactive_ext.planning.pretrained import start_for
    from nnactive_ext.planning.rollout import check_rollout, decide_rollout, grouped, label_names

    folder = settings.folder
    assert folder is not None
    check_rollout(folder, settings)  # before every image is read
    if settings.channels is None and settings.pattern is None:
        settings = replace(settings, channels=channels_in(settings) if settings.blocks else channels_beside(folder))
    names = label_names(settings.labels or ())
    there = cases_in(settings, list(names))
    found = there.cases
    grouped(settings, found)  # what is wrong with -groups is told before every image is read
    sizes = (source.bytes for case in found.values() for source in case.sources)
    with in_one_go(shares_of_folder(len(found)), progress):
        inspected = inspect(found, names, settings.processes or default_processes(sum(sizes)), progress)
        rollout = decide_rollout(folder, found, inspected, settings, timed(progress), there.notes)
        with aside():
            print(f"\n{rollout.plan.dataset} from {folder}\n\n{plan_table(rollout.plan.decisions)}\n")
        weights = start_for(settings, rollout.channels)
        experiment, warnings = create_rollout(rollout, found, progress, weights)
    for line in warned(warnings):
        print(line)
    print(f"\nMade {experiment.raw}\n{next_step(experiment)}")


if __name__ == "__main__":
    main()
