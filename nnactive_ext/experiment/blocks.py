"""The table of blocks: which voxels of which volume a case holds (``nnactive_blocks.json``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from nnactive_ext.files import read_json_if_any
from nnactive_ext.geometry.patch import Triple, triple
from nnactive_ext.images.volumes import Block, volume_name
from nnactive_ext.paths import Name
from nnactive_ext.schemas import Count, Shape, Spacing, Start

BLOCKS_FILE = "nnactive_blocks.json"


class _Entry(TypedDict):
    file: str
    level: Count
    time: Count | None
    start: Start
    size: Shape
    spacing_mm: Spacing | None


@dataclass(frozen=True)
class BlockTable:
    """``blocks``: case -> its block; empty in an experiment that was planned from whole images."""

    blocks: Mapping[str, Block] = field(default_factory=dict)

    def of(self, volume: Path) -> list[Block]:
        """The blocks of a volume, which is known by its name wherever it was moved to."""
        return [block for block in self.blocks.values() if volume_name(block.volume) == volume_name(volume)]

    def to_whole(self, case: str, voxel: Sequence[int]) -> Triple:
        """The voxel of the volume, on the level of the block, that a voxel (z, y, x) of a case is."""
        return triple([a + b for a, b in zip(self.blocks[case].start, voxel, strict=True)])

    def content(self) -> dict[str, Any]:
        """What :data:`BLOCKS_FILE` holds: for each case the file, level, time point, first voxel and size (z, y, x), and the
        spacing in mm of the finest level if the user gave it."""
        return {
            case: {
                "file": block.volume.as_posix(),
                "level": block.level,
                "time": block.time,
                "start": list(block.start),
                "size": list(block.size),
                "spacing_mm": list(block.spacing) if block.spacing else None,
            }
            for case, block in sorted(self.blocks.items())
        }

    @classmethod
    def read(cls, raw: Path) -> BlockTable:
        """Of the experiment whose raw folder this is; empty where there is no table."""
        file = raw / BLOCKS_FILE
        return cls({case: _block(entry) for case, entry in read_json_if_any(file, {}, dict[Name, _Entry]).items()})


def _block(entry: _Entry) -> Block:
    spacing = entry["spacing_mm"] or None
    return Block(Path(entry["file"]), entry["start"], entry["size"], entry["level"], entry["time"], spacing)
