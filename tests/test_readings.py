"""Formats x geometries are read as nibabel, SimpleITK, pynrrd and pydicom read them; where these disagree, a table says who is
followed and why."""

from __future__ import annotations

import re
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from test_intake_dicom import write_series

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.checks import examined
from nnactive_ext.images.label_images import read_image
from nnactive_ext.images.stated import ENDING, NIFTI2, SPACING, STRAIGHTENED, UNITS, why_copied
from nnactive_ext.images.unplaced import has_place
from nnactive_ext.intake.find import Source, find_cases
from nnactive_ext.intake.reading import read

SIZE = (5, 6, 7)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
MM = {"mm": 1.0, "micron": 1e-3, "meter": 1e3}


def rotation(degrees: float, axis: int) -> np.ndarray:
    angle, matrix = np.radians(degrees), np.eye(3)
    one, other = (i for i in range(3) if i != axis)
    matrix[one, one] = matrix[other, other] = np.cos(angle)
    matrix[one, other], matrix[other, one] = -np.sin(angle), np.sin(angle)
    return matrix


def affine(axes: np.ndarray, spacing: tuple[float, ...] = (0.7, 0.8, 2.5)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes * spacing, (-12.5, 40.25, 3.125)
    return matrix


GEOMETRIES = {
    "RAS": affine(np.eye(3)),
    "LPS": affine(np.diag([-1.0, -1.0, 1.0])),
    "left-handed": affine(np.diag([-1.0, 1.0, 1.0])),
    "sagittal": affine(np.array([[0, 0, 1.0], [1, 0, 0], [0, -1, 0]])),
    "oblique": affine(rotation(25, 0) @ rotation(-10, 2)),
    "half a turn, oblique": affine(rotation(180, 2) @ rotation(0.01, 0)),
    "double oblique, flipped": affine(rotation(33, 0) @ rotation(40, 1) @ np.diag([1.0, -1.0, -1.0])),
}


def voxels(dtype: Any = np.int16, seed: int = 0) -> np.ndarray:
    """(x, y, z)"""
    kind = np.dtype(dtype)
    low, high = (0, 100) if kind.kind == "u" else (-100, 100)
    return np.random.default_rng(seed).integers(low, high, SIZE).astype(kind)


def nifti(
    file: Path,
    array: np.ndarray,
    place: np.ndarray,
    codes: tuple[int, int] = (0, 1),
    kind: Any = nibabel.Nifti1Image,
    unit: str = "mm",
) -> Path:
    """``codes``: of the qform and of the sform."""
    image = kind(array, place, dtype=array.dtype)
    image.set_qform(place, codes[0], strip_shears=True)
    image.set_sform(place, codes[1])
    image.header.set_xyzt_units(unit)
    small = file.with_name(file.name.lower())  # nibabel writes no other endings
    nibabel.save(image, small)
    return small.rename(file)


def patch(file: Path, offset: int, layout: str, *values: float) -> Path:
    """Bytes of an uncompressed header."""
    raw = bytearray(file.read_bytes())
    struct.pack_into(layout, raw, offset, *values)
    file.write_bytes(raw)
    return file


def both(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """The array (x, y, z) and the affine in LPS mm, as an image is read; a label map is read likewise."""
    image, label_map = read(Source(file)), read_image(file)
    np.testing.assert_array_equal(label_map.layers[0], sitk.GetArrayViewFromImage(image))
    np.testing.assert_array_equal(label_map.space.affine, Space.of_image(image).affine)
    return sitk.GetArrayFromImage(image).T, Space.of_image(image).affine


def by_itk(file: Path) -> tuple[np.ndarray, np.ndarray]:
    image = sitk.ReadImage(str(file))
    return sitk.GetArrayFromImage(image).T, Space.of_image(image).affine


def by_nibabel(file: Path) -> tuple[np.ndarray, np.ndarray]:
    image: Any = nibabel.load(file)
    mm = MM.get(image.header.get_xyzt_units()[0], 1.0)
    return np.asarray(image.dataobj).reshape(SIZE), LPS @ np.diag([mm, mm, mm, 1.0]) @ image.affine


def same(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> bool:
    """Values in single precision; places to a hundredth of a voxel at each corner."""
    spacing = np.linalg.norm(one[1][:3, :3], axis=0).min()
    corners = np.array([[x, y, z, 1] for x in (0, 4) for y in (0, 5) for z in (0, 6)]).T
    near = np.abs((one[1] - other[1])[:3] @ corners).max() <= 0.01 * spacing
    return bool(near and one[0].shape == other[0].shape and np.allclose(one[0], other[0], rtol=1e-6))


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".NII.GZ"])
@pytest.mark.parametrize("codes", [(0, 1), (1, 0), (1, 1), (1, 4), (2, 2)], ids=str)
def test_nifti_1(tmp_path, geometry, ending, codes):
    array = voxels()
    file = nifti(tmp_path / f"a{ending}", array, GEOMETRIES[geometry], codes)
    assert same(both(file), (array, LPS @ GEOMETRIES[geometry]))
    assert same(by_itk(file), both(file))
    assert same(by_nibabel(file), both(file))
    assert why_copied(file) == ""


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(("ending", "unit"), [(".nii", "mm"), (".nii.gz", "micron"), (".NII.GZ", "meter"), (".Nii.gz", "mm")])
def test_nifti_2(tmp_path, geometry, ending, unit):
    """ITK does not know it: nibabel is followed."""
    array = voxels(np.float32)
    file = nifti(
        tmp_path / f"a{ending}",
        array,
        GEOMETRIES[geometry] / [[MM[unit]], [MM[unit]], [MM[unit]], [1]],
        (1, 1),
        nibabel.Nifti2Image,
        unit,
    )
    assert same(both(file), (array, LPS @ GEOMETRIES[geometry]))
    assert why_copied(file) == NIFTI2
    assert same(
        by_nibabel(file.rename(file.with_name("b.nii" + ".gz" * ending.lower().endswith(".gz")))),
        (array, LPS @ GEOMETRIES[geometry]),
    )


TYPES = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float32, np.float64]


