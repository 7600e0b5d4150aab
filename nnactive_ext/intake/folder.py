"""What lies in a folder: image files and folders of DICOM files, however deep; nothing is read but the first bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nnactive_ext.images.dicom_files import is_dicom

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
UNREAD = (".nhdr", ".hdr", ".mgz", ".mgh", ".gipl", ".gipl.gz", ".tif", ".tiff", ".npy", ".mnc")
"""Other people's images; to pass over them would lose cases without a word."""
_DEEPEST = 8
"""Folders below folders that are looked into; hospitals' exports have patient/study/series."""


@dataclass(frozen=True)
class Item:
    """An image: its path below the folder without the ending, "/" between folders, and whether it is a folder of DICOM
    files; ``name`` is "" for the DICOM files that lie in the folder itself."""

    name: str
    path: Path
    dicom: bool = False
    series: tuple[Path, ...] = ()
    """Of a folder of DICOM files: those of the one series that is the image, once it is known."""

    @property
    def parts(self) -> list[str]:
        return self.name.split("/")


def without_ending(name: str) -> str | None:
    """A file's name without the ending of an image; None if it is none. ``.seg.nrrd`` loses only ``.nrrd``."""
    return next((name[: -len(ending)] for ending in ENDINGS if name.lower().endswith(ending)), None)


def items_in(folder: Path, without: Path | None = None) -> list[Item]:
    """The images below ``folder`` but not below ``without``, by name. Links are followed, loops of them are not."""
    items = []
    for inner, files in _walk(folder, "", (), os.path.realpath(without) if without else None):
        here = folder / inner if inner else folder
        stems = {file: without_ending(file) for file in files}
        items += [Item(f"{inner}/{stem}" if inner else stem, here / file) for file, stem in stems.items() if stem]
        if any(is_dicom(here / file) for file, stem in stems.items() if stem is None):
            items.append(Item(inner, here, dicom=True))
    return sorted(items, key=lambda item: (item.name, item.path))


def unread_in(folder: Path, without: Path | None = None) -> list[Path]:
    """Images in formats that are not taken."""
    walk = _walk(folder, "", (), os.path.realpath(without) if without else None)
    return [folder / inner / file for inner, files in walk for file in files if file.lower().endswith(UNREAD)]


def _walk(folder: Path, inner: str, above: tuple[str, ...], without: str | None) -> Iterator[tuple[str, list[str]]]:
    real = os.path.realpath(folder)
    if real in above or real == without or len(above) > _DEEPEST:
        return
    # Hidden files and folders are the systems' (".DS_Store", "._a.nii.gz") and half-written ones.
    names = sorted(name for name in os.listdir(folder) if not name.startswith((".", "__MACOSX")))
    folders = [name for name in names if os.path.isdir(folder / name)]
    yield inner, [name for name in names if name not in set(folders)]
    for name in folders:
        yield from _walk(folder / name, f"{inner}/{name}" if inner else name, (*above, real), without)
