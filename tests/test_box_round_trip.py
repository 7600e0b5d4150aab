"""Boxes go out as files and come back to the same voxels: any geometry, any margin, saved again as viewers save."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
import scripted_expert as expert
import SimpleITK as sitk
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.boxed import Boxed, cut
from nnactive_ext.geometry.axes import Turn
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.headers import PLAIN, REORIENTING, header_space
from nnactive_ext.images.label_files import read_label_file
from nnactive_ext.images.turning import turned_image
from nnactive_ext.images.writing import write_image
from nnactive_ext.intake.label_maps import on_lattice
from nnactive_ext.labelling.tasks import Task, cropped

IGNORE = 4
NAMES = {"background": 0, "organ": 1, "lesion": 2, "vessel": 3, "ignore": IGNORE}
CODES = ["LPS", "RAS", "LAS", "RPI", "SAR", "PIR", "ASL", "IPL", "LSA", "SRP"]
slow_files = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def directions(draw) -> np.ndarray:
    """Axes permuted and flipped, and half of the time oblique."""
    turn = np.diag(draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))) @ np.eye(3)[list(draw(st.permutations(range(3))))]
    if draw(st.booleans()):
        angles = draw(st.tuples(*[st.floats(-44, 44)] * 3))
        turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ turn
    return turn


@dataclass(frozen=True)
class Chosen:
    """An image as stored, a box in the array of its reader, the margin around it, and a seed for its voxels. ``turn``: of the
    copy that the reader reads instead of the user's file; None: it reads that file."""

    stored: Space
    reader: str
    start: tuple[float, float, float]
    part: tuple[float, float, float]
    margin: tuple[int, int, int]
    seed: int
    turn: Turn | None

    def image(self) -> sitk.Image:
        """No two voxels are alike in their surroundings; in half of the images most are background."""
        rng = np.random.default_rng(self.seed)
        painted = (0.6, 0.04)[self.seed % 2] / 3
        return self.stored.image(rng.choice(4, self.stored.shape, p=[1 - 3 * painted, *[painted] * 3]).astype(np.uint8))

    def patch(self, shape) -> Patch:
        start = [int(f * n) for f, n in zip(self.start, shape, strict=True)]
        size = [max(1, round(f * (n - a))) for f, n, a in zip(self.part, shape, start, strict=True)]
        return Patch("case", tuple(start), tuple(size))


turns = st.builds(Turn, st.permutations(range(3)).map(tuple), st.tuples(*[st.booleans()] * 3))
shares = st.tuples(*[st.floats(0, 0.999)] * 3)
cases = st.builds(
    Chosen,
    st.builds(
        Space,
        # One axis may be long: there the rounding of headers adds up.
        st.tuples(st.sampled_from([2, 9, 14, 500]), st.integers(2, 13), st.integers(2, 13)),
        st.tuples(*[st.floats(0.3, 6)] * 3),
        st.tuples(*[st.floats(-600, 600)] * 3),
        directions().map(lambda turn: tuple(turn.ravel().tolist())),
    ),
    st.sampled_from([PLAIN, REORIENTING]),
    shares,
    shares,
    st.tuples(*[st.integers(0, 6)] * 3),
    st.integers(0, 2**31),
    st.one_of(st.none(), turns),
)
endings = st.sampled_from([".nii.gz", ".nii", ".nrrd", ".mha"])


@dataclass(frozen=True)
class Out:
    """A box as the expert gets it: ``crop`` of ``truth`` (z, y, x), the case's array; ``space`` is its lattice by its file."""

    folder: Path
    truth: np.ndarray
    space: Space
    task: Task
    crop: Patch
    box: Patch

    def exported(self, ending: str) -> sitk.Image:
        """The answer to the task in a file, as a viewer has read it."""
        labels = np.full(self.crop.size, IGNORE, np.uint8)
        labels[self.box.slices] = self.truth[self.task.patch.slices]
        file = self.folder / f"exported{ending}"
        sitk.WriteImage(self.space.crop(self.crop).image(labels), str(file), True)
        return sitk.ReadImage(str(file))

    def returned(self, file: Path) -> Boxed | None:
        return cut(file, read_label_file(file, NAMES), self.space, [self.task], IGNORE).get("c000_001_case")


def send(chosen: Chosen, folder: Path, ending: str) -> Out:
    """Through the image's file, or a turned copy: its header as rounded there, and its array by nnU-Net's reader."""
    from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name

    file = folder / f"image{'.nii.gz' if ending == '.nii' else ending}"
    sitk.WriteImage(chosen.image(), str(file), True)
    if chosen.turn:
        copy = folder / "copy.nii.gz"
        write_image(copy, turned_image(sitk.ReadImage(str(file)), chosen.turn))
        file = copy
    array, properties = recursive_find_reader_writer_by_name(chosen.reader)().read_images([str(file)])
    space, ours = header_space(file, chosen.reader)
    assert space.shape == array.shape[1:]
    for key, value in properties["sitk_stuff"].items():
        assert ours["sitk_stuff"][key] == value or np.allclose(ours["sitk_stuff"][key], value, rtol=0, atol=1e-6), key
    np.testing.assert_allclose(ours["spacing"], properties["spacing"])
    patch = chosen.patch(space.shape)
    crop, box = cropped(patch, space.shape, chosen.margin)
    return Out(folder, array[0].astype(np.uint8), space, Task("c000_001_case", 0, 1, patch), crop, box)


def save(image: sitk.Image, file: Path) -> Path:
    sitk.WriteImage(image, str(file), True)
    return file


