"""The decision how images of a pool are turned: thick slices agree, mirror images do not arise, as few as can be are turned."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from phantoms import NORMALS, abdominal_ct, brain_mri, cardiac, thick_mri
from scipy.spatial.transform import Rotation

from nnactive_ext.experiment.plan import Geometry, Plan
from nnactive_ext.files import read_json
from nnactive_ext.geometry.acquisition import (
    STORED,
    TURNED,
    UPRIGHT,
    decide_axes,
    has_thick_slices,
    thick_axis,
    turn_like,
)
from nnactive_ext.geometry.axes import Turn, align, reoriented
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.headers import PLAIN, REORIENTING
from nnactive_ext.images.turning import added, turned_image
from nnactive_ext.planning.decisions import Decisions
from nnactive_ext.planning.orientation import reading
from nnactive_ext.planning.settings import Settings
from nnactive_ext.planning.simulation import without_budget

FLIPS = list(product((False, True), repeat=3))
TURNS = [Turn(axes, flips) for axes, flips in product(permutations(range(3)), FLIPS)]
STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def frame(space: Space) -> np.ndarray:
    """Columns: the axes (z, y, x) in world."""
    return np.reshape(space.direction, (3, 3))[:, ::-1]


def after(spaces, axes) -> dict[str, Space]:
    return {case: axes.turns[case].turned_space(space) for case, space in spaces.items()}


def named(spaces) -> dict[str, Space]:
    return {f"case_{i}": space for i, space in enumerate(spaces)}


def tilted(space: Space, *degrees: float) -> Space:
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    return Space(space.shape, space.spacing, space.origin, tuple((turn @ np.reshape(space.direction, (3, 3))).ravel().tolist()))


AXIAL = Space((12, 64, 64), (1.2, 1.2, 6.0), (0.0, 0.0, 0.0), STRAIGHT)
SAGITTAL = Space((12, 64, 64), (1.2, 1.2, 6.0), (0.0, 0.0, 0.0), (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0))


@given(
    st.sampled_from(TURNS),
    st.integers(0, 2**32 - 1),
    st.tuples(*[st.integers(1, 9)] * 3),
    st.tuples(*[st.floats(0.2, 9)] * 3),
    st.sampled_from([sitk.sitkUInt8, sitk.sitkInt16, sitk.sitkFloat32, sitk.sitkUInt32, sitk.sitkFloat64]),
)
def test_a_turned_image_has_each_voxel_where_it_was(turn, seed, shape, spacing, kind):
    rng = np.random.default_rng(seed)
    direction = Rotation.random(random_state=seed % 1000).as_matrix() * rng.choice((-1, 1), 3)
    space = Space(shape, spacing, tuple(rng.uniform(-300, 300, 3).tolist()), tuple(direction.ravel().tolist()))
    array = rng.permutation(np.arange(np.prod(shape)) % 200).reshape(shape)
    image = sitk.Cast(space.image(array.astype(np.int32)), kind)
    turned = turned_image(image, turn)
    assert turned.GetPixelID() == kind
    found = sitk.GetArrayFromImage(turned)
    for index in np.argwhere(np.ones(found.shape, bool))[:: max(1, found.size // 20)].tolist():
        there = image.TransformPhysicalPointToIndex(turned.TransformIndexToPhysicalPoint(index[::-1]))
        assert found[tuple(index)] == array[there[::-1]]
    np.testing.assert_array_equal(turn.back.turned(found), sitk.GetArrayFromImage(image))
    back = turn.back.turned_space(Space.of_image(turned))
    assert back.shape == space.shape
    assert back.spacing == space.spacing
    np.testing.assert_allclose(back.affine, space.affine, atol=1e-9)
    lies = align(Space.of_image(turned), space)  # what comes back on the user's own grid lands there
    np.testing.assert_array_equal(lies.turned(array), found)
    assert lies.start == (0, 0, 0)


@pytest.mark.parametrize("code", ["RAS", "LPI", "SAR"])
def test_to_a_code_is_what_reorients(code):
    for turn in TURNS:
        space = turn.turned_space(tilted(AXIAL, 8, -20, 14))
        ours, theirs = Turn.to_code(space, code).turned_space(space), reoriented(space, code)
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-9)


@given(
    st.lists(st.sampled_from(TURNS), min_size=3, max_size=9),
    st.tuples(*[st.floats(-90, 90)] * 3),
    st.lists(st.tuples(*[st.floats(-9, 9)] * 3), min_size=9, max_size=9),
)
def test_one_acquisition_plane_lies_alike_however_it_was_stored(turns, tilt, wobble):
    """Nine degrees about three axes are less than the 45 that there are between two axes."""
    plane = tilted(AXIAL, *tilt)
    spaces = named(turn.turned_space(tilted(plane, *more)) for turn, more in zip(turns, wobble, strict=False))
    axes = decide_axes(spaces)
    found = after(spaces, axes)
    places = {thick_axis(space.spacing_zyx) for space in found.values()}
    stored = {thick_axis(space.spacing_zyx) for space in spaces.values()}
    assert len(places) == 1
    if axes.way == TURNED:
        assert places == (stored if len(stored) == 1 else {0})
    first = frame(next(iter(found.values())))
    for space in found.values():
        assert (frame(space) * first).sum(0).min() > 0.7


@pytest.mark.parametrize("most", [Turn((0, 1, 2), (False,) * 3), Turn((0, 2, 1), (True, False, True))])
def test_few_are_turned(most):
    """Seven of ten oblique images are stored in one way, whichever it is: they stay as they are."""
    planes = [tilted(AXIAL, 40 + 3 * i, 20 - i, 35 + 2 * i) for i in range(10)]
    others = {
        3: Turn((0, 2, 1), (False,) * 3),
        5: Turn((2, 0, 1), (True, False, False)),
        8: Turn((0, 1, 2), (True, True, False)),
    }
    spaces = named(others.get(i, most).turned_space(plane) for i, plane in enumerate(planes))
    assert set(decide_axes(spaces).changed) == {"case_3", "case_5", "case_8"}


def test_several_planes_are_no_mirror_images_and_have_their_sides_alike():
    """Axial and sagittal ones in many orders: head to foot and front to back run the same way within the slices of both."""
    planes = [AXIAL, tilted(AXIAL, 5, 3, 0), SAGITTAL, tilted(SAGITTAL, 0, 4, 6), AXIAL, SAGITTAL]
    stored = [TURNS[(7 * i) % 48].turned_space(plane) for i, plane in enumerate(planes)]
    spaces = named(stored)
    axes = decide_axes(spaces)
    assert axes.way == TURNED
    found = [frame(space) for space in after(spaces, axes).values()]
    assert len({round(float(np.linalg.det(f))) for f in found}) == 1
    axial, sagittal = found[0], found[2]
    assert {thick_axis(space.spacing_zyx) for space in after(spaces, axes).values()} == {0}
    y_axial = axial[:, np.argmax(np.abs(axial[1, 1:])) + 1]
    y_sagittal = sagittal[:, np.argmax(np.abs(sagittal[1, 1:])) + 1]
    assert y_axial @ y_sagittal > 0.9


def test_hearts_of_many_tilts_stored_alike_are_read_as_they_are():
    spaces = named(cardiac(i, normal).space for i, normal in enumerate(NORMALS))
    assert decide_axes(spaces).way == STORED
    assert not decide_axes(spaces).changed


def test_straight_images_are_turned_by_the_reader():
    spaces = named(thick_mri(i).stored(order, FLIPS[i]).space for i, order in enumerate(permutations(range(3))))
    axes = decide_axes(spaces)
    assert axes.way == UPRIGHT
    assert {thick_axis(space.spacing_zyx) for space in after(spaces, axes).values()} == {0}
    assert all(np.allclose(space.direction, np.diag([-1, -1, 1]).ravel()) for space in after(spaces, axes).values())


@pytest.mark.parametrize("kind", [brain_mri, abdominal_ct])
def test_without_thick_slices_all_is_as_before(kind):
    spaces = named(kind(i).stored((0, 1, 2), FLIPS[i]).space for i in range(3))
    assert decide_axes(spaces).way == UPRIGHT
    assert decide_axes(spaces, labelled=True).way == STORED
    assert decide_axes(named([kind(0).space] * 3)).way == STORED


def test_a_labelled_dataset_with_one_slice_axis_stays_as_nnunet_reads_it():
    spaces = named(thick_mri(i).stored((0, 2, 1) if i % 2 else (0, 1, 2), FLIPS[i]).space for i in range(5))
    assert decide_axes(spaces, labelled=True).way == STORED
    assert decide_axes(spaces).way == UPRIGHT


def test_one_orientation_is_not_enough_where_the_slices_differ():
    """All LPS, but some images were reformatted so that the slices run across x."""
    other = Space((64, 64, 12), (6.0, 1.2, 1.2), (0.0, 0.0, 0.0), STRAIGHT)
    for labelled in (False, True):
        axes = decide_axes(named([AXIAL, AXIAL, AXIAL, other]), labelled)
        assert axes.way == TURNED
        assert set(axes.changed) == {"case_3"}
        assert axes.changed["case_3"].axes[0] == 2


def test_an_image_without_thick_axis_lies_as_the_others_do():
    odd = Space((64, 64, 64), (1.2, 1.2, 1.2), (0.0, 0.0, 0.0), Turn((1, 2, 0), (True,) * 3).turned_space(AXIAL).direction)
    spaces = named([tilted(space, 35, 10, 5) for space in (AXIAL, AXIAL, SAGITTAL, odd, AXIAL)])
    axes = decide_axes(spaces)
    assert axes.thick["case_3"] is None
    found = after(spaces, axes)
    np.testing.assert_allclose(frame(found["case_3"]), frame(found["case_0"]), atol=1e-6)


@pytest.mark.parametrize(
    ("spacings", "thick"),
    [
        ([(10, 1.5, 1.5), (5, 1.7, 1.7), (5, 1.4, 1.4)], True),
        ([(3.0, 1.0, 1.0)], True),
        ([(0.9, 5.0, 0.9), (0.7, 0.7, 2.5)], True),
        ([(2.5, 1.0, 1.0)] * 3, False),
        ([(8.0, 8.0, 1.0)] * 3, False),
    ],
)
def test_what_is_thick(spacings, thick):
    assert has_thick_slices(spacings) == thick


@pytest.mark.parametrize("place", [0, 2])
def test_a_later_image_lies_as_the_pool_does(place):
    way = Turn((0, 1, 2), (False,) * 3) if place == 0 else Turn((2, 1, 0), (False, True, False))
    pool = [way.turned_space(tilted(AXIAL, 40 + i, 10, 33)) for i in range(4)]
    for turn in TURNS[::5]:
        space = turn.turned_space(tilted(AXIAL, 44, 6, 30))
        found, near = turn_like(space, pool)
        assert near
        assert thick_axis(found.turned_space(space).spacing_zyx) == place
        assert (frame(found.turned_space(space)) * frame(pool[0])).sum(0).min() > 0.9
    far = tilted(SAGITTAL, 40, 10, 33)
    found, near = turn_like(far, pool)
    assert not near
    assert thick_axis(found.turned_space(far).spacing_zyx) == place


def test_turns_are_kept_in_the_plan_and_plans_without_them_are_read(tmp_path):
    pool = {f"case_{i}": Geometry((9, 9, 9), (1.0, 1.0, 1.0)) for i in range(4)}
    plan = replace(without_budget(Settings(number=9, dataset="1"), "X", pool, (1.0, 1.0, 1.0)), query_size=1)
    plan.write(tmp_path)
    assert "turned" not in read_json(tmp_path / "nnactive_plan.json")
    assert Plan.read(tmp_path).turned == {}
    turned = {case: TURNS[i] for i, case in enumerate(pool)}
    replace(plan, turned=turned).write(tmp_path)
    assert Plan.read(tmp_path).turned == turned


@pytest.mark.parametrize(("mm", "warned"), [(2.6, True), (1.0, False)])
@pytest.mark.parametrize("most", [0, 1])
def test_what_follows_from_turning_to_ras_is_told(mm, warned, most):
    """Coarse axes of several planes that are not thick: nnU-Net will interpolate, and planning says so."""
    coarse = [Space((40, 60, 60), (1.0, 1.0, mm), (0.0, 0.0, 0.0), space.direction) for space in (AXIAL, SAGITTAL)]
    decisions = Decisions()
    reader, turned, found = reading(named([*coarse, coarse[most]]), decisions)
    assert (reader, turned) == (REORIENTING, {})
    assert found["case_1"].spacing == (mm, 1.0, 1.0)
    texts = [why for what, _, why in decisions if what == "WARNING"]
    assert bool(texts) == warned
    assert all("times the voxels" in text for text in texts)


@pytest.mark.parametrize("plane", [AXIAL, SAGITTAL])
def test_a_later_plane_in_a_pool_that_is_read_as_ras_is_told(plane):
    pool = named([AXIAL, TURNS[9].turned_space(AXIAL)])
    turned, spaces, warnings = added({"late": plane}, pool, REORIENTING)
    assert not turned
    assert spaces["late"].shape == reoriented(plane).shape
    assert bool(warnings) == (plane is SAGITTAL)
    assert all("late" in text for text in warnings)


def test_images_of_another_orientation_need_thick_slices_to_be_added():
    cube = Space((40, 40, 40), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), STRAIGHT)
    other = TURNS[9].turned_space(cube)
    assert added({"late": other}, named([cube, cube]), PLAIN) is None
    turned, spaces, warnings = added({"late": TURNS[9].turned_space(AXIAL)}, named([AXIAL, AXIAL]), PLAIN)
    assert list(turned) == ["late"]
    assert not warnings
    np.testing.assert_allclose(spaces["late"].affine, AXIAL.affine, atol=1e-9)