@pytest.mark.parametrize("dtype", TYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_types_and_byte_orders(tmp_path, dtype, order, kind):
    array = voxels(dtype)
    header = kind.header_class(endianness=order)
    header.set_data_dtype(dtype)
    place = GEOMETRIES["oblique"]
    image = kind(array, place, header, dtype=dtype)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "a.nii")
    assert same(both(tmp_path / "a.nii"), (array, LPS @ place))
    assert same(by_nibabel(tmp_path / "a.nii"), (array, LPS @ place))


@pytest.mark.parametrize(
    ("slope", "intercept"), [(0.5, 0), (-1, 0), (2, -1024), (1, 7), (np.nan, np.nan), (0, 0), (np.nan, 0), (0.25, 3)]
)
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_slopes(tmp_path, slope, intercept, kind):
    file = nifti(tmp_path / "a.nii", voxels(), GEOMETRIES["LPS"], kind=kind)
    if kind is nibabel.Nifti1Image:
        patch(file, 112, "<ff", slope, intercept)
    else:
        patch(file, 176, "<dd", slope, intercept)
    assert same(both(file), by_nibabel(file))
    unscaled = slope == 0 or np.isnan(slope)
    np.testing.assert_allclose(both(file)[0], voxels() if unscaled else voxels() * slope + intercept)


@pytest.mark.parametrize("unit", [*MM, "unknown"])
def test_units_of_nifti(tmp_path, unit):
    file = nifti(tmp_path / "a.nii.gz", voxels(), GEOMETRIES["oblique"], unit=unit)
    mm = MM.get(unit, 1.0)
    if unit == "meter":
        assert "(700, 800, 2500) mm cannot be" in refused(file)
        return
    assert same(both(file), (voxels(), LPS @ np.diag([mm, mm, mm, 1.0]) @ GEOMETRIES["oblique"]))
    assert same(both(file), by_itk(file))


@pytest.mark.parametrize("trailing", [(1,), (1, 1)])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_trailing_axes_of_one(tmp_path, trailing, kind):
    file = nifti(tmp_path / "a.nii.gz", voxels().reshape(*SIZE, *trailing), GEOMETRIES["sagittal"], kind=kind)
    assert same(both(file), (voxels(), LPS @ GEOMETRIES["sagittal"]))


