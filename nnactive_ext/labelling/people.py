"""Names of annotators."""

from __future__ import annotations

from nnactive_ext.errors import NnActiveError
from nnactive_ext.labelling.answers import RULES


def check_annotator(name: str, option: str = "-who") -> None:
    """A blank name, or one that says which of several answers counts, is an error; ``option`` is where it was given."""
    if not name.strip() or name in RULES:
        raise NnActiveError(f"{option} {name!r}: not a name an annotator can have.")
