"""One piece of work of all steps of planning: one bar with an estimate, the same processes, each image decompressed once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nnactive_ext.files import Unpacked
from nnactive_ext.nnunet.dataset import nnunet_folder
from nnactive_ext.parallel import in_one_go

_EACH = {
    "Checking cases": 0.9,
    "Reading reference labels": 0.15,
    "Writing partial labels": 0.3,
    "Extracting dataset fingerprint": 0.4,
    "Preprocessing cases": 2.0,
}
"""Step -> processor seconds for a CT of 256^3 voxels (docs/benchmarks/planning.md)."""
_ONCE = {"Reading checksums of label maps": 0.1, "Planning the network with nnU-Net": 3.0}
COPYING = "Copying images"
_OF_A_FOLDER = {"Reading images": 0.9, COPYING: 0.3, "Writing partial labels": 0.1}
_TIMING = {"Timing a few iterations of the training": 10.0}
_PACKED, _ROOM = 3, 0.25
"""A compressed image grows at least so many times, as far as is planned for; copies may take this share of the free space."""


def shares(cases: int, pool: int) -> dict[str, float]:
    """The steps of planning a simulation and their shares of its time.

    Args:
        cases: in pool and test set.
        pool: cases of the pool.
    """
    return {step: each * (cases if step == "Checking cases" else pool) for step, each in _EACH.items()} | _ONCE


def shares_of_folder(cases: int) -> dict[str, float]:
    """The steps of planning a roll-out of so many cases and their shares of its time."""
    return {step: each * cases for step, each in _OF_A_FOLDER.items()} | _TIMING


@contextmanager
def at_once(number: int, files: Sequence[Path], cases: int, pool: int, progress: bool) -> Iterator[Unpacked]:
    """Plan a simulation in the block.

    Args:
        number: of the new dataset; the caller holds its lock.
        files: the images.
        cases: as in :func:`shares`.
        pool: as in :func:`shares`.
        progress: show the bar.

    Returns:
        Where decompressed copies of the images are kept until the block ends; nowhere if the disk is nearly full.
    """
    folder = copies_folder(number)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        room = shutil.disk_usage(folder).free * _ROOM
        enough = sum(map(_unpacked_size, files)) <= room
        with in_one_go(shares(cases, pool), progress):
            yield Unpacked(folder if enough else None)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def copies_folder(number: int) -> Path:
    """Where planning keeps copies of the images of a new dataset; nnU-Net takes it for none."""
    return nnunet_folder("nnUNet_preprocessed") / f".nnactive_images_of_{number}"


def _unpacked_size(file: Path) -> int:
    """Bytes of a copy of an image, as a gzip file says at its end (modulo 2^32)."""
    size = _PACKED * file.stat().st_size
    if file.suffix != ".gz" or size < 3 * 18:
        return size
    with open(file, "rb") as packed:
        packed.seek(-4, os.SEEK_END)
        return max(size, int.from_bytes(packed.read(4), "little"))
