"""TIFF files among the images of a folder: how many channels each holds, and what there is to tell about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nnactive_ext.errors import NnActiveError
from nnactive_ext.images.tiff import TiffHeader, is_tiff, tiff_header
from nnactive_ext.intake.folder import Item
from nnactive_ext.intake.layout import Placed
from nnactive_ext.intake.passed_over import Note, shown
from nnactive_ext.words import count, listed


@dataclass(frozen=True)
class TiffHeaders:
    """The headers of the TIFF files among the images that have one; the others are refused when they are read."""

    headers: Mapping[Path, TiffHeader]

    @classmethod
    def of(cls, items: Sequence[Item]) -> TiffHeaders:
        """Read them."""
        headers = {}
        for item in items:
            if is_tiff(item.path) and not item.slices:
                with suppress(NnActiveError):
                    headers[item.path] = tiff_header(item.path)
        return cls(headers)

    def number(self, item: Item) -> int:
        """How many channels the file of an image holds."""
        header = None if item.slices else self.headers.get(item.path)
        return header.channels if header else 1

    def hold_channels(self, items: Sequence[Item], pattern: str | None) -> bool:
        """Whether the images, or those that a pattern without channels may choose, hold all channels of their cases."""
        several = [self.number(item) > 1 for item in items]
        return any(several) and (all(several) if pattern is None else "{channel}" not in pattern)

    def problems(self, items: Sequence[Item], channels: Sequence[str] | None) -> list[str]:
        """Files that hold the channels in another order than the first, or than ``channels`` if these are their names."""
        found = [(item.path, header.names) for item in items if (header := self.headers.get(item.path)) and header.names]
        if not found:
            return []
        first, order = found[0]
        problems = [
            f"{path}: its channels are {listed(names)}, those of {first.name} {listed(order)}. Save them in one order."
            for path, names in found
            if names != order
        ]
        wanted = [channel.lower() for channel in channels or ()]
        if sorted(wanted) == sorted(name.lower() for name in order) and wanted != [name.lower() for name in order]:
            problems.append(f"{first}: its channels are {listed(order)}, in this order. Give -channels {' '.join(order)}.")
        return problems

    def split(self, placed: Placed) -> list[Placed]:
        """The channels that the file of an image holds."""
        number = self.number(placed.item)
        return [Placed(placed.case, channel, placed.item) for channel in range(number)] if number > 1 else [placed]

    def notes(self, folder: Path, items: Sequence[Item]) -> list[Note]:
        """How TIFF files and folders of slices are taken."""
        several = [item.path for item in items if self.number(item) > 1]
        unnamed = [item.path for item in items if item.path in self.headers and self.headers[item.path].unnamed]
        stacks = [item.path for item in items if item.slices]
        rows = (
            (several, "TIFF file", "with several channels in one file, in the order of the file"),
            (unnamed, "TIFF file", "without names of their axes: their pages are taken as slices"),
            (stacks, "folder of slices", "taken as volumes, in the order of their numbers"),
        )
        return [Note(_several(len(paths), what), f"{why}: {shown(folder, paths)}") for paths, what, why in rows if paths]


def _several(number: int, what: str) -> str:
    return count(number, what, "folders of slices" if what == "folder of slices" else "")
