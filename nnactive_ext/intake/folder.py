"""What lies in a folder: images, folders of DICOM files and of slices, and all else; only names and headers are read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nnactive_ext.errors import NnActiveError
from nnactive_ext.images.dicom_files import is_dicom
from nnactive_ext.images.slices import LEAST_SLICES, is_slice, numbered_stacks
from nnactive_ext.images.tiff import TIFF
from nnactive_ext.intake.passed_over import PICTURES
from nnactive_ext.paths import is_special

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr", *TIFF)
_DETACHED = (".raw", ".raw.gz", ".zraw", ".img", ".img.gz", ".bin", ".dat", ".gz", ".bz2")
"""Files with the voxels of a header beside them."""
_HEADERS = (".nhdr", ".mhd", ".hdr")
_DICOM_ENDINGS = (".dcm", ".dicom", ".ima")
_ARRAY_FOLDERS = (".zarr", ".n5")
_DERIVED = ("derivatives", "sourcedata", "code", "stimuli")
_DEEPEST = 8
"""Folders below folders that are looked into; hospitals' exports have patient/study/series."""


@dataclass(frozen=True)
class Item:
    """An image: its path below the folder without the ending, "/" between folders, and whether it is a folder of DICOM
    files, or one of ``slices`` in order; ``name`` is "" for DICOM files and slices that lie in the folder itself."""

    name: str
    path: Path
    dicom: bool = False
    slices: tuple[Path, ...] = ()
    series: tuple[Path, ...] = ()
    """Of a folder of DICOM files: those of the one series that is the image, once it is known."""

    @property
    def parts(self) -> list[str]:
        return self.name.split("/")


@dataclass
class Contents:
    """What lies below a folder: ``items``, its images, by name; ``others``, files and folders that belong to no image;
    ``pictures``, folders of numbered pictures that are no slices; ``deep``, folders that are too deep to be looked into;
    ``derived``, folders of a BIDS dataset that hold no raw data."""

    items: list[Item] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    pictures: list[tuple[Path, ...]] = field(default_factory=list)
    deep: list[Path] = field(default_factory=list)
    derived: list[Path] = field(default_factory=list)


def without_ending(name: str) -> str | None:
    """A file's name without the ending of an image; None if it is none. ``.seg.nrrd`` loses only ``.nrrd``."""
    return next((name[: -len(ending)] for ending in _LONGEST if name.lower().endswith(ending)), None)


_LONGEST = sorted(ENDINGS, key=len, reverse=True)


def items_in(folder: Path, without: Path | None = None) -> list[Item]:
    """The images below ``folder`` but not below ``without``, by name. Links are followed, loops of them are not."""
    return contents(folder, without).items


def contents(folder: Path, without: Path | None = None, raw: bool = False) -> Contents:
    """All that lies below ``folder`` but not below ``without``; hidden files are left out. ``raw``: without the folders of a
    BIDS dataset that hold no raw data."""
    found = Contents()
    if raw and (folder / "dataset_description.json").is_file():
        found.derived += [path for name in _DERIVED if (path := folder / name).is_dir()]
    for inner, files in _walk(folder, "", (), os.path.realpath(without) if without else None, found):
        _sort(folder / inner if inner else folder, inner, files, found)
    found.items.sort(key=lambda item: (item.name, item.path))
    return found


def _sort(here: Path, inner: str, files: Sequence[str], found: Contents) -> None:
    """Add what the files of one folder are to ``found``."""
    stems = {file: stem for file in files if (stem := without_ending(file)) and _is_whole(file, files)}
    others = [file for file in files if file not in stems]
    dicom = any(is_dicom(here / file) for file in others)
    if not dicom:
        slices = _stacks(here, files, stems)
        found.items += [Item(inner, here, slices=stack) for stack in slices]
        used = {file.name for stack in slices for file in stack}
        stems = {file: stem for file, stem in stems.items() if file not in used}
        others = [file for file in others if file not in used]
        pictures = numbered_stacks(here / file for file in others if file.lower().endswith(PICTURES)) if not stems else []
        found.pictures += pictures
        numbered = {file.name for stack in pictures for file in stack}
        others = [file for file in others if file not in numbered]
    found.items += [Item(f"{inner}/{stem}" if inner else stem, here / file) for file, stem in stems.items()]
    found.items += [Item(inner, here, dicom=True)] if dicom else []
    headers = [here / file for file in stems if file.lower().endswith(_HEADERS)]
    detached = [file for file in others if file.lower().endswith(_DETACHED) and headers and _named_by(headers, file)]
    found.others += [here / file for file in others if file not in detached and not (dicom and _may_be_dicom(file))]


def _is_whole(file: str, files: Sequence[str]) -> bool:
    """Whether a .hdr file has its .img file beside it."""
    stem = file[:-4].lower()
    return not file.lower().endswith(".hdr") or f"{stem}.img" in {name.lower() for name in files}


def _named_by(headers: Sequence[Path], file: str) -> bool:
    """Whether one of ``headers`` is about the voxels in ``file``: by its name, or by what it says."""
    for header in headers:
        if file.lower().split(".")[0] == header.name.lower().split(".")[0]:
            return True
        with open(header, "rb") as stream:
            text = stream.read(1 << 16).decode("latin-1")
        if header.suffix.lower() != ".hdr" and (file in text or "%" in text or "LIST" in text):
            return True
    return False


def _stacks(here: Path, files: Sequence[str], stems: dict[str, str]) -> list[tuple[Path, ...]]:
    """The folder's numbered slices; pictures beside images of other kinds are none."""
    flat = [file for file in files if file.lower().endswith((*TIFF, ".png"))]
    if len(flat) < LEAST_SLICES or any(file not in flat for file in stems):
        return []
    # The first speaks for all: one that is a volume is named when it is read.
    return [stack for stack in numbered_stacks(here / file for file in flat) if is_slice(stack[0])]


def _may_be_dicom(file: str) -> bool:
    """Whether a file in a folder of DICOM files is their reader's to judge."""
    return "." not in file or file.lower().endswith(_DICOM_ENDINGS) or file.rpartition(".")[2].isdecimal()


def _walk(
    folder: Path, inner: str, above: tuple[str, ...], without: str | None, found: Contents
) -> Iterator[tuple[str, list[str]]]:
    real = os.path.realpath(folder)
    if real in above or real == without:
        return
    if len(above) > _DEEPEST:
        found.deep.append(folder)
        return
    try:
        # Hidden files and folders are the systems' (".DS_Store", "._a.nii.gz") and half-written ones.
        names = sorted(name for name in os.listdir(folder) if not name.startswith((".", "__MACOSX")))
    except PermissionError:
        raise NnActiveError(f"{folder}: no permission to look into this folder.") from None
    folders = [name for name in names if os.path.isdir(folder / name)]
    special = [name for name in names if is_special(folder / name)]
    found.others += [folder / name for name in special]
    yield inner, [name for name in names if name not in {*folders, *special}]
    for name in folders:
        if folder / name in found.derived:
            continue
        if name.lower().endswith(_ARRAY_FOLDERS):
            found.others.append(folder / name)
        else:
            yield from _walk(folder / name, f"{inner}/{name}" if inner else name, (*above, real), without, found)
