"""nnactive_predict_blocks: label a volume that is larger than memory, block by block."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from nnactive_ext.cli.command import command
from nnactive_ext.cli.options import (
    add_device,
    add_experiment,
    add_folds,
    add_lock,
    add_parts,
    add_quiet,
    prepare,
    with_trainer,
    words_of,
)
from nnactive_ext.cli.workers import add_workers, check_shares, guard, runner_of
from nnactive_ext.errors import NnActiveError


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_predict_blocks",
        description="Predicts the labels of a volume that is larger than memory (OME-Zarr or TIFF) with the members of the "
        "current cycle, and writes them as OME-Zarr with the same scale and translation. The windows are those of nnU-Net's "
        "prediction of the whole volume, so there are no seams between blocks. A command that was stopped goes on when it is "
        "typed again.",
    )
    add_experiment(made)
    made.add_argument("-i", required=True, type=Path, metavar="VOLUME", help="OME-Zarr image or TIFF file")
    made.add_argument("-o", required=True, type=Path, metavar="LABELS", help="where to write the labels, a name.ome.zarr")
    add_folds(made, "members to use, by their folds", "all folds of the experiment")
    made.add_argument("-tr", metavar="TRAINER", help="trainer of the members (default: the experiment's)")
    made.add_argument(
        "-block_size",
        nargs="+",
        metavar="SIZE",
        help="size of the blocks that are predicted at a time, as for nnactive_plan; smaller ones need less memory and are "
        "slower, and the labels are the same (default: that of the experiment, else 256)",
    )
    made.add_argument("-level", type=int, metavar="N", help="resolution to predict, 0 the finest (default: the experiment's)")
    made.add_argument(
        "-time", type=int, metavar="N", help="time point of a volume that has several (default: the experiment's)"
    )
    made.add_argument("-spacing", nargs="+", metavar="LENGTH", help="spacing along z y x of a volume that does not state it")
    made.add_argument("--disable_tta", action="store_true", help="do not average over mirrored windows: up to 8 times as fast")
    add_parts(made, "the blocks", ", then one without -num_parts and -part_id to finish")
    add_workers(
        made, "parts of the prediction", "with -device cpu: predict so many parts at once, each on its share of the cores"
    )
    add_device(made)
    add_quiet(made)
    add_lock(made)
    return made


def _words(options: argparse.Namespace) -> list[object]:
    """The words that say what is predicted: all but the experiment, the part and the device."""
    paths = {"-i": os.path.abspath(options.i), "-o": os.path.abspath(options.o)}
    names = ("f", "tr", "block_size", "level", "time", "spacing")
    words = words_of({**paths, **{f"-{name}": getattr(options, name) for name in names}})
    return words + (["--disable_tta"] if options.disable_tta else [])


@command(parser)
def main(options: argparse.Namespace) -> None:
    guard(options)
    from functools import partial

    from nnactive_ext.cluster.under_way import noted
    from nnactive_ext.cluster.whole import BlockShare, block_shares
    from nnactive_ext.images.lengths import typed_spacing
    from nnactive_ext.images.volumes import is_volume, open_volume
    from nnactive_ext.labelling.opening import open_experiment
    from nnactive_ext.loop.watching import ended_by_signals
    from nnactive_ext.members.ensemble import NnUNetEnsemble
    from nnactive_ext.members.whole import Asked, predict_volume
    from nnactive_ext.nnunet.trainers import check_trainer

    check_shares(options)
    if options.tr:
        check_trainer(options.tr)
    experiment = with_trainer(open_experiment(options.d), options.tr)
    settings = experiment.plan.settings
    if options.i.exists() and not is_volume(options.i):
        raise NnActiveError(f"-i {options.i}: no volume: OME-Zarr (a folder or a .zip) and TIFF are predicted in blocks.")
    typed = options.spacing or settings.get("spacing")
    level = settings.get("level", 0) if options.level is None else options.level
    time = settings.get("time") if options.time is None else options.time
    path = Path(os.path.abspath(options.i))
    volume = open_volume(path, level, time, typed_spacing(typed) if typed else None)
    folds = experiment.folds() if options.f is None else options.f
    target = Path(os.path.abspath(options.o))
    asked = Asked(experiment, volume, target, folds, options.block_size, not options.disable_tta)

    def open_ensemble(experiment, folds):
        prepare(options.device)
        return NnUNetEnsemble(experiment, folds, options.device)

    predict = partial(predict_volume, asked, open_ensemble, progress=not options.disable_progress_bar)
    if options.num_parts > 1:
        with noted(experiment, BlockShare(asked, options.part_id, options.num_parts)):
            print(predict((options.part_id, options.num_parts)))
        if not options.guarded:
            print(f"Next: after the last part: {experiment.commands.predict_blocks(*_words(options))}")
        return

    def words(share: BlockShare) -> list[object]:
        return ["-d", experiment.number, *_words(options), "-num_parts", share.parts, "-part_id", share.index]

    with ended_by_signals():
        if asked.lacking():
            with runner_of("predict_blocks", options, experiment, words) as runner:
                if runner:
                    shares = block_shares(asked, runner.parts)
                    runner.run(experiment, shares, lambda share: print(share.words.capitalize(), flush=True))
        print(predict())


if __name__ == "__main__":
    main()
