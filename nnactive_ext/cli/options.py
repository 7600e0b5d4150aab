"""Options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from nnactive_ext.errors import NnActiveError

DEFAULT_METHOD = "clasp_pe"
"""Of :mod:`nnactive_ext.query_methods.methods`, which a parser does not import: it takes time."""


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-device", default="cuda", choices=("cuda", "cpu", "mps"), help="where networks run (default: %(default)s)"
    )


def add_method(parser: argparse.ArgumentParser, default: str | None) -> None:
    text = "how patches are chosen, with options, e.g. clasp_pe alpha=0.5"
    text += f" (default: {default})" if default else " (default: the experiment's)"
    parser.add_argument("--method", nargs="+", metavar=("NAME", "KEY=VALUE"), default=default and [default], help=text)


def add_quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--disable_progress_bar", action="store_true", help="no progress bars")


def method_and_options(words: Sequence[str] | None) -> tuple[str | None, dict[str, str]]:
    """``["clasp_pe", "alpha=0.5"]`` -> ``("clasp_pe", {"alpha": "0.5"})``."""
    if not words:
        return None, {}
    options = {}
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise NnActiveError(f"--method {' '.join(words)}: {word!r} is not of the form KEY=VALUE.")
        options[key] = value
    return words[0], options
