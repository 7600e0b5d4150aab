"""The checks of an image's voxels, as 32-bit floats, which nnU-Net reads them as: finite, real, not all the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from nnactive_ext.images.hounsfield import hounsfield_offset
from nnactive_ext.words import count, plural

COMPLEX = "its voxels are complex numbers. Save the magnitude"


@dataclass(frozen=True)
class Voxels:
    """The range and a digest (SHA-256) of the voxels of one channel, what is wrong with them ("" if nothing is), and
    :func:`nnactive_ext.images.hounsfield.hounsfield_offset`."""

    minimum: float
    maximum: float
    digest: str
    problem: str = ""
    offset: int | None = None


def look_at(channel: np.ndarray) -> Voxels:
    """Check the voxels of one channel.

    Args:
        channel: any real type, (z, y, x). It is looked at slice by slice, to save memory.

    Returns:
        What they are. The digest is of the values, whatever their type in the file. A problem is no whole sentence.
    """
    if channel.dtype.kind not in "biuf":
        return Voxels(0.0, 0.0, "", COMPLEX if channel.dtype.kind == "c" else f"its voxels are no numbers ({channel.dtype})")
    digest, bad, huge = hashlib.sha256(repr(channel.shape).encode()), 0, 0
    low, high = np.inf, -np.inf
    for plane in channel:
        with np.errstate(over="ignore"):
            values = np.asarray(plane, "<f4") + np.float32(0)  # -0 becomes 0
        bad += plane.size - int(np.isfinite(plane).sum())
        huge += plane.size - int(np.isfinite(values).sum())
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        digest.update(values.tobytes())
    problem = _problem(bad, huge, low, high)
    return Voxels(low, high, digest.hexdigest(), problem, None if problem else hounsfield_offset(channel))


def _problem(bad: int, huge: int, low: float, high: float) -> str:
    if bad:
        return not_finite(bad)
    if huge:
        return f"{count(huge, 'voxel')} {plural(huge, 'is', 'are')} too large for nnU-Net, which reads 32-bit floats"
    return f"all its voxels are {low:g}: an empty image" if low == high else ""


def several_numbers(number: int) -> str:
    """The words for voxels that hold so many numbers each."""
    return f"{number} numbers in each voxel (colour, vectors or channels). Save each as an image of its own"


def not_finite(number: int) -> str:
    """The words for so many voxels that are no finite numbers."""
    return f"{count(number, 'voxel')} {plural(number, 'is', 'are')} NaN or infinite"


def same_channel(file: object, other: object, case: str) -> str:
    """The words for two channels of a case with the same voxels."""
    return f"{file}: the same voxels as {other}, which is another channel of {case}."


def same_image(case: str, other: str, file: object, other_file: object) -> str:
    """The words for two cases with the same image."""
    return f"{case} and {other} are the same image twice: {file} and {other_file}."
