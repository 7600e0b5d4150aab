"""World geometry against SimpleITK and nibabel: any spacing, origin, direction, crop, flip and order of axes."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from nnactive_ext.geometry.axes import align
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.geometry.space import Space

spacings = st.tuples(*[st.floats(0.2, 6)] * 3)
origins = st.tuples(*[st.floats(-300, 300)] * 3)
shapes = st.tuples(*[st.integers(1, 9)] * 3)


@st.composite
def spaces(draw) -> Space:
    """Flipped, permuted and oblique ones."""
    rotation = Rotation.from_euler("xyz", draw(st.tuples(*[st.floats(-180, 180)] * 3)), degrees=True).as_matrix()
    signs = np.diag(draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3)))
    order = np.eye(3)[list(draw(st.permutations(range(3))))]
    turn = signs @ order if draw(st.booleans()) else rotation @ signs
    return Space(draw(shapes), draw(spacings), draw(origins), tuple(turn.ravel().tolist()))


@given(spaces(), st.tuples(*[st.floats(-5, 15)] * 3))
def test_positions_are_itks(space, index):
    image = space.image(np.zeros(space.shape, np.uint8))
    assert Space.of_image(image).shape == space.shape
    world = image.TransformContinuousIndexToPhysicalPoint(index[::-1])
    np.testing.assert_allclose(space.to_world(index), world, atol=1e-6)
    np.testing.assert_allclose(space.to_index(world), index, atol=1e-6)


@st.composite
def boxes(draw) -> tuple[Space, Patch]:
    space = draw(spaces())
    start = [draw(st.integers(0, n - 1)) for n in space.shape]
    size = [draw(st.integers(1, n - s)) for n, s in zip(space.shape, start, strict=True)]
    return space, Patch("case", tuple(start), tuple(size))


@given(boxes(), st.permutations(range(3)), st.tuples(*[st.booleans()] * 3))
def test_a_box_comes_back_to_its_voxels_however_it_was_saved(box, order, flips):
    """Cut out, its axes reordered and flipped as a viewer may on saving, headers rounded to single precision."""
    space, patch = box
    voxels = np.arange(np.prod(space.shape)).reshape(space.shape)
    image = space.crop(patch).image(voxels[patch.slices].astype(np.int32))
    saved = sitk.Flip(sitk.PermuteAxes(image, list(order)), list(flips))
    returned = Space.of_image(saved)
    rounded = Space(
        returned.shape,
        tuple(float(np.float32(v)) for v in returned.spacing),
        tuple(float(np.float32(v)) for v in returned.origin),
        tuple(float(np.float32(v)) for v in returned.direction),
    )
    found = align(space, rounded)
    assert found.start == patch.start
    np.testing.assert_array_equal(found.turned(sitk.GetArrayFromImage(saved)), voxels[patch.slices])


@given(spaces(), st.sampled_from(["spacing", "direction", "origin"]))
def test_voxels_that_lie_between_are_refused(space, what):
    shape = tuple(n + 3 for n in space.shape)
    if what == "spacing":
        other = Space(shape, (space.spacing[0] * 1.1, *space.spacing[1:]), space.origin, space.direction)
    elif what == "direction":
        tilted = np.reshape(space.direction, (3, 3)) @ Rotation.from_euler("x", 7, degrees=True).as_matrix()
        other = Space(shape, space.spacing, space.origin, tuple(tilted.ravel().tolist()))
    else:
        other = Space(shape, space.spacing, space.to_world((0.4, 0, 0)), space.direction)
    with pytest.raises(ValueError, match=f"its {what}"):
        align(Space(shape, space.spacing, space.origin, space.direction), other)


@given(spaces())
def test_nnunets_readers(space):
    """The properties of each reader lead to the place where its array's voxels are."""
    affine = np.diag([-1, -1, 1, 1]) @ space.affine
    image = nibabel.Nifti1Image(np.arange(np.prod(space.shape), dtype=np.float32).reshape(space.shape).T, affine)
    turned = image.as_reoriented(nibabel.orientations.io_orientation(affine))
    array = np.asarray(turned.dataobj).T
    properties = {"nibabel_stuff": {"original_affine": affine, "reoriented_affine": turned.affine}}
    found = align(space, Space.of_properties(properties, array.shape))
    np.testing.assert_array_equal(found.turned(array), np.asarray(image.dataobj).T)
    plain = {"nibabel_stuff": {"original_affine": affine}}
    np.testing.assert_allclose(Space.of_properties(plain, space.shape).affine, space.affine, atol=1e-9)
    stuff = {"spacing": space.spacing, "origin": space.origin, "direction": space.direction}
    assert Space.of_properties({"sitk_stuff": stuff}, space.shape) == space
    with pytest.raises(ValueError, match="place in the patient"):
        Space.of_properties({"spacing": space.spacing}, space.shape)
