"""An image to be screened, a case of the pool or a new one, and how it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.spaces import image_and_space, space_from
from nnactive_ext.geometry.grid import Grid
from nnactive_ext.geometry.patch import Triple, triple
from nnactive_ext.geometry.space import Space, Vector
from nnactive_ext.images.checks import examined
from nnactive_ext.members.strange_images import images_in, read_images
from nnactive_ext.nnunet.preprocessing import Preprocessed, preprocess_image


@dataclass(frozen=True)
class Image:
    """``shape`` in voxels and ``spacing`` in mm along (z, y, x). ``read`` gives the voxels as stored (channel, z, y, x) and
    where they lie; ``load`` the preprocessed image and how it came about, None before nnU-Net's plans exist."""

    name: str
    files: tuple[Path, ...]
    shape: Triple
    spacing: Vector
    read: Callable[[], tuple[np.ndarray, Space]]
    load: Callable[[], tuple[np.ndarray, Grid]] | None

    @property
    def channels(self) -> int:
        return len(self.files)


@dataclass(frozen=True)
class Reading:
    """How new images are read: with nnU-Net's ``reader``, which the members' images were read with, and preprocessed for
    ``target`` (None: before nnU-Net's plans exist)."""

    dataset_json: dict[str, Any]
    reader: Any
    target: Preprocessed | None


def pool_images(experiment: Experiment) -> list[Image]:
    """The cases of the pool, by name; no file is read."""
    target = experiment.preprocessed if experiment.state["cycle"] >= 0 else None
    folder = target.data_folder if target else None
    return [
        Image(
            name,
            experiment.dataset.entries[name].images,
            geometry.shape,
            geometry.spacing,
            partial(image_and_space, experiment, name),
            partial(target.load, name, folder) if target else None,
        )
        for name, geometry in sorted(experiment.plan.pool.items())
    ]


def new_images(folder: Path, reading: Reading) -> list[Image]:
    """The images of a folder, named as nnU-Net names them (``CASE_0000``; of one channel also ``CASE``), by name.

    Files and headers are checked as ``nnactive_plan`` checks them; nothing is copied.

    Raises:
        NnActiveError: there is no image, a file is damaged, or the channels of a case differ in shape.
    """
    ending = reading.dataset_json["file_ending"]
    if not folder.is_dir():
        raise NnActiveError(f"-i {folder}: no such folder.")
    found = images_in(folder, ending)
    if not found:
        raise NnActiveError(f"-i {folder}: holds no image called CASE_0000{ending}. Name the images so.")
    return [_new(name, files, reading) for name, files in found.items()]


def _new(name: str, files: tuple[Path, ...], reading: Reading) -> Image:
    by_itk = type(reading.reader).__name__ == "SimpleITKIO"
    for file in files:
        examined(file, by_itk)
    read = partial(read_images, reading.reader, files, "-i")
    image, properties = read()
    space = space_from(properties, image.shape[1:])

    def stored() -> tuple[np.ndarray, Space]:
        return read()[0], space

    def load() -> tuple[np.ndarray, Grid]:
        assert reading.target is not None
        return preprocess_image(*read(), reading.target, reading.dataset_json)

    spacing = space.spacing_zyx
    return Image(name, files, triple(image.shape[1:]), spacing, stored, load if reading.target else None)
