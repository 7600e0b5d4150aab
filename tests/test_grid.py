"""Boxes between image and network voxels, and partial labels as files with the geometry of their image."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import assume, given
from hypothesis import strategies as st

from nnactive_ext.geometry.grid import Grid
from nnactive_ext.geometry.patch import Patch, clipped_size
from nnactive_ext.labelling.annotators import SimulatedAnnotator
from nnactive_ext.labelling.labels import write_label
from nnactive_ext.nnunet.dataset import Dataset

AXES = range(3)


@st.composite
def grids(draw, scaled: bool) -> Grid:
    """Any transpose, any crop, and (``scaled``) 0.2 to 5 network voxels per image voxel, other along each axis."""
    transpose = draw(st.permutations(AXES))
    shape = [draw(st.integers(4, 30)) for _ in AXES]
    moved = [shape[source] for source in transpose]
    start = [draw(st.integers(0, n - 1)) for n in moved]
    size = [draw(st.integers(1, n - a)) for n, a in zip(moved, start, strict=True)]
    scales = [draw(st.floats(0.2, 5)) if scaled else 1.0 for _ in AXES]
    network = [max(1, round(n * s)) for n, s in zip(size, scales, strict=True)]
    return Grid(tuple(shape), tuple(transpose), tuple(start), tuple(size), tuple(network))


@st.composite
def boxes(draw, grid: Grid, inside_crop: bool = True) -> Patch:
    low, extent = [0, 0, 0], [0, 0, 0]
    for axis, source in enumerate(grid.transpose):
        low[source] = grid.crop_start[axis] if inside_crop else 0
        extent[source] = grid.crop_size[axis] if inside_crop else grid.image_shape[source]
    size = [draw(st.integers(1, n)) for n in extent]
    start = [a + draw(st.integers(0, n - s)) for a, n, s in zip(low, extent, size, strict=True)]
    return Patch("case", tuple(start), tuple(size))


def coarser(grid: Grid, axis: int) -> float:
    """In image voxels, the larger of an image voxel and a network voxel."""
    return max(1.0, 1 / grid.scale[axis])


def test_the_smallest_network_box_by_hand():
    """1.5 and 0.5 network voxels per image voxel: voxels 1 to 3 begin and end in the middle of a network voxel."""
    grid = Grid((10, 10, 12), (0, 1, 2), (0, 0, 2), (10, 10, 10), (15, 5, 10))
    moved = grid.to_network(Patch("case", (1, 1, 3), (3, 3, 3)))
    assert moved == Patch("case", (1, 0, 1), (5, 2, 3))  # 1.5 to 6, 0.5 to 2, 1 to 4


@given(grids(scaled=False), st.data())
def test_at_scale_one_a_box_comes_back_exactly(grid, data):
    patch = data.draw(boxes(grid))
    moved = grid.to_network(patch)
    assert moved.voxels == patch.voxels
    assert moved.size == grid.network_size(patch.size)
    assert grid.to_image(moved, patch.size) == patch


@given(grids(scaled=False), st.data())
def test_at_scale_one_a_box_goes_where_nnunet_puts_its_voxels(grid, data):
    """Against nnU-Net's own transposing and cropping of an image that is not 0 in the crop, and a painted box."""
    from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero

    patch = data.draw(boxes(grid, inside_crop=False))
    moved_shape = [grid.image_shape[source] for source in grid.transpose]
    image = np.zeros((1, *moved_shape), np.float32)
    image[0][tuple(slice(a, a + n) for a, n in zip(grid.crop_start, grid.crop_size, strict=True))] = 1
    painted = np.zeros(grid.image_shape, np.int16)
    painted[patch.slices] = 1
    _, cropped, bbox = crop_to_nonzero(image, painted.transpose(grid.transpose)[None].copy())
    properties = {"bbox_used_for_cropping": bbox, "shape_before_cropping": tuple(moved_shape)}
    ours = Grid.from_properties(properties, grid.transpose, cropped.shape[1:])
    assert ours == grid
    moved, found = ours.to_network(patch), np.argwhere(cropped[0] == 1)
    if len(found):
        assert moved.start == tuple(found.min(0))
        assert moved.stop == tuple(found.max(0) + 1)
    else:
        assert moved is None


@given(grids(scaled=True), st.data())
def test_the_centre_comes_back_within_the_coarser_voxel(grid, data):
    patch = data.draw(boxes(grid))
    back = grid.to_image(grid.to_network(patch), patch.size)
    assert back.size == patch.size
    assert back.inside(grid.image_shape)
    for axis, source in enumerate(grid.transpose):
        assert abs(back.start[source] - patch.start[source]) <= coarser(grid, axis)


