"""Images whose header does not say where they lie: points and label maps of them are placed by voxels, never by mm."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.point_files import Point
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.spaces import stored_space
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.checks import size_text
from nnactive_ext.images.label_files import LabelFile
from nnactive_ext.images.unplaced import centred, has_place
from nnactive_ext.intake.problems import refuse


def is_unplaced(experiment: Experiment, case: str) -> bool:
    """Whether the user's image of a case has no place. Our copy of it has one, so planning writes down which have none."""
    return case in experiment.plan.unplaced or not has_place(experiment.dataset.entries[case].images[0])


def refuse_mm(experiment: Experiment, points: Iterable[Point]) -> None:
    """Points in mm of images without a place are one :class:`NnActiveError`."""
    points = [point for point in points if point.position is not None]
    without = {case for case in {point.case for point in points} if is_unplaced(experiment, case)}
    refuse(
        [
            f"{point.where}: in mm, but the header of the image of {point.case} does not say where it lies, and programs "
            "place it differently."
            for point in points
            if point.case in without
        ],
        "Give the voxel instead (a table with the columns i,j,k, counted from 0 along the first, second and third axis of the "
        "file), or write the right place into the headers of the images and plan again.",
    )


def by_voxels(experiment: Experiment, case: str, file: Path, returned: LabelFile, by_case: bool) -> LabelFile:
    """A label map that was returned for a case, where its voxels are those of an image without a place.

    One of the image's size that has no place either, or that of a program that puts the image's middle at 0 mm (nibabel), is
    the image voxel by voxel. Crops that were exported have the place that ITK gives the image.

    Args:
        experiment: a roll-out.
        case: the case.
        file: the file that was returned.
        returned: what is in it.
        by_case: its name names no task, so it was painted on the image itself.

    Returns:
        ``returned``, with the place that ITK gives the image; as it is for images that have a place.

    Raises:
        NnActiveError: nothing says which voxels of the image its voxels are.
    """
    if not is_unplaced(experiment, case):
        return returned
    space = stored_space(experiment, case)
    if returned.space.shape == space.shape and (not has_place(file) or _same(returned.space, centred(space))):
        return replace(returned, space=space)
    # 3D Slicer reads with ITK, and cuts a segmentation to its segments.
    by_slicer = not returned.whole and np.allclose(returned.space.direction, space.direction, atol=1e-4)
    if by_case and not by_slicer and not _same(returned.space, space):
        raise NnActiveError(
            f"{file}: the header of the image of {case} does not say where it lies, so nothing says which voxels these are. "
            f"Return the crops that were exported, or a label map of all {size_text(space)} voxels (x, y, z) whose header "
            "names no place either (qform_code and sform_code 0)."
        )
    return returned


def _same(one: Space, other: Space) -> bool:
    return one.shape == other.shape and np.allclose(one.affine, other.affine, rtol=1e-4, atol=1e-2 * min(one.spacing))