SPACES = {
    "left-posterior-superior": (1, 1),
    "LPS": (1, 1),
    "right-anterior-superior": (-1, -1),
    "RAS": (-1, -1),
    "left-anterior-superior": (1, -1),
    "scanner-xyz": (1, 1),
    "3D-right-handed": (1, 1),
}
"""ITK, like 3D Slicer, takes spaces that do not name the patient's sides for LPS."""
NRRD_UNITS = {
    ("mm", "mm", "mm"): (1, 1, 1),
    ("um", "um", "um"): (1e-3,) * 3,
    ("µm", "µm", "µm"): (1e-3,) * 3,
    ("μm", "μm", "μm"): (1e-3,) * 3,
    ("microns", "microns", "microns"): (1e-3,) * 3,
    ("nm", "nm", "nm"): (1e-6,) * 3,
    ("cm", "cm", "cm"): (10,) * 3,
    ("Millimeter", "Millimeter", "Millimeter"): (1, 1, 1),
    ("", "", ""): (1, 1, 1),
    ("um", "um", "mm"): (1e-3, 1e-3, 1),
}


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("geometry", ["RAS", "sagittal", "oblique"])
@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_nrrd(tmp_path, space, geometry, encoding):
    place, file = GEOMETRIES[geometry], tmp_path / "a.nrrd"
    header = {"space": space, "space directions": place[:3, :3].T, "space origin": place[:3, 3], "encoding": encoding}
    nrrd.write(str(file), voxels(), header)
    expected = np.diag([*SPACES[space], 1.0, 1.0]) @ place
    assert same(both(file), (voxels(), expected))
    assert same(both(file), by_itk(file))
    again, read_header = nrrd.read(str(file))
    assert same(
        both(file),
        (
            again,
            np.diag([*SPACES[space], 1.0, 1.0])
            @ np.vstack([np.column_stack([read_header["space directions"].T, read_header["space origin"]]), [0, 0, 0, 1]]),
        ),
    )


@pytest.mark.parametrize(("words", "mm"), NRRD_UNITS.items(), ids=lambda value: "-".join(map(str, value)))
@pytest.mark.parametrize("of_space", [True, False])
@pytest.mark.parametrize("ending", [".nrrd", ".nhdr"])
def test_units_of_nrrd(tmp_path, words, mm, of_space, ending):
    file, spacing = tmp_path / f"a{ending}", np.array([0.7, 0.8, 2.5])
    shown = list(words) if "".join(words).isascii() else ["xyz"] * 3  # pynrrd writes ASCII
    # Of axes that lie as the world's; oblique ones would be sheared by units that differ.
    where = {"space": "LPS", "space directions": np.diag(spacing), "space units": shown, "space origin": [1, 2, 3]}
    nrrd.write(str(file), voxels(), where if of_space else {"spacings": spacing, "units": shown})
    file.write_bytes(file.read_bytes().replace(b"xyz", words[0].encode()))
    expected = np.diag([*spacing, 1.0])
    expected[:3, 3] = (1, 2, 3) if of_space else 0
    assert same(both(file), (voxels(), np.diag([*mm, 1.0]) @ expected))
    assert why_copied(file) == ("" if set(mm) == {1} else UNITS)


def test_units_of_nrrd_in_latin_1(tmp_path):
    file = tmp_path / "a.nrrd"
    nrrd.write(str(file), voxels(), {"spacings": [700, 800, 2500], "units": ["xyz"] * 3})
    file.write_bytes(file.read_bytes().replace(b"xyz", b"\xb5m"))
    np.testing.assert_allclose(np.diag(both(file)[1]), (0.7, 0.8, 2.5, 1))


