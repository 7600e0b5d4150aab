"""The images that are out of distribution: an nnU-Net dataset's, or those in a folder; no labels are read."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.nnunet.dataset import Dataset, dataset_folder_name, nnunet_folder

Read = Callable[[], tuple[np.ndarray, dict]]
"""Gives the voxels (channel, z, y, x) of an image and what nnU-Net's reader says of them."""


def strange_images(word: str, experiment: Experiment) -> dict[str, Read]:
    """Find images.

    Args:
        word: a dataset's number or name in nnUNet_raw, the folder of one, or a folder of images named as nnU-Net names them
            (``CASE_0000``; of one channel also ``CASE``), with the experiment's file ending.
        experiment: whose members are going to be asked.

    Returns:
        Case -> what reads its image, sorted by name; test cases of a dataset are among them.

    Raises:
        NnActiveError: there is no image, or a case has other channels than the experiment.
    """
    folder = Path(word)
    if word.isdecimal() or not folder.is_dir():
        folder = nnunet_folder("nnUNet_raw") / dataset_folder_name(word)
    if (folder / "dataset.json").is_file():
        dataset = Dataset(folder)
        files = {name: case.images for name, case in {**dataset.test_entries, **dataset.entries}.items()}
        reader = dataset.reader_writer
    else:
        files, reader = images_in(folder, experiment.dataset.file_ending), experiment.source.reader_writer
    wanted = len(experiment.dataset.json["channel_names"])
    if not files:
        raise NnActiveError(
            f"-ood {word}: {folder} holds no image called CASE_0000{experiment.dataset.file_ending}. Name the images so, or "
            "give an nnU-Net dataset."
        )
    for name, images in files.items():
        if len(images) != wanted:
            raise NnActiveError(
                f"-ood {word}: {name} has {len(images)} channels, {experiment.name} has {wanted}. Leave it out."
            )
    return {name: partial(read_images, reader, files[name], "-ood") for name in sorted(files)}


def images_in(folder: Path, ending: str) -> dict[str, tuple[Path, ...]]:
    """Case -> the files of its channels, of the images with this file ending in a folder, named as nnU-Net names them."""
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.iterdir()):
        if file.name.endswith(ending) and not file.name.startswith("."):
            stem = file.name.removesuffix(ending)
            numbered = re.fullmatch(r"(.+)_\d{4}", stem)
            found.setdefault(numbered[1] if numbered else stem, []).append(file)
    return {name: tuple(files) for name, files in found.items()}


def read_images(reader: Any, files: tuple[Path, ...], flag: str) -> tuple[np.ndarray, dict]:
    """The voxels (channel, z, y, x) of a case by one of nnU-Net's readers, and what it says of them.

    Raises:
        NnActiveError: a file cannot be read; the message names the ``flag`` that led to it.
    """
    try:
        return reader.read_images([str(file) for file in files])  # type: ignore[no-any-return]
    except Exception as error:  # of as many libraries as formats
        raise NnActiveError(f"{files[0]}: cannot be read ({error}). Restore it, or leave it out of {flag}.") from None
