"""Finds the large volumes that ``-i`` names, and the blocks in them that become cases."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.patch import Triple
from nnactive_ext.geometry.space import Vector
from nnactive_ext.images.lengths import mm_per
from nnactive_ext.images.names import case_name, check_name
from nnactive_ext.images.volumes import Block, Volume, is_volume, open_volume, volume_name
from nnactive_ext.intake.blocks import LEAST_CONTRAST, Places, drawn, places, shared_out
from nnactive_ext.intake.find import Found, FoundCase, Source
from nnactive_ext.intake.passed_over import Note
from nnactive_ext.intake.problems import refuse
from nnactive_ext.words import count, listed

SIZE = ("256",)
"""Of a block, in voxels along each axis."""


@dataclass(frozen=True)
class Asked:
    """How many blocks are to be drawn from the volumes of a path, of which size as typed, on which level, and so on."""

    number: int
    size: Sequence[str] = SIZE
    level: int = 0
    time: int | None = None
    spacing: Vector | None = None
    seed: int = 0
    channels: Sequence[str] | None = None


def find_blocks(path: Path, asked: Asked, taken: Sequence[Block] = ()) -> Found:
    """Draw blocks from a volume, or from all volumes of a folder, as cases.

    Args:
        path: an OME-Zarr or TIFF file, or a folder of several.
        asked: what the user wants.
        taken: blocks that exist, of which none is overlapped.

    Returns:
        The cases, one for each block, with one source per channel; and what there is to tell.

    Raises:
        NnActiveError: there is no volume, one cannot be read, they differ in channels, or there are too few places.
    """
    if asked.number < 1:
        raise NnActiveError(f"-blocks {asked.number}: give a number of blocks, 1 or more.")
    volumes = [_opened(file, asked, taken) for file in volume_files(path)]
    _check_channels(volumes, asked.channels)
    named: dict[Path, list[Block]] = {
        v.path: [b for b in taken if volume_name(b.volume) == volume_name(v.path)] for v in volumes
    }
    seen = [_free(v, asked, named[v.path]) for v in volumes]
    room = {place.volume.path: len(place.full) for place in seen}
    if (total := sum(room.values())) < asked.number:
        raise NnActiveError(
            f"-blocks {asked.number}: {path} has room for {count(total, 'block')} {_of(seen[0].size)}{_why_few(seen, taken)}."
        )
    numbers = shared_out(asked.number, room, {place.volume.path: place.expected for place in seen})
    cases: dict[str, FoundCase] = {}
    for place in seen:
        for block in drawn(place, numbers[place.volume.path], asked.seed):
            name = block_name(block, place.volume.level.shape)
            sources = tuple(Source(block.volume, channel=c, block=block) for c in range(len(place.volume.channels)))
            cases[name] = FoundCase(name, sources)
    return Found(dict(sorted(cases.items())), tuple(_notes(seen, numbers, asked, bool(taken))))


def volume_files(path: Path) -> list[Path]:
    """The volume that a path is, or those in a folder, by name; hidden ones are left out."""
    path = Path(os.path.abspath(path))
    if is_volume(path):
        return [path]
    if not path.exists():
        raise NnActiveError(f"{path}: no such file or folder (-i).")
    if not path.is_dir():
        raise NnActiveError(f"{path}: no volume that is read in blocks: OME-Zarr (a folder or a .zip) or TIFF are.")
    found = [entry for entry in sorted(path.iterdir()) if not entry.name.startswith(".") and is_volume(entry)]
    if not found:
        raise NnActiveError(f"{path}: no OME-Zarr and no TIFF in this folder. Blocks (-blocks) are drawn from these only.")
    by_name = defaultdict(list)
    for entry in found:
        check_name(entry)
        by_name[case_name(volume_name(entry)).lower()].append(entry.name)
    refuse(
        [
            f"{path}: {listed(names)} would have blocks of the same name. Rename one."
            for names in by_name.values()
            if len(names) > 1
        ]
    )
    return found


def channels_of(path: Path, asked: Asked) -> list[str] | None:
    """The names of the channels that the volumes state, if all state the same ones."""
    named = {_opened(file, asked, ()).channels for file in volume_files(path)}
    names = next(iter(named))
    return list(names) if len(named) == 1 and all(names) else None


def block_name(block: Block, shape: Sequence[int]) -> str:
    """The name of a block's case: its volume and its first voxel.

    >>> block_name(Block(Path("my brain.ome.zarr"), (0, 256, 1024), (256, 256, 256)), (512, 512, 2048))
    'my_brain_z000y256x1024'
    """
    place = "".join(f"{axis}{a:0{len(str(n - 1))}d}" for axis, a, n in zip("zyx", block.start, shape, strict=True))
    return f"{case_name(volume_name(block.volume))}_{place}"


def typed_size(words: Sequence[str], volume: Volume) -> Triple:
    """Voxels (z, y, x) of a block as somebody typed it: one number or three, in voxels or with a unit (nm, um, mm)."""
    text = f"-block_size {' '.join(words)}"
    sizes = []
    if len(words) in (1, 3):
        for word, mm in zip([*words] * (3 // len(words)), volume.level.spacing, strict=True):
            number = word.rstrip("abcdefghijklmnopqrstuvwxyzµμ")
            unit = word[len(number) :]
            per = mm_per(unit) if unit else mm
            try:
                sizes.append(round(float(number) * per / mm) if per else 0)
            except (ValueError, OverflowError):
                sizes.append(0)
    if not sizes or min(sizes) < 2:
        raise NnActiveError(
            f"{text}: give one size or three along z y x, in voxels (256) or with a unit (200um), 2 voxels or more."
        )
    z, y, x = sizes
    return z, y, x


def _opened(file: Path, asked: Asked, taken: Sequence[Block]) -> Volume:
    before = next((block for block in taken if volume_name(block.volume) == volume_name(file)), None)
    if before is not None and before.level != asked.level:
        raise NnActiveError(
            f"{file}: its blocks were drawn on level {before.level}, so more cannot be drawn on level {asked.level}."
        )
    return open_volume(file, asked.level, asked.time, asked.spacing)


def _check_channels(volumes: Sequence[Volume], channels: Sequence[str] | None) -> None:
    numbers = {len(volume.channels) for volume in volumes}
    if len(numbers) > 1:
        each = listed([f"{volume.path.name}: {len(volume.channels)}" for volume in volumes])
        raise NnActiveError(f"The volumes differ in the number of their channels ({each}). Plan an experiment for each kind.")
    names = {volume.channels for volume in volumes if all(volume.channels)}
    if len(names) > 1:
        each = "; ".join(", ".join(one) for one in sorted(names))
        raise NnActiveError(f"The channels of the volumes have different names or orders ({each}). Name them alike.")
    if channels is not None and len(channels) != (n := next(iter(numbers))):
        raise NnActiveError(
            f"-channels {' '.join(channels)}: {volumes[0].path} has {count(n, 'channel')}. Name each, in the order of the file."
        )


def _free(volume: Volume, asked: Asked, taken: Sequence[Block]) -> Places:
    size = typed_size(asked.size, volume)
    return places(volume, size, asked.seed, asked.number + len(taken)).without(taken)


def _of(size: Triple) -> str:
    return f"of {' x '.join(map(str, size))} voxels"


def _why_few(seen: Sequence[Places], taken: Sequence[Block]) -> str:
    empty = sum(place.empty for place in seen)
    why = [f"{empty} places are empty" if empty else "", f"{len(taken)} blocks exist" if taken else ""]
    said = f" ({', '.join(filter(None, why))})" if any(why) else ""
    return f"{said}. Draw fewer or smaller blocks (-block_size)"


def _notes(seen: Sequence[Places], numbers: dict[Path, int], asked: Asked, later: bool) -> list[Note]:
    notes = []
    for place in seen:
        volume, number = place.volume, numbers[place.volume.path]
        gigabytes = number * math.prod(place.size) * len(volume.channels) * volume.dtype.itemsize / 1e9
        looked = f"{place.seen:,}" if place.seen == place.all else f"{place.seen:,} of {place.all:,}"
        why = (
            f"of {volume.path.name}, level {volume.level}; up to {gigabytes:.3g} GB are written into the experiment, and about "
            f"{gigabytes * 4 / volume.dtype.itemsize:.3g} GB when they are preprocessed; one from each of {number} strata of "
            f"intensity, from {looked} places, of which {place.empty:,} with less than {LEAST_CONTRAST:.0%} of the contrast of "
            "the richest are left out as empty"
        )
        if not later:
            notes.append(Note(f"{count(number, 'block')} {_of(place.size)}", why))
        if len(volume.levels) > 1 and not later:
            rest = [str(level) for level in volume.levels if level.number != volume.level.number]
            notes.append(Note("other levels", f"of {volume.path.name}: {'; '.join(rest)}; -level chooses"))
        missing, of = volume.missing_chunks()
        if missing:
            why = f"in {volume.path.name}; zarr reads them as the fill value, as of parts that were never acquired"
            notes.append(Note(f"{missing:,} of {of:,} chunks missing", why))
        if any(place.size[axis] < size for axis, size in enumerate(typed_size(asked.size, volume))):
            notes.append(
                Note("thin volume", f"{volume.path.name} is thinner than -block_size; its blocks have all of that axis")
            )
    return notes
