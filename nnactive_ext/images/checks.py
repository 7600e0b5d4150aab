"""The checks of an image's file, header and place, which are the same for a folder of images and for a dataset."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError, brief
from nnactive_ext.geometry.axes import align, orientation
from nnactive_ext.geometry.corners import is_straight
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.headers import PLAIN, header_space
from nnactive_ext.images.metaimage import what_metaimage_hides
from nnactive_ext.images.nifti import header_problem, is_nifti, kind_problem, numbers, what_itk_hides
from nnactive_ext.images.nrrd import what_nrrd_hides
from nnactive_ext.images.sizes import check_image_memory
from nnactive_ext.images.stated import NIFTI2, STRAIGHTENED, UNITS, read_as_stated, shear_problem, unit_problem, why_copied
from nnactive_ext.images.voxels import COMPLEX, several_numbers
from nnactive_ext.refusals import refuses

_SPACING = (1e-8, 1000.0)
"""mm between voxels: below is finer than an atom, above is a mix-up of units."""
_ITK_SAYS = {
    "orthonormal": "the axes in its header are not at right angles (sheared) or one has no length. Resample it to a "
    "straight grid, or restore the header",
    "determinant is 0": "the direction in its header is not usable: two axes are parallel or one has no length",
    "Zero-valued spacing": "the spacing in its header is 0 or not a finite number",
    "Unable to determine ImageIO": "not an image of the format that its name says, or damaged",
    "File cannot be read": "damaged or truncated, or the file with its voxels (.raw, .zraw) is missing",
}

_OTHER_READER = {
    NIFTI2: "NIfTI-2, which ITK, with which nnU-Net reads this dataset, does not know. Convert it, in Python: "
    "i = nibabel.load(FILE), then a = numpy.asanyarray(i.dataobj), then "
    "nibabel.save(nibabel.Nifti1Image(a, i.affine, i.header, dtype=a.dtype), NEW_FILE)",
    STRAIGHTENED: "the axes in its header are not quite at right angles, and ITK, with which nnU-Net reads this dataset, does "
    "not read it. Plan with the folder of images (-i), which makes them straight, or restore the header",
    UNITS: "its header gives lengths in another unit than mm, which nnU-Net would take for mm. Save it in mm, or plan with the "
    "folder of images (-i), which converts it",
}
"""Of files that a folder of images copies (:mod:`nnactive_ext.images.stated`), and a dataset cannot."""


def damage(file: Path, copy: Path | None = None) -> str:
    """What is wrong with a file though ITK reads it without a word, with the file's name; "" if nothing is. ``copy``: where a
    .nii.gz may be decompressed to, which this check does anyway."""
    return what_itk_hides(file, copy) or what_metaimage_hides(file) or what_nrrd_hides(file)


def examined(file: Path, by_itk: bool, copy: Path | None = None) -> Space | None:
    """Check a file without reading its voxels as an image.

    Args:
        file: an image.
        by_itk: nnU-Net reads it with ITK. Its other readers take other formats, and NIfTI files with sheared axes.
        copy: as in :func:`damage`.

    Returns:
        Its space; None where only another reader can tell.

    Raises:
        NnActiveError: the file is damaged, or its header is that of no channel of a case.
    """
    check_image_memory(file)
    if by_itk:
        why = why_copied(file)
        if is_nifti(file) and why == STRAIGHTENED and (problem := shear_problem(file)):
            raise NnActiveError(problem)
        if (is_nifti(file) or why != STRAIGHTENED) and (remedy := _OTHER_READER.get(why)):
            raise NnActiveError(f"{file}: {remedy}.")
        opened(file, copy)
    elif problem := damage(file, copy) or header_problem(file) or kind_problem(file):
        raise NnActiveError(problem)
    if not (by_itk or is_nifti(file)):
        return None
    with nullcontext() if by_itk else suppress(NnActiveError, ValueError):
        return header_space(file, PLAIN)[0]
    return None


@refuses
def read_image_file(file: Path) -> Any:
    """Read an image at the place that its header states, whether or not ITK reads it so.

    Args:
        file: NIfTI, NRRD or MetaImage.

    Returns:
        A 3D SimpleITK image of single real numbers.

    Raises:
        NnActiveError: as by :func:`opened`; or its axes are too far off the right angle.
    """
    check_image_memory(file)
    if not why_copied(file):
        reader = opened(file)
        try:
            return reader.Execute()
        except (RuntimeError, MemoryError) as error:
            raise unreadable(file, error) from None
    if hidden := damage(file) or header_problem(file) or unit_problem(file):
        raise NnActiveError(hidden)
    image = read_as_stated(file)
    if problem := _kind_problem(image) or space_problem(image):
        raise NnActiveError(f"{file}: {problem}.")
    return image


def opened(file: Path, copy: Path | None = None) -> Any:
    """A SimpleITK reader of a file that has read its header; ``copy``: as in :func:`damage`.

    Raises:
        NnActiveError: the file is missing or damaged, its header contradicts itself, or it holds no 3D image of single real
            numbers.
    """
    import SimpleITK as sitk

    if not file.is_file():
        raise NnActiveError(f"{file}: no such file{' (a broken link)' if file.is_symlink() else ''}.")
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        hidden = damage(file, copy) or header_problem(file) or unit_problem(file)
        if hidden:
            raise NnActiveError(hidden)
        reader.ReadImageInformation()
    except PermissionError:
        raise NnActiveError(f"{file}: no permission to read it.") from None
    except RuntimeError as error:
        raise unreadable(file, error) from None
    if problem := _kind_problem(reader) or space_problem(reader):
        raise NnActiveError(f"{file}: {problem}.")
    return reader


def unreadable(file: Path, error: Exception) -> NnActiveError:
    """What ITK said about a file that it cannot read, in words of the user."""
    text = next((says for words, says in _ITK_SAYS.items() if words in str(error)), f"cannot be read: {brief(error)}")
    return NnActiveError(f"{file}: {text.rstrip('.')}.")


def _kind_problem(header: Any) -> str:
    """What keeps this from being a 3D image of single numbers, by its header."""
    import SimpleITK as sitk

    size = "x".join(map(str, header.GetSize()))
    if header.GetDimension() == 2:
        return f"a 2D image ({size}); 3D images are needed"
    if header.GetDimension() != 3:
        return (
            f"{header.GetDimension()}D ({size}): several volumes in one file. Split it into one file per volume, for "
            "example with SimpleITK's image[:, :, :, i]"
        )
    if header.GetPixelID() in (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64):
        return COMPLEX
    components = getattr(header, "GetNumberOfComponents", None) or header.GetNumberOfComponentsPerPixel
    if components() != 1:
        return several_numbers(components())
    return ""


def space_problem(image: Any) -> str:
    """What is wrong with the place of a 3D image (or of its reader) in the patient; "" if nothing is."""
    spacing = np.array(image.GetSpacing())
    if not (np.isfinite(spacing) & (spacing != 0)).all():
        return _ITK_SAYS["Zero-valued spacing"]
    if not ((spacing >= _SPACING[0]) & (spacing <= _SPACING[1])).all():  # NaN fails too
        return f"the spacing {numbers(spacing)} mm cannot be. Correct the header"
    direction = image.GetDirection()
    if not is_straight(direction):
        return (
            f"its axes are not at right angles or not of length 1, by the direction {numbers(direction)} in its header. "
            "Resample it to a straight grid, or restore the header"
        )
    return ""


def off_grid(file: Path, space: Space, first: Path, first_space: Space) -> str:
    """What keeps ``file`` from being a channel beside ``first``, with the file's name; "" if nothing does."""
    difference = channel_difference(first_space, space)
    return f"{file}: not on the grid of {first}: {difference}. Resample one to the other." if difference else ""


def channel_difference(one: Space, other: Space) -> str:
    """How ``other`` differs from ``one`` if their arrays cannot be stacked as channels; "" if they can."""
    if one.shape != other.shape:
        return f"{size_text(other)} voxels instead of {size_text(one)} (x, y, z)"
    try:
        lies = align(one, other)
    except ValueError as error:
        return str(error)
    if lies.axes != (0, 1, 2) or any(lies.flipped):
        return f"its axes run {orientation(other.direction)} instead of {orientation(one.direction)}"
    if any(lies.start):
        return f"its origin is {numbers(other.origin)} mm instead of {numbers(one.origin)} mm"
    if not np.allclose(one.spacing, other.spacing):  # nnU-Net's own test, which it ends with an error
        return f"its spacing is {other.spacing} mm instead of {one.spacing} mm, a little more than nnU-Net allows"
    return ""


def size_text(space: Space) -> str:
    """Voxels along (x, y, z)."""
    return "x".join(map(str, space.shape[::-1]))
