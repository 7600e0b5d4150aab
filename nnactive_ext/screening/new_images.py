"""The new images in a folder: found, checked, turned and read as those of a folder that is planned from."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.spaces import space_from, space_of
from nnactive_ext.geometry.axes import Turn, orientation, reoriented
from nnactive_ext.geometry.grid import Grid
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.checks import examined
from nnactive_ext.images.lengths import typed_spacing
from nnactive_ext.images.turning import added, turned_image
from nnactive_ext.images.writing import write_image
from nnactive_ext.intake.each import find_each
from nnactive_ext.intake.find import FoundCase, check_folder
from nnactive_ext.intake.reading import read
from nnactive_ext.members.strange_images import Read, images_in, read_images
from nnactive_ext.nnunet.preprocessing import Preprocessed, preprocess_image
from nnactive_ext.screening.images import Image

_OF_PLACED = ("SimpleITKIO", "SimpleITKIOWithReorient", "NibabelIO", "NibabelIOWithReorient")
"""nnU-Net's readers of formats that know where an image lies in the patient."""


@dataclass(frozen=True)
class Reading:
    """How new images are read: with nnU-Net's ``reader``, which the members' images were read with, and preprocessed for
    ``target`` (None: before nnU-Net's plans exist). ``pool``: the spaces like which their axes are turned (None: they are read
    as stored); ``series`` and ``spacing``: what people typed when the experiment was planned."""

    dataset_json: dict[str, Any]
    reader: Any
    target: Preprocessed | None
    pool: Sequence[Space] | None = None
    series: Sequence[str] = ()
    spacing: Sequence[str] | None = None

    @classmethod
    def of(cls, experiment: Experiment) -> Reading:
        """As the images of an experiment's pool are read."""
        plan, data = experiment.plan, experiment.dataset
        target = experiment.preprocessed if experiment.state["cycle"] >= 0 else None
        series, spacing = plan.settings.get("series") or (), plan.settings.get("spacing")
        return cls(data.json, data.reader_writer, target, pool_spaces(experiment), series, spacing)

    @property
    def reader_name(self) -> str:
        return type(self.reader).__name__


@dataclass(frozen=True)
class NewImages:
    """``images`` that can be screened; ``refused``: what is wrong with the others, by name; ``notes`` on the folder."""

    images: list[Image]
    refused: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def pool_spaces(experiment: Experiment) -> list[Space] | None:
    """Where the images of a pool lie whose images people chose, or whose images were turned; None where nnU-Net reads a
    labelled dataset as it is stored."""
    if not (experiment.plan.human or experiment.plan.turned):
        return None
    return [space_of(experiment, case) for case in experiment.plan.pool]


def new_images(folder: Path, reading: Reading, progress: bool = True) -> NewImages:
    """The images of a folder, by name, read, checked and turned as those of a folder that is planned from.

    They are files named as nnU-Net names them (``CASE_0000``; of one channel also ``CASE``) or with the channels' names, or
    folders with a DICOM series or slices. What nnU-Net cannot read is written to a temporary folder while it is read.

    Raises:
        NnActiveError: there is no image that can be screened; the message says what is wrong with each.
    """
    found = _placed(folder, reading, progress) if reading.reader_name in _OF_PLACED else _placeless(folder, reading)
    if not found.images:
        why = "".join(f"\n{one}" for one in [*found.refused.values(), *found.notes][:20])
        raise NnActiveError(
            f"-i {folder}: holds no image that can be screened. Name images CASE_0000{reading.dataset_json['file_ending']}, or "
            f"give a folder with a folder for each DICOM series.{why}"
        )
    return found


def _placed(folder: Path, reading: Reading, progress: bool) -> NewImages:
    channels = list(reading.dataset_json["channel_names"].values())
    typed = typed_spacing(reading.spacing) if reading.spacing else None
    each = find_each(folder, channels, reading.series, typed, progress)
    found = NewImages([], each.refused, [f"{note.value}: {note.why}." for note in each.notes])
    for name, case in list(each.cases.items()):
        try:
            found.images.append(_new(case, each.inspected[name].space, reading, found.notes))
        except NnActiveError as error:
            each.refuse(name, str(error))
    return found


def _placeless(folder: Path, reading: Reading) -> NewImages:
    """Of a format that does not say where an image lies, as nnU-Net's reader takes it: files called ``CASE_0000``."""
    check_folder(folder)
    found = NewImages([])
    for name, files in images_in(folder, reading.dataset_json["file_ending"]).items():
        try:
            for file in files:
                examined(file, by_itk=False)
            image, properties = read_images(reading.reader, files, "-i")
        except NnActiveError as error:
            found.refused[name] = str(error)
            continue
        if not np.isfinite(image).all() or any(channel.min() == channel.max() for channel in image):
            found.refused[name] = (
                f"{files[0]}: holds NaN or infinite values, or one value everywhere. Restore it, or leave it out."
            )
            continue
        space = space_from(properties, image.shape[1:])
        found.images.append(_image(name, files, space, len(files), reading, partial(read_images, reading.reader, files, "-i")))
    return found


def _new(case: FoundCase, stored: Space, reading: Reading, notes: list[str]) -> Image:
    turn, space = _turned(case.name, stored, reading, notes)

    def voxels() -> tuple[np.ndarray, dict[str, Any]]:
        with _files(case, turn) as files:
            return read_images(reading.reader, files, "-i")

    files = tuple(file for source in case.sources for file in source.files)
    return replace(_image(case.name, files, space, len(case.sources), reading, voxels), turned=str(turn) if turn else "")


def _image(name: str, files: tuple[Path, ...], space: Space, channels: int, reading: Reading, voxels: Read) -> Image:
    def as_stored() -> tuple[np.ndarray, Space]:
        image, properties = voxels()
        return image, space_from(properties, image.shape[1:])

    def load() -> tuple[np.ndarray, Grid]:
        assert reading.target is not None
        return preprocess_image(*voxels(), reading.target, reading.dataset_json)

    return Image(name, files, channels, space.shape, space.spacing_zyx, as_stored, load if reading.target else None)


def _turned(name: str, stored: Space, reading: Reading, notes: list[str]) -> tuple[Turn | None, Space]:
    """How the axes of an image are turned before nnU-Net's reader gets it, and the space of the array that this gives."""
    if reading.pool is None:
        return None, reoriented(stored) if reading.reader_name.endswith("WithReorient") else stored
    pool = {str(number): space for number, space in enumerate(reading.pool)}
    lies = added({name: stored}, pool, reading.reader_name)
    if lies is None:
        code = orientation(reading.pool[0].direction)
        raise NnActiveError(
            f"{name}: its image is stored as {orientation(stored.direction)}, those of the pool as {code}. Turn it with "
            f"SimpleITK's DICOMOrient(image, '{code}')."
        )
    turns, spaces, warnings = lies
    notes += warnings
    return turns.get(name), spaces[name]


@contextmanager
def _files(case: FoundCase, turn: Turn | None) -> Iterator[tuple[Path, ...]]:
    """The files of a case as nnU-Net's reader takes them; copies are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="nnactive_screen_") as folder:
        files = []
        for channel, source in enumerate(case.sources):
            file = source.path
            if source.copied or turn:
                file = Path(folder) / f"{case.name}_{channel:04d}.nii.gz"
                image = read(source)
                write_image(file, turned_image(image, turn) if turn else image)
            files.append(file)
        yield tuple(files)