@pytest.mark.parametrize("geometry", ["RAS", "sagittal", "oblique"])
@pytest.mark.parametrize("ending", [".mha", ".mhd", ".MHA", ".Mhd"])
@pytest.mark.parametrize("compressed", [True, False])
def test_metaimage(tmp_path, geometry, ending, compressed):
    space = Space.of_affine(LPS @ GEOMETRIES[geometry], SIZE[::-1])
    written = tmp_path / f"a{ending.lower()}"
    sitk.WriteImage(space.image(voxels().T), str(written), compressed)
    assert same(by_itk(written), (voxels(), LPS @ GEOMETRIES[geometry]))
    shutil.move(written, tmp_path / f"a{ending}")
    assert same(both(tmp_path / f"a{ending}"), (voxels(), LPS @ GEOMETRIES[geometry]))
    assert why_copied(tmp_path / f"a{ending}") == ("" if ending.islower() else ENDING)


@pytest.mark.parametrize(("unit", "mm"), {"um": 1e-3, "cm": 10, "mm": 1, "?": 1}.items())
@pytest.mark.parametrize("ending", [".mha", ".MHD"])
def test_units_of_metaimage(tmp_path, unit, mm, ending):
    space = Space.of_affine(LPS @ GEOMETRIES["oblique"], SIZE[::-1])
    written, file = tmp_path / f"a{ending.lower()}", tmp_path / f"a{ending}"
    sitk.WriteImage(space.image(voxels().T), str(written))
    raw = written.read_bytes().replace(b"ElementSpacing", f"DistanceUnits = {unit}\nElementSpacing".encode())
    written.unlink()
    file.write_bytes(raw)
    assert same(both(file), (voxels(), np.diag([mm, mm, mm, 1.0]) @ LPS @ GEOMETRIES["oblique"]))


def refused(file: Path) -> str:
    """What is said of a file that is taken neither as an image nor as a label map."""
    said = []
    for reading in (lambda: read(Source(file)), lambda: read_image(file)):
        try:
            reading()
            said.append("")
        except NnActiveError as error:
            said.append(str(error))
    assert said[0].startswith(f"{file}: ")
    return said[0]


def sheared(amount: float, spacing: tuple[float, ...] = (1.0, 1.0, 1.0)) -> np.ndarray:
    axes = np.diag([-1.0, -1.0, 1.0])
    axes[0, 1] = amount
    return affine(axes, spacing)


def two_places(change: np.ndarray) -> Any:
    def write(file: Path) -> None:
        place = GEOMETRIES["oblique"]
        image = nibabel.Nifti1Image(voxels(), place)
        image.set_qform(place, 1)
        image.set_sform(place @ change, 1)
        nibabel.save(image, file)

    return write


def moved(*by: float) -> np.ndarray:
    change = np.eye(4)
    change[:3, 3] = by
    return change


def scaled(slope: float, intercept: float) -> Any:
    return lambda file: patch(nifti(file, voxels(), GEOMETRIES["LPS"]), 112, "<ff", slope, intercept)


def pixdim(codes: tuple[int, int], factor: float) -> Any:
    def write(file: Path) -> None:
        nifti(file, voxels(), GEOMETRIES["LPS"], codes)
        patch(file, 88, "<f", 2.5 * factor)

    return write


