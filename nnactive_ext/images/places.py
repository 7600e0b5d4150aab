"""Where the images of a roll-out are in the patient, from their headers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.geometry.patch import triple
from nnactive_ext.geometry.space import Space

REORIENTING = "SimpleITKIOWithReorient"
PLAIN = "SimpleITKIO"


def place_of(experiment: Experiment, case: str) -> tuple[Space, dict[str, Any]]:
    """The space of a case's array as nnU-Net's reader gives it, and the properties its writer wants; no voxel is read."""
    file = experiment.dataset.entries[case].images[0]
    return place(file, experiment.dataset.json["overwrite_image_reader_writer"])


def place(file: Path, reader: str) -> tuple[Space, dict[str, Any]]:
    import SimpleITK as sitk

    header = sitk.ImageFileReader()
    header.SetFileName(str(file))
    try:
        header.ReadImageInformation()
    except RuntimeError as error:
        raise NnActiveError(f"{file}: cannot be read: {str(error).splitlines()[-1].strip()}") from None
    space = Space(triple(header.GetSize()[::-1]), *_geometry(header))
    stuff: dict[str, Any] = {}
    if reader == REORIENTING:
        from nnactive_ext.intake.inspect import reoriented

        code = sitk.DICOMOrientImageFilter_GetOrientationFromDirectionCosines(space.direction)
        space, stuff = reoriented(space), {"original_orientation": code}
    stuff |= {"spacing": space.spacing, "origin": space.origin, "direction": space.direction}
    return space, {"sitk_stuff": stuff, "spacing": list(space.spacing_zyx)}


def _geometry(header: Any) -> tuple:
    return tuple(header.GetSpacing()), tuple(header.GetOrigin()), tuple(header.GetDirection())
