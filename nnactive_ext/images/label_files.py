"""Reads a label map as an annotator returns it: by the names it carries, else by its values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.label_images import ENDINGS, LabelImage, read_image
from nnactive_ext.images.label_tables import WITHOUT, extensions_of, table_segments
from nnactive_ext.images.mitk_stacks import stack_segments
from nnactive_ext.images.segment_lists import mitk_segments, slicer_segments
from nnactive_ext.images.segment_names import RENAME, Segment, by_name_and_told
from nnactive_ext.images.sizes import Grid
from nnactive_ext.images.slicer_tables import exported_segments
from nnactive_ext.images.unknown_names import check_names_in_extensions, check_names_in_header
from nnactive_ext.refusals import refuses
from nnactive_ext.words import plural

__all__ = ["ENDINGS", "LabelFile", "read_label_file"]

ROUNDING = 1e-3
"""How far from a whole number a value may be that was kept as a float."""


@dataclass(frozen=True)
class LabelFile:
    """``labels`` (z, y, x) in the file's own order of axes, uint8 or uint16, the dataset's values; ``space`` is theirs.

    ``by_name``: the values were found through names in the file; else they were taken as they are. ``whole``: beyond the
    array nothing is said; if False, as for 3D Slicer's segmentations, which are cut to their segments, it is background.
    ``told``: what people should know of how names were read.
    """

    labels: np.ndarray
    space: Space
    by_name: bool
    whole: bool
    told: tuple[str, ...] = ()


@refuses
def read_label_file(
    file: Path, names: Mapping[str, int], places: Sequence[Space] = (), beside: bool = True, grid: Grid | None = None
) -> LabelFile:
    """Read a label map as a viewer saved it; the file is not changed.

    Args:
        file: NIfTI, NRRD, ``.seg.nrrd`` or MetaImage.
        names: label -> value of the dataset, with background (0) and ignore.
        places: where a file that says nothing of its place (TIFF, .npy) may lie.
        beside: whether 3D Slicer's colour tables beside the file name its labels.
        grid: the lattice that it must have, cut or extended; compared with its header before a voxel is read.

    Returns:
        The labels (z, y, x) in the dataset's values, and their space.

    Raises:
        NnActiveError: the file cannot be read, or its labels are not the dataset's.
    """
    file = Path(file)
    return labels_of_image(file, read_image(file, places, grid), names, beside)


def labels_of_image(file: Path, image: LabelImage, names: Mapping[str, int], beside: bool = True) -> LabelFile:
    """As :func:`read_label_file`, of an ``image`` that was read from ``file``."""
    dtype = np.uint8 if max(names.values()) < 256 else np.uint16
    segments, remedy = named_segments(file, image, names, beside)
    whole = not is_slicers(file, image)
    told: tuple[str, ...] = ()
    if segments is None:
        labels = _by_value(file, image, names)
    else:
        labels, told = by_name_and_told(file, image.layers, segments, names, remedy)
    return LabelFile(labels.astype(dtype), image.space, by_name=segments is not None, whole=whole, told=told)


def named_segments(
    file: Path, image: LabelImage, names: Mapping[str, int], beside: bool = True
) -> tuple[list[Segment] | None, str]:
    """The segments that a file names, and what to do about unknown names; None if it names none, so that its values count.
    ``beside``: whether 3D Slicer's colour tables beside it are asked.

    Raises:
        NnActiveError: it names labels in a way that is not known here.
    """
    if (segments := slicer_segments(file, image.header)) is not None:
        _check_that_slicer_saved_voxels(file, image)
        return segments, RENAME
    if (segments := mitk_segments(file, image.header)) is not None:
        return segments, RENAME
    if (segments := stack_segments(file)) is not None:
        return segments, RENAME
    if beside and (segments := exported_segments(file, image.layers)) is not None:
        return segments, RENAME
    extensions = extensions_of(file)
    if (segments := table_segments(file, extensions)) is not None:
        return segments, WITHOUT
    check_names_in_header(file, image.header, names)
    check_names_in_extensions(file, extensions, names)
    return None, ""


def is_slicers(file: Path, image: LabelImage) -> bool:
    """Whether 3D Slicer wrote it as a segmentation."""
    return slicer_segments(file, image.header) is not None


def is_without_voxels(file: Path, image: LabelImage) -> bool:
    """Whether it is a segmentation by 3D Slicer without voxels, saved as a single one whose place means nothing."""
    return image.layers.size == len(image.layers) and not image.layers.any() and is_slicers(file, image)


def _check_that_slicer_saved_voxels(file: Path, image: LabelImage) -> None:
    header = image.header
    # Slicer 5.2 renamed the key.
    source = header.get("Segmentation_SourceRepresentation", header.get("Segmentation_MasterRepresentation", "")).strip()
    contained = header.get("Segmentation_ContainedRepresentationNames", "").lower()
    is_labelmap = source.lower() in ("", "binary labelmap")
    if not is_labelmap and ("fractional" in source.lower() or "binary labelmap" not in contained):
        raise NnActiveError(
            f"{file}: holds no label map but a {source!r}. In 3D Slicer: Segmentations module, Representations, create the "
            "Binary labelmap and make it the source (primary), then save again."
        )
    if is_without_voxels(file, image):
        raise NnActiveError(
            f"{file}: no segment has a voxel. If the whole patch is background, paint a segment named 'background'; else "
            "annotate, and save again."
        )


def _by_value(file: Path, image: LabelImage, names: Mapping[str, int]) -> np.ndarray:
    if len(image.layers) != 1:
        raise NnActiveError(
            f"{file}: {len(image.layers)} numbers per voxel (colours or vectors) and no names of segments. Save one label map."
        )
    array = image.layers[0]
    name_of = {value: name for name, value in sorted(names.items(), key=lambda item: item[1])}
    labels = np.zeros(array.shape, np.uint16)
    unknown: dict[float, int] = {}
    for plane, target in zip(array, labels, strict=True):
        values, place, counts = np.unique(plane, return_inverse=True, return_counts=True)
        whole = [round(value) if abs(value - round(value)) <= ROUNDING else None for value in values.tolist()]
        for value, number, count in zip(values.tolist(), whole, counts.tolist(), strict=True):
            if number not in name_of:
                unknown[value] = unknown.get(value, 0) + count
        if not unknown:
            target[...] = np.array(whole, np.uint16)[place].reshape(plane.shape)
    if unknown:
        shown = [f"{value:g} ({count} {plural(count, 'voxel')})" for value, count in sorted(unknown.items())]
        more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
        known = ", ".join(f"{value} {name!r}" for value, name in name_of.items())
        raise NnActiveError(
            f"{file}: values that are no label of the dataset: {', '.join(shown[:5])}{more}. It knows {known}. "
            "Give these voxels one of these values in the viewer, and save again."
        )
    return labels
