"""The image of a case and where its voxels lie in the patient, whichever of nnU-Net's readers the experiment has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.geometry.patch import triple
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.headers import PLAIN, REORIENTING, header_space


def image_and_space(experiment: Experiment, case: str) -> tuple[np.ndarray, Space]:
    """The voxels (channel, z, y, x) and the space of their grid; an image that cannot be read is an NnActiveError."""
    image, properties = experiment.dataset.image(case)
    return image, space_from(properties, image.shape[1:])


def space_and_properties(experiment: Experiment, case: str) -> tuple[Space, dict[str, Any]]:
    """The space of a case's array as nnU-Net's reader gives it, and the properties its writer wants; no voxel is read."""
    file = experiment.dataset.entries[case].images[0]
    return header_space(file, experiment.dataset.json["overwrite_image_reader_writer"])


def stored_space(experiment: Experiment, case: str) -> Space:
    """Where the voxels of the user's own file lie, whose axes may be in another order than those of the array."""
    space, turn = header_space(experiment.dataset.entries[case].images[0], PLAIN)[0], experiment.plan.turned.get(case)
    return turn.back.turned_space(space) if turn else space


def space_of(experiment: Experiment, case: str) -> Space:
    """The space alone, from the header where the reader allows it."""
    if experiment.dataset.json.get("overwrite_image_reader_writer") in (PLAIN, REORIENTING):
        return space_and_properties(experiment, case)[0]
    return image_and_space(experiment, case)[1]


def space_from(properties: Mapping[str, Any], shape: tuple[int, ...]) -> Space:
    """The space of an array (z, y, x) of this shape that one of nnU-Net's readers returned with ``properties``."""
    try:
        return Space.of_properties(properties, shape)
    except ValueError:  # formats that know no patient: their axes are taken as they are
        z, y, x = (float(mm) for mm in properties["spacing"])
        return Space(triple(shape), (x, y, z), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