@given(grids(scaled=True), st.data())
def test_the_network_box_covers_the_whole_box_and_hardly_more(grid, data):
    patch = data.draw(boxes(grid, inside_crop=False))
    moved = grid.to_network(patch)
    spans = []
    for axis, source in enumerate(grid.transpose):
        inside = range(
            max(patch.start[source], grid.crop_start[axis]),
            min(patch.stop[source], grid.crop_start[axis] + grid.crop_size[axis]),
        )
        centres = [(voxel + 0.5 - grid.crop_start[axis]) * grid.scale[axis] for voxel in inside]
        spans.append(centres)
    if not all(spans):
        assert moved is None
        return
    assert moved.inside(grid.network_shape)
    for axis, centres in enumerate(spans):
        assert moved.start[axis] <= centres[0] <= centres[-1] <= moved.stop[axis]
        half = grid.scale[axis] / 2
        assert moved.start[axis] > centres[0] - half - 1
        assert moved.stop[axis] < centres[-1] + half + 1


@given(grids(scaled=True), st.data())
def test_any_network_box_gives_a_box_of_the_size_asked_for_inside_the_image(grid, data):
    size = [data.draw(st.integers(1, n)) for n in grid.network_shape]
    start = [data.draw(st.integers(0, n - s)) for n, s in zip(grid.network_shape, size, strict=True)]
    asked = data.draw(st.tuples(*[st.integers(1, 40)] * 3))
    back = grid.to_image(Patch("case", tuple(start), tuple(size)), asked)
    assert back.size == clipped_size(asked, grid.image_shape)
    assert back.inside(grid.image_shape)
    assert back == grid.to_image(Patch("case", tuple(start), tuple(size)), asked)


@given(grids(scaled=True), st.tuples(*[st.integers(1, 40)] * 3))
def test_the_size_in_network_voxels_is_the_nearest_that_fits(grid, size):
    found = grid.network_size(size)
    for axis, source in enumerate(grid.transpose):
        exact = min(max(1.0, size[source] * grid.scale[axis]), grid.network_shape[axis])
        assert abs(found[axis] - exact) <= 0.5
        assert 1 <= found[axis] <= grid.network_shape[axis]


def overlap(first: Patch, second: Patch, axis: int) -> int:
    return min(first.stop[axis], second.stop[axis]) - max(first.start[axis], second.start[axis])


@given(grids(scaled=True), st.data())
def test_a_candidate_that_avoids_annotated_boxes_touches_them_by_rounding_at_most(grid, data):
    """A candidate of the query's size disjoint from an annotated box on the network's grid overlaps it on the image grid
    by at most half a network voxel and half an image voxel, along some axis; the merge then refuses real overlaps."""
    annotated = data.draw(boxes(grid, inside_crop=False))
    asked = data.draw(boxes(grid)).size
    size = grid.network_size(asked)
    start = tuple(data.draw(st.integers(0, n - s)) for n, s in zip(grid.network_shape, size, strict=True))
    candidate, taken = Patch("case", start, size), grid.to_network(annotated)
    assume(taken is None or not candidate.overlaps(taken))
    back = grid.to_image(candidate, asked)
    slack = [(0.5 / grid.scale[axis] + 0.51, source) for axis, source in enumerate(grid.transpose)]
    assert any(overlap(back, annotated, source) <= allowed for allowed, source in slack)


@given(grids(scaled=False), st.data())
def test_at_scale_one_a_candidate_that_avoids_annotated_boxes_overlaps_none(grid, data):
    annotated, asked = data.draw(boxes(grid, inside_crop=False)), data.draw(boxes(grid)).size
    size = grid.network_size(asked)
    start = tuple(data.draw(st.integers(0, n - s)) for n, s in zip(grid.network_shape, size, strict=True))
    candidate, taken = Patch("case", start, size), grid.to_network(annotated)
    assume(taken is None or not candidate.overlaps(taken))
    assert not grid.to_image(candidate, asked).overlaps(annotated)


def test_by_hand():
    """Axes turned from (z, y, x) to (x, z, y), one voxel cut off in front, y doubled by resampling."""
    grid = Grid((10, 8, 6), (2, 0, 1), (1, 0, 0), (5, 10, 8), (5, 10, 16))
    moved = grid.to_network(Patch("a", (3, 2, 2), (4, 3, 2)))
    assert moved == Patch("a", (1, 3, 4), (2, 4, 6))
    assert grid.network_size((4, 3, 2)) == (2, 4, 6)
    assert grid.to_image(moved, (4, 3, 2)) == Patch("a", (3, 2, 2), (4, 3, 2))
    assert grid.to_network(Patch("a", (3, 2, 0), (4, 3, 1))) is None
    assert grid.to_network(Patch("a", (3, 2, 0), (4, 3, 2))) == Patch("a", (0, 3, 4), (1, 4, 6))


# Files


SHAPE = (9, 12, 15)
BOXES = [Patch("a", (1, 2, 3), (4, 5, 6)), Patch("a", (6, 8, 0), (3, 4, 2))]


@pytest.fixture
def folder(tmp_path):
    for part in ("imagesTr", "labelsTr", "out"):
        (tmp_path / part).mkdir()
    return tmp_path


