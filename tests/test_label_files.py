"""Label maps taken by value, from each format and writer, and each thing that is wrong with a file said in words."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.axes import align
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.label_files import ENDINGS, read_label_file

NAMES = {"background": 0, "liver": 1, "liver tumour": 2, "ignore": 3}
SPACE = Space((6, 7, 8), (0.7, 0.8, 2.5), (-12.5, 40.0, 3.25), (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0))


def some_labels(shape: tuple[int, ...] = SPACE.shape) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4, shape).astype(np.uint8)


def write(file: Path, array: np.ndarray, space: Space = SPACE, compress: bool = True) -> Path:
    sitk.WriteImage(space.image(array), str(file), compress)
    return file


def refused(file: Path, names=NAMES) -> str:
    with pytest.raises(NnActiveError) as caught:
        read_label_file(file, names)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert message.endswith(".")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("ending", [ending for ending in ENDINGS if ending != ".seg.nrrd"])
def test_what_itk_writes(tmp_path, ending, compress):
    labels = some_labels()
    folder = tmp_path / "Süd 2 ö"
    folder.mkdir()
    file = write(folder / f"leber größer 病{ending}", labels, compress=compress)
    written = {path: path.read_bytes() for path in folder.iterdir()}
    read = read_label_file(file, NAMES)
    assert {path: path.read_bytes() for path in folder.iterdir()} == written
    assert read.labels.dtype == np.uint8
    np.testing.assert_array_equal(read.labels, labels)
    turn = align(SPACE, read.space)
    assert (turn.axes, turn.flipped, turn.start) == ((0, 1, 2), (False,) * 3, (0, 0, 0))
    assert (read.by_name, read.whole) == (False, True)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint16, np.float32, np.float64])
def test_any_type_of_number_and_what_float_storage_leaves(tmp_path, dtype):
    labels = some_labels()
    noise = np.where(labels > 0, 1e-4, 0) if np.dtype(dtype).kind == "f" else 0
    read = read_label_file(write(tmp_path / "a.mha", (labels + noise).astype(dtype)), NAMES)
    np.testing.assert_array_equal(read.labels, labels)
    assert read.labels.dtype == np.uint8


def test_two_bytes_where_the_dataset_needs_them(tmp_path):
    names = {"background": 0, "vessel": 300, "ignore": 301}
    labels = np.random.default_rng(1).choice([0, 300, 301], SPACE.shape).astype(np.uint16)
    read = read_label_file(write(tmp_path / "a.nrrd", labels), names)
    assert read.labels.dtype == np.uint16
    np.testing.assert_array_equal(read.labels, labels)


def test_nibabel_in_its_own_axes_and_with_a_scale(tmp_path):
    """Viewers save scaled integers; world is RAS there."""
    labels = some_labels((5, 6, 7))  # x, y, z
    affine = np.array([[0, -2.0, 0, 10], [1.5, 0, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(labels.astype(np.float32), affine)
    image.set_data_dtype(np.int16)  # nibabel then chooses a scale
    nibabel.save(image, tmp_path / "a.nii")
    read = read_label_file(tmp_path / "a.nii", NAMES)
    assert nibabel.load(tmp_path / "a.nii").dataobj.slope != 1
    np.testing.assert_array_equal(read.labels.transpose(), labels)
    world = np.diag([-1, -1, 1, 1]) @ affine @ [1, 2, 3, 1]
    np.testing.assert_allclose(read.space.to_world((3, 2, 1)), world[:3], atol=1e-4)


def test_a_trailing_axis_of_one_is_none(tmp_path):
    labels = some_labels((5, 6, 7))
    nibabel.save(nibabel.Nifti1Image(labels[..., None], np.eye(4)), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_label_file(tmp_path / "a.nii.gz", NAMES).labels.transpose(), labels)


def test_pynrrd_in_ras(tmp_path):
    labels = some_labels((5, 6, 7))
    header = {"space": "right-anterior-superior", "space directions": np.diag([2.0, 3.0, 4.0]), "space origin": [5.0, 6.0, 7.0]}
    nrrd.write(str(tmp_path / "a.nrrd"), labels, header)
    read = read_label_file(tmp_path / "a.nrrd", NAMES)
    np.testing.assert_array_equal(read.labels.transpose(), labels)
    np.testing.assert_allclose(read.space.to_world((3, 2, 1)), (-(5 + 2), -(6 + 6), 7 + 12), atol=1e-6)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([".nii.gz", ".nii", ".nrrd", ".mha"]),
    st.tuples(*[st.integers(1, 6)] * 3),
    st.permutations(range(3)),
    st.tuples(*[st.booleans()] * 3),
    st.integers(0, 2**32 - 1),
)
def test_every_voxel_stays_where_it_was(tmp_path, ending, shape, order, flips, seed):
    """A crop, its axes reordered and flipped by a viewer, against the array that was sent out."""
    rng = np.random.default_rng(seed)
    sent = rng.integers(0, 4, SPACE.shape).astype(np.uint8)
    start = [int(rng.integers(0, n - min(n, size) + 1)) for n, size in zip(SPACE.shape, shape, strict=True)]
    place = tuple(slice(a, a + size) for a, size in zip(start, shape, strict=True))
    crop = Space(sent[place].shape, SPACE.spacing, SPACE.to_world(start), SPACE.direction)
    saved = sitk.Flip(sitk.PermuteAxes(crop.image(sent[place]), list(order)), list(flips))
    file = tmp_path / f"{ending[1:]}{ending}"  # not a.nii and a.nii.gz, which cannot be side by side
    sitk.WriteImage(saved, str(file))
    read = read_label_file(file, NAMES)
    turn = align(SPACE, read.space)
    assert list(turn.start) == start
    np.testing.assert_array_equal(turn.turned(read.labels), sent[place])


def test_two_files_of_one_name(tmp_path):
    """ITK takes the header of the compressed one and the voxels of the other."""
    ours, theirs = np.ones(SPACE.shape, np.uint8), np.full(SPACE.shape, 2, np.uint8)
    compressed, plain = write(tmp_path / "a.nii.gz", ours), write(tmp_path / "a.nii", theirs)
    assert (sitk.GetArrayFromImage(sitk.ReadImage(str(compressed))) == theirs).all()  # else the rule is not needed any more
    assert "a.nii lies beside it" in refused(compressed)
    np.testing.assert_array_equal(read_label_file(plain, NAMES).labels, theirs)
    plain.rename(tmp_path / "b.nii")
    np.testing.assert_array_equal(read_label_file(compressed, NAMES).labels, ours)


def test_values_that_are_no_label(tmp_path):
    labels = np.zeros(SPACE.shape, np.int16)
    labels[0, 0, 0] = 7
    labels[3:, 0, :2] = -1
    message = refused(write(tmp_path / "a.nii.gz", labels))
    assert "-1 (6 voxels), 7 (1 voxel)." in message
    assert "0 'background', 1 'liver', 2 'liver tumour', 3 'ignore'" in message


def test_values_between_labels(tmp_path):
    labels = np.ones(SPACE.shape, np.float32)
    labels[2, 2, 2] = 1.002
    assert "1.002 (1 voxel)." in refused(write(tmp_path / "a.nii.gz", labels))


def test_an_image_instead_of_a_label_map_is_not_listed_whole(tmp_path):
    message = refused(write(tmp_path / "a.nrrd", np.random.default_rng(0).normal(0, 100, SPACE.shape)))
    assert "and 331 more" in message
    assert len(message) < 500


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".nii", ".nii.gz"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_no_number(tmp_path, ending, bad):
    labels = some_labels().astype(np.float32)
    labels[1, 1, 1:3] = bad
    assert "2 voxels are NaN or infinite" in refused(write(tmp_path / f"a{ending}", labels))


def test_no_such_file_a_folder_and_endings(tmp_path):
    assert "no such file" in refused(tmp_path / "a.nii.gz")
    (tmp_path / "b.nrrd").mkdir()
    assert "a folder" in refused(tmp_path / "b.nrrd")
    (tmp_path / "c.mrb").write_bytes(b"PK")
    assert ".seg.nrrd" in refused(tmp_path / "c.mrb")


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("content", [b"", b"neither this nor that " * 30])
def test_no_image(tmp_path, ending, content):
    file = tmp_path / f"a{ending}"
    file.write_bytes(gzip.compress(content) if content and ending.endswith("gz") else content)
    refused(file)


def test_a_mesh_or_picture_under_a_false_name(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((5, 6), np.uint8)), str(tmp_path / "a.png"))
    (tmp_path / "a.png").rename(tmp_path / "a.nrrd")
    refused(tmp_path / "a.nrrd")


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".nii.gz", ".nii"])
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_cut_short(tmp_path, ending, compress, part):
    """ITK fills up some of these with zeros, which would be background."""
    file = write(tmp_path / f"a{ending}", some_labels((20, 20, 20)), compress=compress)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * part)])
    refused(file)


@pytest.mark.parametrize(("ending", "data"), [(".mhd", ".zraw"), (".mhd", ".raw"), (".nhdr", ".raw.gz"), (".nhdr", ".raw")])
def test_voxels_in_a_second_file_that_is_cut_short_or_gone(tmp_path, ending, data):
    file = write(tmp_path / f"a{ending}", some_labels((20, 20, 20)), compress=data != ".raw")
    voxels = tmp_path / f"a{data}"
    whole = voxels.read_bytes()
    assert read_label_file(file, NAMES).labels.any()
    voxels.write_bytes(whole[: len(whole) // 2])
    refused(file)
    voxels.unlink()
    refused(file)


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".nii.gz"])
def test_a_flipped_bit(tmp_path, ending):
    """Inside compressed voxels, where ITK may go on with zeros."""
    file = write(tmp_path / f"a{ending}", some_labels((20, 20, 20)))
    data = bytearray(file.read_bytes())
    data[len(data) * 3 // 4] ^= 0x10
    file.write_bytes(data)
    refused(file)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 6, 2)])
def test_other_dimensions(tmp_path, shape):
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.uint8), np.eye(4)), tmp_path / "a.nii.gz")
    assert f"a {len(shape)}D image" in refused(tmp_path / "a.nii.gz")


def test_colours(tmp_path):
    image = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    for ending in (".nii.gz", ".nrrd", ".mha"):
        sitk.WriteImage(image, str(tmp_path / f"a{ending}"))
        assert "3 numbers per voxel" in refused(tmp_path / f"a{ending}")


def test_complex_numbers(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.complex64), np.eye(4)), tmp_path / "a.nii")
    assert "complex" in refused(tmp_path / "a.nii")


def test_axes_at_no_right_angles(tmp_path):
    affine = np.eye(4)
    affine[0, 1] = 0.3
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.uint8), affine)
    image.set_qform(None, 0)
    nibabel.save(image, tmp_path / "a.nii.gz")
    assert "right angles" in refused(tmp_path / "a.nii.gz")


def test_itk_is_left_as_it_was(tmp_path):
    file = write(tmp_path / "a.nii.gz", some_labels())
    for shown in (False, True):
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
        read_label_file(file, NAMES)
        assert sitk.ProcessObject.GetGlobalWarningDisplay() is shown