DISAGREEMENTS: dict[str, tuple[Any, str]] = {
    # ITK adds the intercept, nibabel and FSL do not, as the standard says: nnU-Net would follow ITK.
    "slope 0": (scaled(0, -1024), "refused"),
    "slope 0, label map": (scaled(0, 1), "refused"),
    "slope NaN": (scaled(np.nan, 12), "refused"),
    # ITK does not scale, nibabel does, or refuses.
    "slope nearly 0": (scaled(1e-20, 0), "refused"),
    "intercept NaN": (scaled(2, np.nan), "refused"),
    # ITK follows the qform if the code of the sform is not 1, nibabel the sform; people cannot know.
    "two places, 1 voxel": (two_places(moved(1, 0, 0)), "refused"),
    "two places, half a voxel": (two_places(moved(0, 0, 0.5)), "refused"),
    "two places, mirrored": (two_places(np.diag([-1.0, 1, 1, 1])), "refused"),
    "two spacings": (two_places(np.diag([1.0, 1.005, 1, 1]) @ moved(0, 100, 0)), "refused"),
    "pixdim that contradicts": (pixdim((0, 1), 1.2), "refused"),
    # ITK reads no sheared axes, nibabel does; nnU-Net and viewers need straight ones.
    "sheared by 0.002": (lambda file: nifti(file, voxels(), sheared(0.002)), "nibabel"),
    "sheared by 0.01": (lambda file: nifti(file, voxels(), sheared(0.01, (0.9, 0.9, 3.0))), "nibabel"),
    "sheared by 0.3": (lambda file: nifti(file, voxels(), sheared(0.3)), "refused"),
    # ITK does not know NIfTI-2.
    "NIfTI-2": (lambda file: nifti(file, voxels(), GEOMETRIES["oblique"], (1, 1), nibabel.Nifti2Image), "nibabel"),
    # Without a place ITK begins at the first voxel, nibabel in the middle; nnU-Net follows ITK.
    "no place": (lambda file: nifti(file, voxels(), GEOMETRIES["LPS"], (0, 0)), "ITK"),
    "NIfTI-2, no place": (
        lambda file: nifti(file, voxels(), np.diag([0.7, 0.8, 2.5, 1]), (0, 0), nibabel.Nifti2Image),
        "the first voxel at 0",
    ),
    # Codes that NIfTI does not define: ITK takes the matrix, nibabel does not.
    "code 9": (lambda file: patch(nifti(file, voxels(), GEOMETRIES["LPS"]), 254, "<h", 9), "refused"),
}


@pytest.mark.parametrize("what", DISAGREEMENTS)
def test_where_readers_disagree(tmp_path, what):
    write, followed = DISAGREEMENTS[what]
    file = tmp_path / "a.nii"
    write(file)
    try:
        itk = by_itk(file)
    except RuntimeError:
        itk = None
    try:
        nib = by_nibabel(file)
    except Exception:  # nibabel has many
        nib = None
    if not what.startswith("two "):  # in which ITK follows one or the other
        assert itk is None or nib is None or not same(itk, nib)
    if followed == "refused":
        assert refused(file)
        with pytest.raises(NnActiveError, match=r"a\.nii: "):
            read_image(file)
    else:
        found = both(file)
        expected = {"nibabel": nib, "ITK": itk}.get(followed, (voxels(), np.diag([0.7, 0.8, 2.5, 1])))
        np.testing.assert_array_equal(found[0], expected[0])
        corners = np.array([[x, y, z, 1] for x in (0, 4) for y in (0, 5) for z in (0, 6)]).T
        spacing = np.linalg.norm(expected[1][:3, :3], axis=0).min()
        assert np.linalg.norm((found[1] - expected[1])[:3] @ corners, axis=0).max() <= 0.1 * spacing
        axes = found[1][:3, :3] / np.linalg.norm(found[1][:3, :3], axis=0)
        np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)


@pytest.mark.parametrize("place", ["half a turn, oblique", "double oblique, flipped"])
def test_a_large_image_whose_two_places_differ_by_rounding(tmp_path, place):
    """Near half a turn single precision keeps the angle of a qform to some ten thousandths."""
    spacing, size = (0.4, 0.4, 3.0), (700, 700, 2)
    matrix = GEOMETRIES[place].copy()
    matrix[:3, :3] *= np.array(spacing) / np.linalg.norm(matrix[:3, :3], axis=0)
    file = nifti(tmp_path / "a.nii.gz", np.random.default_rng(0).integers(0, 9, size).astype(np.uint8), matrix, (1, 1))
    np.testing.assert_allclose(read(Source(file)).GetSpacing(), spacing, rtol=1e-5)


@pytest.mark.parametrize(("amount", "size"), [(0.004, (512, 512, 2)), (0.001, (4, 600, 600))])
def test_the_same_shear_moves_a_large_image_too_far(tmp_path, amount, size):
    """The voxels, not the angle, decide."""
    small = nifti(tmp_path / "small.nii.gz", voxels(), sheared(amount))
    large = nifti(tmp_path / "large.nii.gz", np.random.default_rng(0).integers(0, 9, size).astype(np.uint8), sheared(amount))
    assert why_copied(small) == why_copied(large) == STRAIGHTENED
    both(small)
    assert "right angles" in refused(large)


