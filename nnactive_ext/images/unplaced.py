"""Image files whose header does not say where in the patient their voxels lie, so that programs place them differently."""

from __future__ import annotations

import zlib
from pathlib import Path

from nnactive_ext.geometry.space import Space
from nnactive_ext.images.nifti_place import is_pair, raw_header, stated_affine
from nnactive_ext.images.nrrd import fields_of

_PICTURES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".npy")
_NRRD_SPACES = ("left", "right", "ras", "las", "lps", "scanner")
"""How the spaces of a NRRD begin that are those of a patient or a scanner."""


def has_place(file: Path) -> bool:
    """Whether a header says where its voxels lie; no voxel is read.

    NIfTI without qform and sform code, Analyze, NRRD without a patient's space, and pictures do not: ITK puts the first voxel
    at 0, nibabel the middle, 3D Slicer takes a NRRD for RAS that ITK takes for LPS. What a MetaImage leaves out has defaults
    that all programs share.

    Args:
        file: an image that can be read, or one slice of it.

    Returns:
        Whether it does. True where it cannot be told.
    """
    name = file.name.lower()
    if name.endswith((".nii", ".nii.gz", ".hdr", ".img", ".img.gz")):
        return _nifti_has_place(file)
    if name.endswith((".nrrd", ".nhdr")):
        try:
            return fields_of(file).get("space", "").lower().startswith(_NRRD_SPACES)
        except OSError:
            return True
    return not name.endswith(_PICTURES)


def centred(space: Space) -> Space:
    """Where nibabel puts a NIfTI file without a place, of which ITK says ``space``: the middle of it is at 0 mm.

    >>> centred(Space((3, 3, 3), (2.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))).origin
    (-2.0, 1.0, -1.0)
    """
    x, y, z = ((n - 1) / 2 * mm for n, mm in zip(space.shape[::-1], space.spacing, strict=True))
    return Space(space.shape, space.spacing, (-x, y, -z), (1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0))


def _nifti_has_place(file: Path) -> bool:
    if file.suffix.lower() in (".hdr", ".img") and not is_pair(file):
        return False  # Analyze
    try:
        return stated_affine(raw_header(file)) is not None
    except (OSError, EOFError, ValueError, zlib.error):
        return True
