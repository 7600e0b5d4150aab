"""An image to be screened, and those of the pool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.spaces import image_and_space
from nnactive_ext.geometry.grid import Grid
from nnactive_ext.geometry.patch import Triple
from nnactive_ext.geometry.space import Space, Vector


@dataclass(frozen=True)
class Image:
    """An image that is read when somebody asks for its voxels.

    ``files``: all that it is made of. ``channels``: their number. ``shape`` in voxels and ``spacing`` in mm along (z, y, x).
    ``read`` gives the voxels as stored (channel, z, y, x) and where they lie; ``load`` the preprocessed image and how it came
    about, None before nnU-Net's plans exist. ``turned``: how the axes of a new image are turned first, as text.
    """

    name: str
    files: tuple[Path, ...]
    channels: int
    shape: Triple
    spacing: Vector
    read: Callable[[], tuple[np.ndarray, Space]]
    load: Callable[[], tuple[np.ndarray, Grid]] | None
    turned: str = ""


def pool_images(experiment: Experiment) -> list[Image]:
    """The cases of the pool, by name; no file is read."""
    target = experiment.preprocessed if experiment.state["cycle"] >= 0 else None
    folder = target.data_folder if target else None
    entries = experiment.dataset.entries
    return [
        Image(
            name,
            entries[name].images,
            len(entries[name].images),
            geometry.shape,
            geometry.spacing,
            partial(image_and_space, experiment, name),
            partial(target.load, name, folder) if target else None,
        )
        for name, geometry in sorted(experiment.plan.pool.items())
    ]