@pytest.mark.parametrize(
    ("ending", "unit"), [(".nrrd", "mm"), (".nhdr", "mm"), (".nrrd", "um"), (".mha", "mm"), (".MHA", "mm")]
)
def test_a_little_sheared_in_other_formats(tmp_path, ending, unit):
    """ITK reads these with the axes that they state."""
    for amount, taken in ((0.004, True), (0.2, False)):
        place = GEOMETRIES["oblique"].copy()
        place[:3, :3] = sheared(amount)[:3, :3] @ rotation(25, 0) @ np.diag((0.7, 0.8, 2.5))
        file = tmp_path / f"{amount}{ending}"
        if ending.lower() == ".mha":
            space = Space.of_affine(LPS @ GEOMETRIES["LPS"], SIZE[::-1])
            sitk.WriteImage(space.image(voxels().T), str(tmp_path / "a.mha"))
            lengths = np.linalg.norm(place[:3, :3], axis=0)
            stated = {
                "TransformMatrix": (place[:3, :3] / lengths).T.ravel(),
                "Offset": place[:3, 3],
                "ElementSpacing": lengths,
            }
            head, last, data = (tmp_path / "a.mha").read_bytes().partition(b"ElementDataFile")
            lines = [line for line in head.decode().splitlines() if line.split(" ")[0] not in stated]
            lines += [f"{key} = {' '.join(map(str, values))}" for key, values in stated.items()]
            file.write_bytes("\n".join([*lines, ""]).encode() + last + data)
        else:
            scale = 1 / {"mm": 1.0, "um": 1e-3}[unit]
            where = {"space directions": place[:3, :3].T * scale, "space origin": place[:3, 3] * scale}
            nrrd.write(str(file), voxels(), {"space": "LPS", **where, "space units": [unit] * 3})
        if not taken:
            assert "right angles" in refused(file)
            continue
        found = both(file)
        corners = np.array([[x, y, z, 1] for x in (0, 4) for y in (0, 5) for z in (0, 6)]).T
        assert 1e-3 < np.abs((found[1] - place)[:3] @ corners).max() <= 0.1 * 0.7
        axes = found[1][:3, :3] / np.linalg.norm(found[1][:3, :3], axis=0)
        np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
        assert why_copied(file) == (UNITS if unit == "um" else STRAIGHTENED if ending.islower() else ENDING)


def test_a_sheared_sform_beside_a_qform_that_agrees(tmp_path):
    file = nifti(tmp_path / "a.nii.gz", voxels(), sheared(0.002), (1, 1))
    assert why_copied(file) == ""  # ITK takes the qform
    assert same(both(file), by_itk(file))


def follow(message: str, file: Path, mended: Path, skip: Sequence[str] = ()) -> tuple[np.ndarray, np.ndarray]:
    """What a message says to type in Python, typed; without the lines that begin with one of ``skip``."""
    names = {"nibabel": nibabel, "numpy": np, "FILE": file, "NEW_FILE": mended}
    lines = re.findall(
        r"i = nibabel\.load\(FILE\)|a = numpy[^,;]*\(i\.dataobj\)(?: \+ \([^)]*\))?|i\.set_\w+\([^,]*, 1\)", message
    )
    save = re.search(r"nibabel\.save\(.*?NEW_FILE\)", message)
    assert lines
    assert save
    for line in [line for line in lines if not line.startswith(tuple(skip))] + [save[0]]:
        exec(line, names)
    return both(mended)


def test_remedies_do_what_they_say(tmp_path):
    file, mended = tmp_path / "a.nii", tmp_path / "b.nii"
    two_places(moved(1, 0, 0))(file)
    sform, qform = (follow(refused(file), file, mended, [skip]) for skip in ("i.set_sform", "i.set_qform"))
    assert same(sform, (voxels(), LPS @ GEOMETRIES["oblique"] @ moved(1, 0, 0)))
    assert same(qform, (voxels(), LPS @ GEOMETRIES["oblique"]))


