"""Label maps that people already have: which file belongs to which case, laid on the lattice of the image's array."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.axes import align
from nnactive_ext.geometry.patch import Patch, shared, triple
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.class_files import ClassFiles, read_labels
from nnactive_ext.images.label_files import LabelFile
from nnactive_ext.images.names import case_name
from nnactive_ext.intake.class_maps import ClassMaps, class_of_pattern, in_class_folder, is_mask
from nnactive_ext.intake.folder import Item, items_in
from nnactive_ext.intake.pattern import Pattern

_LOOKS_LIKE_ONE = re.compile(r"(?:.*[._-])?(?:seg|segmentation|mask|labels?|label-?map)", re.IGNORECASE)


@dataclass(frozen=True)
class LabelFolder:
    """The label maps in ``folder``: ``files`` with the case each names; ``others`` do not fit the pattern, and may be masks of
    one of ``classes``."""

    folder: Path
    pattern: str
    files: Sequence[tuple[str, Item]]
    others: Sequence[Item]
    classes: Sequence[str] = ()

    @classmethod
    def of(cls, folder: Path, text: str, classes: Sequence[str] = ()) -> LabelFolder:
        """Reads names only."""
        pattern = Pattern(text, "-label_pattern", channels=())
        if not folder.is_dir():
            raise NnActiveError(f"{folder}: this folder of label maps (-label_maps) does not exist.")
        files, others = [], []
        for item in items_in(folder):
            # Slicer's own format ends twice.
            fitting = [name for name in (item.name.removesuffix(".seg"), item.name) if pattern.match(name)]
            found = pattern.match(fitting[0]) if fitting and not item.dicom else None
            if found:
                files.append((found[0], item))
            else:
                others.append(item)
        made = cls(folder, pattern.text, files, others, classes)
        if not files and not any(made.is_mask(item) or in_class_folder(item, classes) for item in others):
            raise NnActiveError(
                f'{folder}: no label map whose name is "{pattern.text}" (and .nii.gz, .nii, .nrrd, .seg.nrrd, .mha or .mhd). '
                'Check -label_maps, and say how they are named with -label_pattern (as in "{case}_seg").'
            )
        return made

    def holds_images(self, images: Path) -> bool:
        """Whether the folder of images is this one or lies in it."""
        mine, theirs = self.folder.resolve(), images.resolve()
        return mine == theirs or mine in theirs.parents

    def is_mask(self, item: Item) -> bool:
        """Whether it may be the mask of one class by its name, whatever its case."""
        return is_mask(item, self.classes)

    def taken(self) -> list[Path]:
        """The files that are no images, though they lie among them."""
        return [item.path for _, item in self.files] + [item.path for item in self.others if self.is_mask(item)]

    def by_case(
        self, names: Collection[str], images: Path
    ) -> tuple[dict[str, Path | ClassFiles], list[str], tuple[tuple[str, str], ...]]:
        """The label map of each case that has one, the problems of the others, and what to tell. Cases are found by the name
        people gave them as well as by ours, since ours is made of theirs."""
        found: dict[str, list[Path | ClassFiles]] = defaultdict(list)
        among = self.holds_images(images)
        left = list(self.others)
        of_one = class_of_pattern(self.pattern, self.classes)
        for text, item in self.files:
            name = case_name(text)
            if name in names:
                found[name].append(ClassFiles(((of_one, item.path),)) if of_one else item.path)
            else:
                left.append(item)
        masks = ClassMaps.of(left, names, self.classes, among)
        for name, files in masks.files.items():
            found[name].append(files)
        outside = {item for _, item in self.files}
        lost = [item.path for item in masks.left if item in outside or not among]
        problems = [f"{file}: this label map belongs to no case among the images." for file in sorted(lost)]
        problems += masks.problems
        for name, several in found.items():
            if len(several) > 1:
                problems.append(f"{name}: {len(several)} label maps, {' and '.join(map(str, several))}.")
        told = ((f"masks of {of_one} only", "every other class is background in these label maps"),) if of_one else masks.told
        return {name: several[0] for name, several in found.items()}, problems, told


def looks_like_label_map(item: Item, channels: Sequence[str] | None, pattern: str | None) -> bool:
    """By its name; not if a channel is called so, or the pattern that was given for the images ends so."""
    last = item.parts[-1]
    if item.dicom or not _LOOKS_LIKE_ONE.fullmatch(last):
        return False
    if any(f"_{last}".lower().endswith(f"_{channel}".lower()) for channel in channels or ()):
        return False
    return not (pattern and _LOOKS_LIKE_ONE.fullmatch(pattern))


def on_lattice(file: Path | ClassFiles, names: Mapping[str, int], space: Space) -> np.ndarray:
    """The label map of ``file`` as an array (z, y, x) in ``space``; one that does not cover it all is an error."""
    return laid(file, read_labels(file, names), space)


def laid(file: Path | ClassFiles, returned: LabelFile, space: Space) -> np.ndarray:
    """As :func:`on_lattice`, of a ``file`` that was read."""
    try:
        placed = align(space, returned.space)
    except ValueError as error:
        raise NnActiveError(f"{file}: the geometry is not that of its image: {error}. Resample it to the image.") from None
    labels = placed.turned(returned.labels)
    target, source = shared(Patch("", (0, 0, 0), space.shape), Patch("", placed.start, triple(labels.shape)))
    if returned.whole and labels[source].shape != space.shape:
        raise NnActiveError(f"{file}: covers only a part of its image. Pad it (with ignore where nothing is labelled).")
    full = np.zeros(space.shape, labels.dtype)  # a .seg.nrrd is cut to its segments: beyond, it says background
    full[target] = labels[source]
    return full
