"""Label maps that are kept as one file for each class, as TotalSegmentator and 3D Slicer write them, are combined into one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import sha256
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.label_files import (
    ROUNDING,
    LabelFile,
    is_without_voxels,
    labels_of_image,
    named_segments,
    read_label_file,
)
from nnactive_ext.images.label_images import LabelImage, read_image
from nnactive_ext.images.mask_grid import NOTHING, joined, start_of
from nnactive_ext.images.segment_names import value_of_name, values_in
from nnactive_ext.images.sizes import Grid
from nnactive_ext.words import count, enumerated, listed, plural


@dataclass(frozen=True)
class ClassFiles:
    """``files``: the class that each file's name tells, and the file."""

    files: tuple[tuple[str, Path], ...]

    def __str__(self) -> str:
        return str(self.first if len(self.files) == 1 else self.first.parent)

    @property
    def first(self) -> Path:
        return self.files[0][1]

    @property
    def checksum(self) -> str:
        """The SHA-256 of a text with the name of each class and the SHA-256 of its file."""
        lines = "".join(f"{name}\t{sha256(file)}\n" for name, file in self.files)
        return hashlib.sha256(lines.encode()).hexdigest()

    def read(self, names: Mapping[str, int], places: Sequence[Space] = (), grid: Grid | None = None) -> LabelFile:
        """Combine the files; voxels that are in none of them are background, and what is ``ignore`` and another class, too,
        is ignore. A single file that names its labels is the whole label map.

        Args:
            names: label -> value of the dataset, with background (0) and ignore.
            places: where files that say nothing of their place (TIFF, .npy) may lie.
            grid: the lattice that each of them must have, cut or extended.

        Returns:
            The labels (z, y, x) in the dataset's values, and their space; it tells which classes have no file.

        Raises:
            NnActiveError: a file cannot be read or is no mask of its class, a class is unknown or has two files, the files lie
                on differing grids, or two of them claim a voxel.
        """
        if len(self.files) == 1 and carries_names(self.first, names, grid):
            return read_label_file(self.first, names, places, grid=grid)  # of all classes, and its name happens to hold one
        files = self._by_value(names)
        made: LabelFile | None = None
        for value, file in files.items():  # ignore is first
            image = read_image(file, places, grid)
            if is_without_voxels(file, image):
                continue
            mask = _mask(file, image, value, names)
            made, array = joined(self.first, made or start_of(mask), file, mask)
            inside = array & (made.labels != names.get("ignore"))
            _check_that_one_claims(file, made.labels[inside], files)
            made.labels[inside] = value
        if made is None:  # no file has a voxel; reading one says so
            return read_label_file(self.first, names, places, grid=grid)
        made.labels[made.labels == NOTHING] = 0
        missing = [name for name, value in names.items() if value not in (0, names.get("ignore"), *files)]
        told = (f"no file for {enumerated([repr(name) for name in missing])}, taken as background",) if missing else ()
        dtype = np.uint8 if max(names.values()) < 256 else np.uint16
        return replace(made, labels=made.labels.astype(dtype), by_name=True, told=told)

    def _by_value(self, names: Mapping[str, int]) -> dict[int, Path]:
        found: dict[int, Path] = {}
        for name, file in self.files:
            value = value_of_name(name, names)
            if value is None:
                raise NnActiveError(
                    f"{file}: {name!r} is no class of the dataset. It knows {listed(list(map(repr, names)), 20)}."
                )
            if value in found:
                raise NnActiveError(f"{file}: {found[value].name} is of the same class, {name!r}. Move one of them elsewhere.")
            found[value] = file
        return dict(sorted(found.items(), key=lambda item: item[0] != names.get("ignore")))


def read_labels(source: Path | ClassFiles, names: Mapping[str, int]) -> LabelFile:
    """Read a label map that is one file, or one file for each class; see :func:`~.read_label_file` and ClassFiles.read."""
    return source.read(names) if isinstance(source, ClassFiles) else read_label_file(source, names)


def carries_names(file: Path, names: Mapping[str, int], grid: Grid | None = None) -> bool:
    """Whether the header of a label map names its labels, so that the file's name is not needed; False if it is unreadable.
    ``grid``: the lattice that it must have."""
    try:
        return named_segments(file, read_image(file, grid=grid), names)[0] is not None
    except NnActiveError:
        return False


def _mask(file: Path, image: LabelImage, value: int, names: Mapping[str, int]) -> LabelFile:
    """The voxels of the class with ``value``, as bool."""
    name = next(name for name, known in names.items() if known == value)
    if named_segments(file, image, names)[0] is not None:
        read = labels_of_image(file, image, names)
        held = [other for other, known in names.items() if known not in (0, value) and (read.labels == known).any()]
        if held:
            raise NnActiveError(
                f"{file}: holds {listed(held)}, though its name says {name!r} and other classes have files of their own. Save "
                "one class in each file, or all of them in one."
            )
        return replace(read, labels=read.labels == value)
    return LabelFile(_one_value(file, image, name, names), image.space, by_name=True, whole=True)


def _one_value(file: Path, image: LabelImage, name: str, names: Mapping[str, int]) -> np.ndarray:
    if len(image.layers) != 1:
        raise NnActiveError(f"{file}: {len(image.layers)} numbers per voxel (colours or vectors). Save one mask.")
    held = {value: n for value, n in values_in(image.layers[0]).items() if abs(value) > ROUNDING}
    found = {round(value): value for value in held if abs(value - round(value)) <= ROUNDING}
    others = [number for number in found if number in names.values() and number not in (1, names[name])]
    if len({round(value) for value in held}) > 1 or len(found) < len({round(value) for value in held}) or others:
        shown = ", ".join(f"{value:g} ({count(n, 'voxel')})" for value, n in sorted(held.items())[:5])
        raise NnActiveError(
            f"{file}: its name says that it is a mask of {name!r}, but it has {shown}. Save 0 and 1 only; or, if it has all "
            "classes, take the class out of its name."
        )
    return np.abs(image.layers[0]) > ROUNDING


def _check_that_one_claims(file: Path, before: np.ndarray, files: Mapping[int, Path]) -> None:
    claimed = before[before >= 0]
    if claimed.size:
        other = files[int(claimed[0])]
        both = int((claimed == claimed[0]).sum())
        raise NnActiveError(
            f"{file}: {count(both, 'voxel')} {plural(both, 'is', 'are')} in {other.name}, too; each can be of only one class. "
            f"Take {plural(both, 'it', 'them')} out of one of the files, and save again."
        )
