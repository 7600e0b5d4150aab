"""Label maps that were there before the first task: dense or partial, used as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy import ndimage

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.label_changes import mapped
from nnactive_ext.files import read_json_if_any, write_json
from nnactive_ext.geometry.patch import Patch, triple
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.nifti import what_itk_hides
from nnactive_ext.images.writing import write_image
from nnactive_ext.labelling.answers import CountingAnswers
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.schemas import Shape, Start

GIVEN_PATCHES = "annotation/given/boxes.json"
"""In the experiment's raw folder: per case the patches of what its given label map annotates."""
_FILLED = 0.5
"""A region that fills at least this share of its bounding box is not asked for again."""


def _folder(experiment: Experiment) -> Path:
    return experiment.annotation / "given"


def keep_given(experiment: Experiment, case: str, labels: np.ndarray, space: Space) -> None:
    """Keep the label map (z, y, x) of a case, on the lattice of its array."""
    file = _folder(experiment) / f"{case}.nii.gz"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_image(file, space.image(labels))


def given_labels(experiment: Experiment, case: str, counted: CountingAnswers | None = None) -> np.ndarray | None:
    """The label map (z, y, x) of a case that was there from the start, in the values of today; None if there was none.

    ``counted`` is the ledger, for whoever has read it already.
    """
    import SimpleITK as sitk

    file = _folder(experiment) / f"{case}.nii.gz"
    if not file.is_file():
        return None
    problem = what_itk_hides(file)
    try:
        labels = None if problem else sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
    except RuntimeError:
        labels, problem = None, f"{file}: damaged"
    if labels is None:
        raise NnActiveError(f"{problem.rstrip('.')}. Restore it, or copy the label map of {case} there anew.")
    counted = counted or CountingAnswers.of(Ledger(experiment.annotation))
    return mapped(labels, counted.since(counted.given.get(case, -1)))


def given_cases(experiment: Experiment) -> list[str]:
    """Cases of the pool with a label map from the start."""
    return [case for case in experiment.plan.pool if (_folder(experiment) / f"{case}.nii.gz").is_file()]


def given_patches_content(patches: Mapping[str, list[Patch]]) -> dict[str, list[list[list[int]]]]:
    """What :data:`GIVEN_PATCHES` holds."""
    return {case: [[list(p.start), list(p.size)] for p in found] for case, found in sorted(patches.items())}


def write_given_patches(experiment: Experiment, patches: Mapping[str, list[Patch]]) -> None:
    write_json(experiment.raw / GIVEN_PATCHES, given_patches_content(patches))


def given_patches(experiment: Experiment) -> list[Patch]:
    """Patches of what the given label maps annotate, in cases of the pool."""
    file = experiment.raw / GIVEN_PATCHES
    boxes = read_json_if_any(file, {}, dict[str, list[tuple[Start, Shape]]]).items()
    return [Patch(case, start, size) for case, found in boxes if case in experiment.plan.pool for start, size in found]


def boxes_of(case: str, labels: np.ndarray, ignore: int) -> list[Patch]:
    """The bounding boxes of the connected annotated regions of a label map, but for those that hardly fill them."""
    regions, _ = ndimage.label(labels != ignore)
    found = []
    for number, box in enumerate(ndimage.find_objects(regions), start=1):
        if (regions[box] == number).mean() >= _FILLED:
            found.append(Patch(case, triple([s.start for s in box]), triple([s.stop - s.start for s in box])))
    return found
