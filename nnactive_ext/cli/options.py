"""Options that several commands share."""

from __future__ import annotations

import argparse
import getpass
import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from nnactive_ext.errors import NnActiveError

DEFAULT_METHOD = "clasp_pe"
"""Of :mod:`nnactive_ext.query_methods.methods`, which a parser does not import: it takes time."""


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-device", default="cuda", choices=("cuda", "cpu", "mps"), help="where networks run (default: %(default)s)"
    )


def add_accumulators(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-accumulators",
        default="single",
        choices=("single", "half"),
        help="precision of the members' mean probabilities while a case is scored; half takes half the memory "
        "(default: %(default)s)",
    )


class ListMethods(argparse.Action):
    """Prints all query methods and ends, whatever else is or is not on the command line."""

    def __init__(self, option_strings: Sequence[str], dest: str):
        super().__init__(option_strings, dest, nargs=0, help="print all query methods, with formulas and sources, and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        # Imported late, so that --help answers at once.
        from nnactive_ext.query_methods.listing import listing

        try:
            print(listing(min(120, shutil.get_terminal_size().columns)), flush=True)
        except BrokenPipeError:  # `| head` has seen enough; Python would complain again when it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        parser.exit()


def add_method(parser: argparse.ArgumentParser, default: str | None) -> None:
    text = "how patches are chosen, with options, e.g. clasp_pe alpha=0.5; FILE.py:NAME for a method of your own"
    text += f" (default: {default})" if default else " (default: the experiment's)"
    parser.add_argument("--method", nargs="+", metavar=("NAME", "KEY=VALUE"), default=default and [default], help=text)


def add_quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--disable_progress_bar", action="store_true", help="no progress bars")


def current_user() -> str:
    """Whoever runs the command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # in a container without an entry for the user
        raise NnActiveError("Nobody knows who does this: say it with -who NAME.") from None