def as_nibabel(image: sitk.Image, file: Path) -> Path:
    """Turned to the axes closest to RAS by another library, whose affine is rounded anew."""
    loaded = nibabel.as_closest_canonical(nibabel.load(save(image, file.with_name("before.nii.gz"))))
    nibabel.save(nibabel.Nifti1Image(np.asarray(loaded.dataobj), loaded.affine), file)
    return file


@slow_files
@given(cases, endings, endings, st.sampled_from([*CODES, "as it is", "nibabel"]))
def test_whatever_the_file_and_the_order_of_its_axes(chosen, image_ending, label_ending, turn):
    with tempfile.TemporaryDirectory() as name:
        out = send(chosen, Path(name), image_ending)
        image = out.exported(label_ending)
        if turn == "nibabel":
            file = as_nibabel(image, out.folder / "returned.nii.gz")
        else:
            turned = image if turn == "as it is" else sitk.DICOMOrient(image, turn)
            file = save(turned, out.folder / f"returned{label_ending}")
        boxed = out.returned(file)
    np.testing.assert_array_equal(boxed.labels, out.truth[out.task.patch.slices])
    assert (boxed.missing, boxed.outside) == (0, 0)


@pytest.mark.slow
@slow_files
@given(cases, endings, st.sampled_from(CODES), st.tuples(*[st.integers(0, 5)] * 6))
def test_padded_with_ignore(chosen, ending, code, pad):
    """Also beyond the image's borders."""
    with tempfile.TemporaryDirectory() as name:
        out = send(chosen, Path(name), ending)
        padded = sitk.ConstantPad(sitk.DICOMOrient(out.exported(ending), code), pad[:3], pad[3:], IGNORE)
        boxed = out.returned(save(padded, out.folder / f"returned{ending}"))
    np.testing.assert_array_equal(boxed.labels, out.truth[out.task.patch.slices])
    assert (boxed.missing, boxed.outside) == (0, 0)


@slow_files
@given(cases, endings, st.sampled_from(CODES), st.lists(shares, min_size=2, max_size=2))
def test_cut_down_by_the_viewer(chosen, ending, code, corners):
    """What is not in the file is ``ignore`` in the answer; a file that misses the box is no answer."""
    with tempfile.TemporaryDirectory() as name:
        out = send(chosen, Path(name), ending)
        low = [int(share * n) for share, n in zip(corners[0], out.crop.size, strict=True)]
        size = [max(1, round(f * (n - a))) for f, n, a in zip(corners[1], out.crop.size, low, strict=True)]
        image = sitk.RegionOfInterest(out.exported(ending), size[::-1], low[::-1])
        boxed = out.returned(save(sitk.DICOMOrient(image, code), out.folder / f"returned{ending}"))
    kept = np.zeros(out.space.shape, bool)
    part = tuple(slice(a + b, a + b + n) for a, b, n in zip(out.crop.start, low, size, strict=True))
    kept[part] = True
    kept = kept[out.task.patch.slices]
    if not kept.any():
        assert boxed is None
    else:
        np.testing.assert_array_equal(boxed.labels, np.where(kept, out.truth[out.task.patch.slices], IGNORE))
        assert (boxed.missing, boxed.outside) == ((~kept).sum(), 0)


@slow_files
@given(cases, endings, st.sampled_from(CODES))
def test_painted_all_over_and_full_size(chosen, ending, code):
    """The label map of the whole image, on the image's own grid or turned: the box is taken, the rest is counted."""
    with tempfile.TemporaryDirectory() as name:
        out = send(chosen, Path(name), ending)
        whole = sitk.ReadImage(str(out.folder / f"image{'.nii.gz' if ending == '.nii' else ending}"))
        for image in (whole, sitk.DICOMOrient(whole, code)):
            boxed = out.returned(save(image, out.folder / f"returned{ending}"))
            np.testing.assert_array_equal(boxed.labels, out.truth[out.task.patch.slices])
            assert boxed.missing == 0
            assert boxed.outside == np.count_nonzero(out.truth) - np.count_nonzero(out.truth[out.task.patch.slices])


@slow_files
@given(cases, endings)
def test_as_slicer_saves(chosen, ending):
    """Layers, shuffled values, cut to what is painted; what is not painted is background."""
    with tempfile.TemporaryDirectory() as name:
        out = send(chosen, Path(name), ending)
        image = out.exported(ending)
        assume((sitk.GetArrayViewFromImage(image) != 0).any())
        seen = expert.Seen(
            "c000_001_case", out.folder, out.folder / "x", image, sitk.GetArrayFromImage(image), out.box.slices, NAMES
        )
        boxed = out.returned(expert.seg_nrrd(seen, np.random.default_rng(chosen.seed)))
    np.testing.assert_array_equal(boxed.labels, out.truth[out.task.patch.slices])
    assert (boxed.missing, boxed.outside) == (0, 0)


@slow_files
@given(cases, endings, st.sampled_from([*CODES, "nibabel"]))
def test_label_maps_given_at_the_start(chosen, ending, code):
    """The whole image's, by any program: on the lattice of the reader's array, voxel for voxel. Less than all is refused."""
    with tempfile.TemporaryDirectory() as name:
        out = send(chosen, Path(name), ending)
        whole = sitk.ReadImage(str(out.folder / f"image{'.nii.gz' if ending == '.nii' else ending}"))
        if code == "nibabel":
            file = as_nibabel(whole, out.folder / "returned.nii.gz")
        else:
            file = save(sitk.DICOMOrient(whole, code), out.folder / f"returned{ending}")
        np.testing.assert_array_equal(on_lattice(file, NAMES, out.space), out.truth)
        save(whole[1:, :, :], file)
        with pytest.raises(NnActiveError, match="covers only a part"):
            on_lattice(file, NAMES, out.space)