def arrays():
    rng = np.random.default_rng(0)
    return rng.normal(size=SHAPE).astype(np.float32), rng.integers(0, 3, SHAPE).astype(np.uint8)


def dataset(folder, ending, reader=None) -> Dataset:
    content = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "organ": 1, "lesion": 2},
        "numTraining": 1,
        "file_ending": ending,
        **({"overwrite_image_reader_writer": reader} if reader else {}),
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return Dataset(folder)


def annotate(folder, made: Dataset) -> SimpleNamespace:
    """The annotator's answer written to ``out``, read back with the dataset's reader, and what it should be."""
    partial, properties = SimulatedAnnotator(made).annotate("a", BOXES)
    file = folder / "out" / f"a{made.file_ending}"
    write_label(file, partial, made.reader_writer, properties)
    reference, _ = made.reader_writer.read_seg(str(made.cases["a"].label))
    inside = np.zeros(reference.shape[1:], bool)
    for box in BOXES:
        inside[box.slices] = True
    read, _ = made.reader_writer.read_seg(str(file))
    return SimpleNamespace(file=file, read=read[0], wanted=np.where(inside, reference[0], 3), inside=inside)


@pytest.mark.parametrize("ending", [".nii.gz", ".mha", ".nrrd"])
def test_partial_labels_have_the_geometry_of_an_oblique_image(folder, ending):
    image, labels = arrays()
    a, b = 0.3, -0.5
    turn = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]]
    )
    for array, file in ((image, f"imagesTr/a_0000{ending}"), (labels, f"labelsTr/a{ending}")):
        picture = sitk.GetImageFromArray(array)
        picture.SetSpacing((0.7, 0.9, 3.3))
        picture.SetOrigin((-123.4, 56.7, 890.1))
        picture.SetDirection(turn.ravel().tolist())
        sitk.WriteImage(picture, str(folder / file))
    done = annotate(folder, dataset(folder, ending))
    assert np.array_equal(done.read, done.wanted)
    source, written = (sitk.ReadImage(str(f)) for f in (folder / "imagesTr" / f"a_0000{ending}", done.file))
    assert written.GetSize() == source.GetSize()
    for get in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(written, get)(), getattr(source, get)(), rtol=1e-6, atol=1e-6)
    # Without our reader: the very voxels, as ITK numbers them.
    raw = sitk.GetArrayFromImage(written)
    assert np.array_equal(raw != 3, done.inside)
    assert np.array_equal(raw[done.inside], labels[done.inside])


@pytest.mark.parametrize(
    ("codes", "angle"), [("RAS", 0.0), ("LPS", 0.0), ("LAI", 0.0), ("PIR", 0.0), ("SLA", 0.2), ("ARS", -0.3)]
)
def test_partial_labels_with_a_reader_that_turns_the_axes(folder, codes, angle):
    """``NibabelIOWithReorient``: patches are on the turned axes, files stay on the image's own."""
    image, labels = arrays()
    turn = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    straight = np.zeros((3, 3))
    for axis, code in enumerate(codes):
        straight[["LR", "PA", "IS"].index(next(p for p in ("LR", "PA", "IS") if code in p)), axis] = 1 if code in "RAS" else -1
    affine = np.eye(4)
    affine[:3, :3] = turn @ straight @ np.diag([0.7, 0.9, 3.3])
    affine[:3, 3] = (-12.5, 33.25, 80.5)
    # The reader gives (z, y, x) of the turned image; choose the file's axes so that this shape is SHAPE.
    order = nibabel.orientations.io_orientation(affine)
    back = nibabel.orientations.ornt_transform(nibabel.orientations.axcodes2ornt("RAS"), order)
    for array, file in ((image, "imagesTr/a_0000.nii.gz"), (labels, "labelsTr/a.nii.gz")):
        on_file = nibabel.orientations.apply_orientation(array.transpose(2, 1, 0), back)
        nibabel.save(nibabel.Nifti1Image(on_file, affine), folder / file)
    made = dataset(folder, ".nii.gz", "NibabelIOWithReorient")
    read, _ = made.reader_writer.read_seg(str(folder / "labelsTr" / "a.nii.gz"))
    assert np.array_equal(read[0], labels)  # what this test believes about the reader
    done = annotate(folder, made)
    assert np.array_equal(done.read, done.wanted)
    source, written = nibabel.load(folder / "imagesTr" / "a_0000.nii.gz"), nibabel.load(done.file)
    assert written.shape == source.shape
    np.testing.assert_allclose(written.affine, source.affine, atol=1e-5)
    raw = np.asarray(written.dataobj)
    assert np.count_nonzero(raw != 3) == sum(box.voxels for box in BOXES)
    reference = np.asarray(nibabel.load(folder / "labelsTr" / "a.nii.gz").dataobj)
    assert np.array_equal(raw[raw != 3], reference[raw != 3])
    wanted = nibabel.orientations.apply_orientation(done.inside.transpose(2, 1, 0), back)
    assert np.array_equal(raw != 3, wanted)
