"""Options that several commands share."""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.lock_settings import KINDS, VARIABLE

if TYPE_CHECKING:
    from nnactive_ext.experiment.experiment import Experiment

CORES = 8
"""Of a job that trains, by default. nnU-Net augments in 12 processes on a machine of its own; one is too few for a GPU."""


def add_experiment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-d", required=True, metavar="DATASET", help="number or name of the experiment's dataset")


class Default(str):
    """The default of an option, told apart from the same text when the user typed it."""


def typed_device(options: argparse.Namespace) -> str:
    """The device that the user typed; empty if none, or none is used."""
    device = getattr(options, "device", "")
    return "" if isinstance(device, Default) or device == "none" else device


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-device",
        default=Default("cuda"),
        choices=("cuda", "cpu", "mps"),
        help="device on which the networks run (default: %(default)s)",
    )


def prepare(device: str) -> None:
    """Prepare for networks on ``device``; where it is not there, the error has the same command for the CPU. Imports torch."""
    from nnactive_ext.experiment.commands import typed_on
    from nnactive_ext.nnunet.environment import prepare_device

    try:
        prepare_device(device)
    except NnActiveError as error:
        again = typed_on("cpu")
        raise NnActiveError(f"{error}" + (f"\nOn the CPU: {again}" if again else "")) from None


def add_folds(parser: argparse.ArgumentParser, what: str, default: str) -> None:
    """``-f``, as nnU-Net's commands have it."""
    parser.add_argument(
        "-f",
        nargs="+",
        type=_fold,
        metavar="FOLD",
        help=f"{what}, e.g. 0 1 2; or all, for the one member that nnUNetv2_train trained on all annotated cases (fold all) "
        f"(default: {default})",
    )


def _fold(text: str) -> int | str:
    if text != "all" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no fold: give numbers from 0, or all")
    return text if text == "all" else int(text)


def add_lock(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-lock",
        choices=KINDS,
        help="kind of locks: of the operating system, or files for file systems that cannot lock, such as some network "
        "drives; use the same for all commands (default: the environment "
        f"variable {VARIABLE}, else {KINDS[0]})",
    )


def add_report_ood(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--report_ood",
        action="store_true",
        help="also screen the pool for cases that do not belong, as nnactive_screen does, with what the members predict for "
        "the query",
    )


def add_precision(parser: argparse.ArgumentParser) -> None:
    """``-accumulators`` is the flag's earlier name."""
    kinds = ("single", "half")
    parser.add_argument(
        "-precision",
        default="single",
        choices=kinds,
        help="precision in which the mean probabilities of a case are kept while the case is scored; half needs half the "
        "memory (default: %(default)s)",
    )
    parser.add_argument("-accumulators", dest="precision", default=argparse.SUPPRESS, choices=kinds, help=argparse.SUPPRESS)


def add_parts(parser: argparse.ArgumentParser, what: str, after: str = "") -> None:
    parser.add_argument(
        "-num_parts",
        type=int,
        default=1,
        metavar="N",
        help=f"number of parts to split {what} into; run one command for each part{after} (default: %(default)s)",
    )
    parser.add_argument(
        "-part_id",
        type=int,
        default=0,
        metavar="I",
        help="part that this command works on, from 0 to N - 1 (default: %(default)s)",
    )


def check_parts(options: argparse.Namespace) -> None:
    if not 0 <= options.part_id < options.num_parts:
        raise NnActiveError(
            f"-part_id {options.part_id}: with -num_parts {options.num_parts}, the part must be from 0 to "
            f"{options.num_parts - 1}."
        )


def with_trainer(experiment: Experiment, trainer: str | None) -> Experiment:
    """``experiment`` as if its members had been trained by ``trainer``, if one is named."""
    return replace(experiment, planned=replace(experiment.plan, trainer=trainer)) if trainer else experiment


def words_of(flags: Mapping[str, Any]) -> list[object]:
    """The words of a command for these flags -> values, without those that were not given (None)."""
    words: list[object] = []
    for flag, value in flags.items():
        if value is not None:
            words += [flag, *(value if isinstance(value, list) else [value])]
    return words


def add_quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--disable_progress_bar", action="store_true", help="show no progress bars")


def current_user() -> str:
    """The name of the user who runs the command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # in a container without an entry for the user
        raise NnActiveError("The user name is unknown. Pass it with -who NAME.") from None