@pytest.mark.parametrize("intercept", [-1024, 0.1])
@pytest.mark.parametrize("unit", ["mm", "micron"])
def test_remedies_for_the_slope_keep_values_and_units(tmp_path, unit, intercept):
    file, mended = tmp_path / "a.nii", tmp_path / "b.nii"
    patch(nifti(file, voxels(), GEOMETRIES["LPS"], unit=unit), 112, "<ff", 0, intercept)
    message, place = refused(file), LPS @ np.diag([MM[unit]] * 3 + [1]) @ GEOMETRIES["LPS"]
    added = re.search(r"a = numpy\S+ \+ \(\S+\)", message)
    assert same(follow(message.replace(added[0], ""), file, mended), (voxels(), place))
    assert same(follow(message, file, mended), (voxels() + np.float32(intercept), place))


@pytest.mark.parametrize("unit", ["mm", "micron"])
@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.float64])
def test_the_remedy_for_nifti_2_in_a_dataset_keeps_values_and_units(tmp_path, unit, dtype):
    array = voxels(dtype)
    file = nifti(tmp_path / "a.nii.gz", array, GEOMETRIES["oblique"], (1, 1), nibabel.Nifti2Image, unit)
    with pytest.raises(NnActiveError, match="NIfTI-2") as told:
        examined(file, by_itk=True)
    mended = tmp_path / "b.nii.gz"
    assert same(follow(str(told.value), file, mended), (array, LPS @ np.diag([MM[unit]] * 3 + [1]) @ GEOMETRIES["oblique"]))
    examined(mended, by_itk=True)


@pytest.mark.parametrize("words", [("pixel",) * 3, ("parsec",) * 3, ("um", "um", "")])
def test_units_that_are_none_are_refused(tmp_path, words):
    file = tmp_path / "a.nrrd"
    nrrd.write(str(file), voxels(), {"spacings": [1.0, 1, 2], "units": list(words)})
    assert "unit" in refused(file)


def test_spacing_by_the_sform(tmp_path):
    """ITK takes the spacing of pixdim, nibabel that of the sform, which is the place by the standard."""
    file = tmp_path / "a.nii"
    nifti(file, np.random.default_rng(0).integers(0, 9, (40, 40, 40)).astype(np.int16), GEOMETRIES["LPS"])
    assert why_copied(patch(file, 80, "<f", 0.7 * 1.001)) == ""  # 0.04 voxels at most
    assert why_copied(patch(file, 80, "<f", 0.7 * 1.005)) == SPACING
    np.testing.assert_allclose(read(Source(file)).GetSpacing(), (0.7, 0.8, 2.5), rtol=1e-6)


@pytest.mark.parametrize("name", ["a.hdr", "a.img"])
def test_pairs_are_checked_like_single_files(tmp_path, name):
    from nnactive_ext.images.nifti import header_problem, what_itk_hides

    place = GEOMETRIES["oblique"]
    image = nibabel.Nifti1Pair(voxels(), place)
    image.set_qform(place, 1)
    nibabel.save(image, tmp_path / "a.img")
    file = tmp_path / name
    assert header_problem(file) == what_itk_hides(file) == why_copied(file) == ""
    image.set_qform(place @ moved(2, 0, 0), 1)
    nibabel.save(image, tmp_path / "a.img")
    assert "two places" in header_problem(file)
    patch(tmp_path / "a.hdr", 112, "<ff", 0, 5)
    assert "scl_slope" in what_itk_hides(file)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("ending", [".nii", ".NII.GZ", ".Nii", ".nii.Gz"])
@pytest.mark.parametrize("unit", ["mm", "micron"])
def test_without_a_place_the_first_voxel_is_at_0(tmp_path, kind, ending, unit):
    file = nifti(tmp_path / f"a{ending}", voxels(), np.diag([0.7, 0.8, 2.5, 1]), (0, 0), kind, unit)
    assert same(both(file), (voxels(), np.diag([*np.array([0.7, 0.8, 2.5]) * MM[unit], 1])))
    assert not has_place(file)
    placed = nifti(tmp_path / f"b{ending}", voxels(), GEOMETRIES["oblique"], (1, 0), kind, unit)
    assert has_place(placed)


