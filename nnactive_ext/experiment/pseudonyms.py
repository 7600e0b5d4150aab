"""Pseudonyms of cases, for tasks that are sent out without the names of cases; the table stays in the experiment."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

from nnactive_ext.files import read_json_if_any, write_json
from nnactive_ext.kept import Kept
from nnactive_ext.paths import Name

FILE = "pseudonyms.json"
"""Beside the ledger: case -> pseudonym. An experiment whose tasks were never exported with pseudonyms has none."""
_LETTERS = "bcdfghjkmnpqrstvwxz"
"""Without vowels and digits, so that a pseudonym is neither a word nor looks like a number of a patient."""
_LENGTH = 10


def pseudonyms(annotation: Path) -> dict[str, str]:
    """Case -> pseudonym, as far as there are any.

    Args:
        annotation: the experiment's folder of annotations.

    Raises:
        NnActiveError: the table is damaged.
    """
    file = annotation / FILE
    return _TABLES.of(file, lambda: read_json_if_any(file, {}, Annotated[dict[str, Name], _each_its_own]))


_TABLES: Kept[dict[str, str]] = Kept(8)


def _each_its_own(found: Mapping[str, str]) -> None:
    if len(set(found.values())) < len(found):
        raise ValueError("each case must have a pseudonym of its own")


def give_pseudonyms(annotation: Path, cases: Iterable[str]) -> dict[str, str]:
    """Give each case that has none a pseudonym, and write the table before anything can be sent out.

    They are drawn by the operating system, not from the experiment's seed: whoever knows the seed and the names of cases must
    not find out which pseudonym is whose.

    Args:
        annotation: the experiment's folder of annotations; the caller holds the experiment's lock.
        cases: names of cases.

    Returns:
        Case -> pseudonym, of all cases that have one.
    """
    before = pseudonyms(annotation)
    found, cases = dict(before), sorted(set(cases))
    for case in cases:
        if case not in found:
            found[case] = _new({*found.values(), *cases})
    if found != before:
        annotation.mkdir(exist_ok=True)
        write_json(annotation / FILE, found, durable=True)
    return found


def _new(taken: set[str]) -> str:
    while True:
        name = "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
        if name not in taken:
            return name
