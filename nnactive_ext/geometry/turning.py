"""The space of an image after its axes are reordered and flipped to run along the patient's; without voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnactive_ext.geometry.space import Space

_AXES = ("LR", "PA", "SI")
"""The two letters of each axis of the world (x, y, z), the one it runs towards first."""


def orientation(direction: Sequence[float]) -> str:
    """ITK's code of the patient's axes closest to an image's (x, y, z): "LPS" for the identity."""
    import SimpleITK as sitk

    return sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines([float(value) for value in direction])


def reoriented(space: Space, code: str = "RAS") -> Space:
    """The space that ``SimpleITK.DICOMOrient(image, code)`` gives an image in ``space``: voxels keep their places in the
    patient, oblique axes stay oblique. A ``code`` that does not name each axis once is a ValueError.

    >>> reoriented(Space((2, 3, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1)), "RAS").origin
    (3.0, 2.0, 0.0)
    """
    wanted = [_axis(letter) for letter in code]
    if sorted(wanted) != [0, 1, 2]:
        raise ValueError(f"{code!r} does not name each of the axes L-R, P-A and S-I once")
    now = orientation(space.direction)
    source = [[_axis(letter) for letter in now].index(axis) for axis in wanted]
    flipped = np.array([code[i] != now[source[i]] for i in range(3)])
    size = np.array(space.shape[::-1])[source]
    spacing = np.array(space.spacing)[source]
    direction = np.reshape(space.direction, (3, 3))[:, source]
    # A flipped axis begins where it ended.
    origin = space.origin + direction @ (flipped * (size - 1) * spacing)
    direction = np.where(flipped, -direction, direction)
    z, y, x = (int(n) for n in size[::-1])
    first, second, third = (float(v) for v in spacing)
    a, b, c = (float(v) for v in origin)
    return Space((z, y, x), (first, second, third), (a, b, c), tuple(direction.ravel().tolist()))


def _axis(letter: str) -> int:
    return next((i for i, letters in enumerate(_AXES) if letter in letters), -1)