@pytest.mark.parametrize(
    ("endings", "to"), [((".mhd", ".raw"), ".MHD"), ((".nhdr", ".raw.gz"), ".NHDR"), ((".mhd", ".raw"), ".Mhd")]
)
def test_headers_in_capital_letters_find_their_voxels(tmp_path, endings, to):
    header, data = (tmp_path / f"a{ending}" for ending in endings)
    space = Space.of_affine(LPS @ GEOMETRIES["oblique"], SIZE[::-1])
    sitk.WriteImage(space.image(voxels().T), str(header), header.suffix == ".nhdr")
    assert data.exists()
    assert same(both(header.rename(tmp_path / f"a{to}")), (voxels(), LPS @ GEOMETRIES["oblique"]))


@pytest.mark.parametrize(
    ("offset", "layout", "value"), [(24, "<q", 2**31 - 1), (32, "<q", 2**40), (0, "<i", 0), (0, "<i", 348)]
)
def test_headers_of_nifti_2_that_cannot_be(tmp_path, offset, layout, value):
    """Of more voxels than the memory or the file holds, or of another size than the header has."""
    file = nifti(tmp_path / "a.nii", voxels(), GEOMETRIES["oblique"], kind=nibabel.Nifti2Image)
    both(file)
    refused(patch(file, offset, layout, value))
    with pytest.raises(NnActiveError, match=r"a\.nii: (truncated|damaged|its header)"):
        read_image(file)


@pytest.mark.parametrize("unit", ["mm", "um"])
@pytest.mark.parametrize("last", [False, True])
def test_a_list_axis_of_nrrd(tmp_path, unit, last):
    """As 3D Slicer writes segments that overlap; the voxels are numbers of several layers, of which no image has any."""
    layers, mm = np.stack([voxels(np.uint8, seed) for seed in (1, 2)]), {"mm": 1.0, "um": 1e-3}[unit]
    directions = [[np.nan] * 3, *np.diag([700.0, 800, 900])]
    kinds = ["list", "domain", "domain", "domain"]
    if last:
        layers, directions, kinds = np.moveaxis(layers, 0, -1), directions[1:] + directions[:1], kinds[1:] + kinds[:1]
    header = {"space": "LPS", "kinds": kinds, "space directions": np.array(directions), "space origin": [100, 200, 300]}
    nrrd.write(str(tmp_path / "a.nrrd"), layers, {**header, "space units": [unit] * 3})
    found = read_image(tmp_path / "a.nrrd")
    for seed, layer in zip((1, 2), found.layers, strict=True):
        np.testing.assert_array_equal(layer.T, voxels(np.uint8, seed))
    np.testing.assert_allclose(found.space.spacing, np.array([700, 800, 900]) * mm)
    np.testing.assert_allclose(found.space.origin, np.array([100, 200, 300]) * mm)


@pytest.mark.parametrize("slopes", [None, [1, 2, 0.5, 3]])
def test_dicom(tmp_path, slopes):
    import pydicom

    write_series(tmp_path / "images" / "p1", voxels().T[:4], slopes=slopes)
    image = read(find_cases(tmp_path / "images")["p1"].sources[0])
    slices = [pydicom.dcmread(file) for file in (tmp_path / "images" / "p1").iterdir()]
    axes = np.reshape(slices[0].ImageOrientationPatient, (2, 3)).astype(float)
    normal = np.cross(*axes)
    slices.sort(key=lambda data: np.dot(normal, np.array(data.ImagePositionPatient, float)))
    expected = [data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept) for data in slices]
    np.testing.assert_allclose(sitk.GetArrayFromImage(image), expected)
    for index, data in enumerate(slices):
        place = image.TransformIndexToPhysicalPoint((0, 0, index))
        np.testing.assert_allclose(place, np.array(data.ImagePositionPatient, float), atol=1e-3)
    rows, columns = map(float, slices[0].PixelSpacing)
    corner = np.array(slices[0].ImagePositionPatient, float) + axes[0] * columns * 2 + axes[1] * rows * 3
    np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((2, 3, 0)), corner, atol=1e-3)
