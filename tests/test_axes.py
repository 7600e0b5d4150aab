"""The axes of images in all 48 orders, straight and oblique, against SimpleITK's DICOMOrient."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from nnactive_ext.geometry.axes import Canonical, align, orientation, reoriented
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.geometry.space import Space

CODES = ["".join(letters) for order in permutations(("LR", "PA", "SI")) for letters in product(*order)]
TURNS = [np.eye(3)[list(order)] * signs for order in permutations(range(3)) for signs in product((-1.0, 1.0), repeat=3)]
SHAPE, SPACING, ORIGIN = (3, 5, 8), (0.7, 1.1, 4.5), (-31.5, 12.25, 190.0)
TILTS = ((0, 0, 0), (12, -7, 19), (31, 24, -28))
"""Degrees about x, y and z."""
SPACES = [(i + j, turn, code) for (i, turn), (j, code) in product(enumerate(TURNS), enumerate(CODES))]
"""Every order of axes with every code; the numbers go through the tilts."""


def space_of(turn: np.ndarray, tilt: int) -> Space:
    direction = Rotation.from_euler("xyz", TILTS[tilt % len(TILTS)], degrees=True).as_matrix() @ turn
    return Space(SHAPE, SPACING, ORIGIN, tuple(direction.ravel().tolist()))


def numbered(space: Space) -> np.ndarray:
    return np.arange(np.prod(space.shape), dtype=np.int32).reshape(space.shape)


def same(ours: Space, theirs: Space) -> None:
    assert ours.shape == theirs.shape
    for key in ("spacing", "origin", "direction"):
        np.testing.assert_allclose(getattr(ours, key), getattr(theirs, key), atol=1e-6)


def test_there_are_48_of_each():
    assert len(set(CODES)) == len(CODES) == len(TURNS) == 48
    assert {orientation(turn.ravel()) for turn in TURNS} == set(CODES)


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 7])
def test_reoriented_from_every_order_to_every_other(every):
    """All pairs are slow; every seventh has all orders on both sides."""
    for tilt, turn, code in SPACES[::every]:
        space = space_of(turn, tilt)
        oriented = sitk.DICOMOrient(space.image(numbered(space)), code)
        found = reoriented(space, code)
        same(found, Space.of_image(oriented))
        assert sorted(found.spacing) == sorted(space.spacing), "to the last bit: sizes in voxels rest on it"


@pytest.mark.parametrize("tilt", range(len(TILTS)))
def test_canonical_is_what_itk_makes(tilt):
    """Head to foot, front to back, right to left, as ITK orders the voxels."""
    for turn in TURNS:
        space = space_of(turn, tilt)
        oriented = sitk.DICOMOrient(space.image(numbered(space)), "LPI")
        theirs = sitk.GetArrayFromImage(oriented)
        canonical = Canonical.of(space)
        np.testing.assert_array_equal(canonical.turned(numbered(space)), theirs)
        np.testing.assert_allclose(canonical.spacing, oriented.GetSpacing()[::-1])
        along = np.abs(np.diag(np.reshape(oriented.GetDirection(), (3, 3))))
        assert canonical.tilt == pytest.approx(np.degrees(np.arccos(along.min())), abs=1e-4)
        box = Patch("case", (1, 0, 3), (2, 3, 4))
        np.testing.assert_array_equal(
            theirs[canonical.box(box).slices], Canonical.of(space.crop(box)).turned(numbered(space)[box.slices])
        )
        assert theirs[canonical.middle(box)] == numbered(space)[2, 1, 5]


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(TURNS),
    st.tuples(*[st.integers(1, 9)] * 3),
    st.tuples(*[st.floats(0.2, 6)] * 3),
    st.sampled_from(CODES),
)
def test_however_oblique(seed, turn, shape, spacing, code):
    """Nibabel's and ITK's closest axes need not be the same where an axis lies between two: ITK's count."""
    direction = Rotation.random(random_state=seed).as_matrix() @ turn
    space = Space(shape, spacing, ORIGIN, tuple(direction.ravel().tolist()))
    image = space.image(numbered(space))
    same(reoriented(space, code), Space.of_image(sitk.DICOMOrient(image, code)))
    np.testing.assert_array_equal(
        Canonical.of(space).turned(numbered(space)), sitk.GetArrayFromImage(sitk.DICOMOrient(image, "LPI"))
    )


def test_what_was_cut_out_and_reoriented_lies_where_it_was():
    box = Patch("case", (1, 2, 0), (2, 3, 7))
    for tilt, turn, code in SPACES[::5]:
        space = space_of(turn, tilt)
        saved = sitk.DICOMOrient(space.crop(box).image(numbered(space)[box.slices]), code)
        found = align(space, Space.of_image(saved))
        assert found.start == box.start
        np.testing.assert_array_equal(found.turned(sitk.GetArrayFromImage(saved)), numbered(space)[box.slices])
