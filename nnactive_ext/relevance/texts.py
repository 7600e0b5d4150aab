"""``texts.csv``: texts that describe what images of the experiment show, and what other images could be mistaken for them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.intake.tables import read_table
from nnactive_ext.words import listed

TEXTS = "texts.csv"
COLUMNS = ("id", "group", "class", "text")
RELEVANT, IRRELEVANT = GROUPS = ("relevant", "irrelevant")


@dataclass(frozen=True)
class Text:
    """A text by its ``id``. ``label``: the class that a relevant text describes; empty for images as a whole."""

    id: str
    relevant: bool
    label: str
    text: str


@dataclass(frozen=True)
class Texts:
    """The texts of a file, by id, whatever their order there; ``notes``: what a user should know about them."""

    texts: tuple[Text, ...]
    notes: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(text.id for text in self.texts)

    @property
    def relevant(self) -> np.ndarray:
        """Bool, one for each text."""
        return np.array([text.relevant for text in self.texts], bool)


def read_texts(file: Path, labels: Collection[str]) -> Texts:
    """Read a table with the columns id, group, class and text; class and text may be absent or empty.

    Args:
        file: ``texts.csv``.
        labels: the classes of the experiment.

    Returns:
        The texts, sorted by id.

    Raises:
        NnActiveError: a column is missing, a line has more cells than the first one, an id is empty or there twice, a group or
            class is unknown, or no text is relevant.
    """
    lines = read_table(file)
    names = [cell.lower() for cell in lines[0].cells] if lines else []
    if missing := [name for name in COLUMNS[:2] if name not in names]:
        raise NnActiveError(f"{file}: there is no column {listed(missing)}. Its first line must be {','.join(COLUMNS)}.")
    texts: dict[str, Text] = {}
    for line in lines[1:]:
        cells = dict(zip(names, [*line.cells, *[""] * len(names)], strict=False))
        one = Text(cells["id"], cells["group"].lower() == RELEVANT, cells.get("class", ""), cells.get("text", ""))
        where = f"{file}, line {line.number}:"
        if any(line.cells[len(names) :]):
            raise NnActiveError(
                f"{where} it has {len(line.cells)} cells, the first line {len(names)}. Put texts with commas in quotes."
            )
        if not one.id or one.id in texts:
            raise NnActiveError(f"{where} the id {one.id!r} is {'there twice' if one.id else 'empty'}. Give each text its own.")
        if cells["group"].lower() not in GROUPS:
            raise NnActiveError(f"{where} the group {cells['group']!r} is unknown. Write {' or '.join(GROUPS)}.")
        if one.label and one.label not in labels:
            raise NnActiveError(f"{where} there is no class {one.label!r}. Write one of {listed(list(labels))}, or nothing.")
        texts[one.id] = one
    if not any(one.relevant for one in texts.values()):
        raise NnActiveError(f"{file}: no text is relevant. Describe at least what the images of the experiment show.")
    return Texts(tuple(texts[key] for key in sorted(texts)), _twice(file, list(texts.values())))


def _twice(file: Path, texts: list[Text]) -> tuple[str, ...]:
    """A note for each text that is there under several ids."""
    ids: dict[tuple[bool, str], list[str]] = {}
    for one in texts:
        if one.text:
            ids.setdefault((one.relevant, " ".join(one.text.lower().split())), []).append(one.id)
    counts = {True: "once, as only the largest similarity counts", False: "as often in the mean of the irrelevant texts"}
    return tuple(
        f"{file}: {listed(several)} are the same text, which counts {counts[relevant]}."
        for (relevant, _), several in sorted(ids.items())
        if len(several) > 1
    )
