"""Pictures of a task against what is known of the patient: which side is where, lengths, frames and outlines."""

from __future__ import annotations

import io
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial.transform import Rotation

from nnactive_ext.geometry.axes import Canonical, Turn
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.geometry.space import Space
from nnactive_ext.pages.planes import PLANES, planes_of
from nnactive_ext.pages.slices import GREYS, GUTTER, grey_window, three_slices

STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
TURNS = [
    tuple((np.eye(3)[list(order)] * signs).ravel().tolist())
    for order in permutations(range(3))
    for signs in product((-1, 1), repeat=3)
]
RED, GREEN = (255, 0, 0), (0, 255, 0)


def pixels(png: bytes) -> np.ndarray:
    """Without the gutter."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))[GUTTER:-GUTTER, GUTTER:-GUTTER].astype(int)


def drawn(image, space, box, labels=None, colours=None, **more):
    labels = np.zeros(image.shape, np.uint8) if labels is None else labels
    return dict(three_slices(image, labels, space, box, colours or {}, 9, **more))


def brightest(picture: np.ndarray) -> tuple[float, float]:
    """Where, as shares of the height and the width, the middle of the brightest pixels is."""
    grey = picture.sum(2)
    rows, columns = np.nonzero(grey == grey.max())
    return rows.mean() / grey.shape[0], columns.mean() / grey.shape[1]


def of_patient(space: Space, point: tuple[float, float, float], radius: float) -> np.ndarray:
    """1 in the voxels within ``radius`` mm of a place in world, which an image in ``space`` would show bright."""
    index = np.stack(np.meshgrid(*map(np.arange, space.shape), indexing="ij"), -1).reshape(-1, 3)
    world = index[:, ::-1] @ space.affine[:3, :3].T + space.origin
    return (np.linalg.norm(world - np.asarray(point), axis=1) <= radius).astype(np.float32).reshape(space.shape)


def spaces():
    # With larger tilts the place that is looked for is no longer in the plane that is drawn.
    tilts = st.tuples(*[st.floats(-10, 10)] * 3).map(lambda a: Rotation.from_euler("xyz", a, degrees=True).as_matrix())
    straight = st.sampled_from(TURNS)
    turned = st.tuples(straight, tilts).map(lambda pair: tuple((pair[1] @ np.reshape(pair[0], (3, 3))).ravel().tolist()))
    return st.one_of(straight, turned)


@settings(max_examples=30, deadline=None)
@given(spaces(), st.tuples(*[st.sampled_from([-1, 1])] * 3))
def test_a_place_in_the_patient_is_where_radiologists_look_for_it(direction, side):
    space = Space((21, 21, 21), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), direction)
    space = Space(space.shape, space.spacing, tuple(-np.asarray(space.to_world((10, 10, 10)))), direction)
    whole = Patch("case", (0, 0, 0), space.shape)
    for axis, plane in enumerate(PLANES):
        place = np.array(side, float) * 9  # world: left, back, head
        place[2 - axis] = 0  # in the plane that is drawn
        picture = pixels(drawn(of_patient(space, tuple(place), 5), space, whole, size=80)[plane])
        row, column = brightest(picture)
        left, back, head = side
        assert (row > 0.5) == ((back > 0) if plane == "axial" else (head < 0))
        assert (column > 0.5) == ((back > 0) if plane == "sagittal" else (left > 0))


@pytest.mark.parametrize("direction", TURNS)
def test_the_patients_left_front_top_in_every_order_of_axes(direction):
    space = Space((5, 6, 7), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), direction)
    turn = Canonical.of(space)
    corners = np.array([space.to_world(corner) for corner in product(*[(0, n - 1) for n in space.shape])])
    left_front_top = (corners[:, 0].max(), corners[:, 1].min(), corners[:, 2].max())
    image = of_patient(space, left_front_top, 0.1)
    upright = turn.turned(image)
    assert np.argwhere(upright).tolist() == [[0, 0, upright.shape[2] - 1]]
    assert turn.tilt == pytest.approx(0)
    box = Patch("case", (0, 1, 3), (1, 2, 3))
    marked = np.zeros(space.shape)
    marked[box.slices] = 1
    expected = np.zeros(upright.shape)
    expected[turn.box(box).slices] = 1
    np.testing.assert_array_equal(turn.turned(marked), expected)
    middle = np.zeros(space.shape)
    middle[0, 2, 4] = 1
    assert np.argwhere(turn.turned(middle)).tolist() == [list(turn.middle(box))]


def test_position_of_the_middle():
    space = Space((10, 10, 10), (1.0, 2.0, 3.0), (-20.0, 5.0, -100.0), STRAIGHT)
    box = Patch("case", (2, 4, 5), (2, 2, 2))  # middle voxel (3, 5, 6)
    assert Canonical.of(space).position(box) == ((91.0, "F"), (15.0, "P"), (14.0, "R"))


def test_tilt_is_the_angle():
    turn = Rotation.from_euler("x", 12, degrees=True).as_matrix()
    space = Space((4, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(turn.ravel().tolist()))
    assert Canonical.of(space).tilt == pytest.approx(12)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(TURNS),
    st.tuples(*[st.integers(1, 30)] * 3),
    st.tuples(*[st.floats(0.3, 5)] * 3),
)
def test_a_millimetre_is_as_long_in_every_picture(direction, shape, spacing):
    space = Space(shape, spacing, (0.0, 0.0, 0.0), direction)
    mm = {"xyz"[w]: 0.0 for w in range(3)}
    for w, axis in zip(*np.nonzero(np.reshape(direction, (3, 3))), strict=True):
        mm["xyz"[w]] = shape[::-1][axis] * spacing[axis]
    voxels = dict(zip("xyz", np.abs(np.reshape(direction, (3, 3))) @ spacing, strict=True))
    second, first = sorted(spacing)[1:]
    across = max(voxels, key=voxels.get) if first > 2.001 * second else ""
    within = 240 / max(mm.values())
    if across:  # thick slices: the plane that was acquired is large, the others have half of its scale
        within = 180 / max(length for axis, length in mm.items() if axis != across)
    pictures = drawn(np.zeros(shape), space, Patch("case", (0, 0, 0), shape))
    planes = {"axial": "yx", "coronal": "zx", "sagittal": "zy"}
    assert not across or across not in planes[next(iter(pictures))]
    for plane, (high, wide) in planes.items():
        found = pixels(pictures[plane]).shape[:2]
        scale = 2 * within if across and across not in (high, wide) else within
        np.testing.assert_allclose(found, [max(1, mm[high] * scale), max(1, mm[wide] * scale)], atol=0.51)


def test_frame_and_outline_lie_where_the_box_and_the_class_do():
    # 1 mm voxels of 10 pixels across, 2 mm slices of 20: everything falls on whole pixels.
    space = Space((6, 20, 24), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), STRAIGHT)
    box = Patch("case", (1, 5, 4), (3, 10, 12))
    labels = np.full(space.shape, 9, np.uint8)
    labels[box.slices] = 0
    labels[1:3, 7:12, 6:10] = 1
    labels[1:3, 8:10, 7:9] = 2
    labels[3, 5:7, 4:6] = 9  # unsure
    image = np.full(space.shape, 100.0)
    pictures = drawn(image, space, box, labels, {0: (0, 0, 9), 1: RED, 2: GREEN, 9: (9, 0, 0)})
    axial, coronal = pixels(pictures["axial"]), pixels(pictures["coronal"])
    white = np.argwhere((axial == 255).all(2))
    assert [white.min(0).tolist(), white.max(0).tolist()] == [[49, 39], [150, 160]]  # just outside rows 50-149, columns 40-159
    white = np.argwhere((coronal == 255).all(2))
    assert [white.min(0).tolist(), white.max(0).tolist()] == [[39, 39], [100, 160]]  # slices 1-3 of 6, the last on top
    assert (axial[48, 60] == 0).all()
    assert (axial[151, 60] == 0).all()
    red, green = np.argwhere((axial == RED).all(2)), np.argwhere((axial == GREEN).all(2))
    assert [red.min(0).tolist(), red.max(0).tolist()] == [[70, 60], [119, 99]]
    assert [green.min(0).tolist(), green.max(0).tolist()] == [[80, 70], [99, 89]]
    assert len(green) == 4 * 20 - 4
    assert len(red) == 2 * (50 + 40) - 4  # where the two classes touch only the higher one has a line
    allowed = {tuple(colour) for colour in np.unique(axial.reshape(-1, 3), axis=0).tolist()}
    assert allowed <= {RED, GREEN, (0, 0, 0), (255, 255, 255)}  # neither ignore nor background is drawn


def test_a_box_at_the_edge_is_framed_in_the_gutter():
    space = Space((8, 8, 8), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), STRAIGHT)
    for _, png in three_slices(np.ones(space.shape), np.zeros(space.shape), space, Patch("c", (0, 0, 0), (8, 8, 8)), {}, 9):
        whole = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
        assert (whole[GUTTER - 1, GUTTER - 1 : -GUTTER + 1] == 255).all()
        assert (whole[GUTTER - 1 : -GUTTER + 1, GUTTER - 1] == 255).all()


def test_frame_and_outline_of_thick_slices_too():
    space = Space((6, 20, 24), (1.0, 1.0, 8.0), (0.0, 0.0, 0.0), STRAIGHT)
    box = Patch("case", (1, 5, 4), (3, 10, 12))
    labels = np.zeros(space.shape, np.uint8)
    labels[1:3, 7:12, 6:10] = 1
    (first, axial), (_, coronal), _ = three_slices(np.full(space.shape, 100.0), labels, space, box, {1: RED}, 9)
    assert first == "axial"
    axial, coronal = pixels(axial), pixels(coronal)
    assert axial.shape[:2] == (300, 360)  # 15 pixels a mm
    assert coronal.shape[:2] == (360, 180)  # half of it
    white, red = np.argwhere((axial == 255).all(2)), np.argwhere((axial == RED).all(2))
    assert [white.min(0).tolist(), white.max(0).tolist()] == [[74, 59], [225, 240]]
    assert [red.min(0).tolist(), red.max(0).tolist()] == [[105, 90], [179, 149]]


ACROSS = {"axial": [0, 1, 2], "coronal": [0, 2, 1], "sagittal": [1, 2, 0]}
"""The world axes along x, y and z of an array whose slices, along z, are of that plane."""


@pytest.mark.parametrize(
    ("plane", "angles", "title"),
    [
        ("axial", (0, 0, 0), "acquisition plane (8 mm slices), axial"),
        ("coronal", (0, 0, 0), "acquisition plane (8 mm slices), coronal"),
        ("sagittal", (0, 12, 0), "acquisition plane (8 mm slices), sagittal, tilted by 12°"),
        ("axial", (0, 43, 0), "acquisition plane (8 mm slices), oblique, 43° from axial"),
        ("coronal", (25, 0, 10), "acquisition plane (8 mm slices), oblique, 27° from coronal"),
    ],
)
@pytest.mark.parametrize("stored", [Turn((0, 1, 2), (False,) * 3), Turn((2, 0, 1), (True, False, True))])
def test_thick_slices_show_the_plane_they_were_acquired_in(plane, angles, title, stored):
    """However its axes are stored; the patient's names stand only where they are true."""
    direction = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.eye(3)[:, ACROSS[plane]]
    space = Space((9, 40, 40), (1.0, 1.0, 8.0), (0.0, 0.0, 0.0), tuple(direction.ravel().tolist()))
    planes = planes_of(stored.turned_space(space), Patch("case", (2, 5, 5), (3, 3, 3)), 200)
    assert planes[0].title == title
    assert planes[0].oblique == ("oblique" in title)
    assert planes[0].height * planes[0].width > 2 * max(other.height * other.width for other in planes[1:])
    assert all(other.title.startswith("across the slices") for other in planes[1:])


@pytest.mark.parametrize("seed", range(20))
def test_letters_of_oblique_planes_name_what_is_near(seed):
    direction = Rotation.random(random_state=seed).as_matrix()
    space = Space((9, 8, 7), (1.0, 1.0, 8.0), (0.0, 0.0, 0.0), tuple(direction.ravel().tolist()))
    voxels = np.argwhere(np.ones(space.shape))
    world = [np.array([space.to_world(voxel)[w] for voxel in voxels]).reshape(space.shape) for w in range(3)]
    for plane in planes_of(space, Patch("case", (2, 5, 5), (3, 3, 2)), 200):
        rows = [plane.voxels(at)[-1, 0] - plane.voxels(at)[0, 0] for at in world]
        columns = [plane.voxels(at)[0, -1] - plane.voxels(at)[0, 0] for at in world]
        for along, begin, end in ((rows, *plane.ends[:2]), (columns, *plane.ends[2:])):
            left, back, head = np.array(along) / np.linalg.norm(along)
            sides = {"L": left, "P": back, "H": head, "R": -left, "A": -back, "F": -head}
            assert sides[end[0]] == max(sides.values())
            assert sides[begin[0]] == min(sides.values())
            assert {letter for letter in sides if sides[letter] > 0.5} <= set(end)
            assert all(sides[letter] > 0.34 for letter in end)


def test_what_is_bright_elsewhere_does_not_make_the_patch_dark():
    rng = np.random.default_rng(0)
    image = rng.normal(100, 10, (12, 60, 60))
    image[:, 45:] = 3000  # fat at the border of the image, in all slices
    box = Patch("case", (4, 10, 10), (4, 12, 12))
    low, high = grey_window(image, box)
    assert 60 < low < 90
    assert 110 < high < 140


def test_ct_windows():
    rng = np.random.default_rng(0)
    box = Patch("case", (4, 4, 4), (8, 8, 8))

    def ct(inside: float, around: float = -1000.0) -> np.ndarray:
        image = np.full((16, 16, 16), around) + rng.normal(0, 10, (16, 16, 16))
        image[box.slices] += inside - around
        return image

    assert grey_window(ct(60), box) == (-160, 240)
    assert grey_window(ct(-800), box) == (-1350, 150)
    assert grey_window(ct(700), box) == (-450, 1050)
    half_air = ct(60)
    half_air[4:10] = -1000
    assert grey_window(half_air, box) == (-160, 240)
    low, high = grey_window(ct(110, 0), box)  # an MRI, or CT without air
    assert -35 < low < -15
    assert 115 < high < 145


def test_values_that_are_no_numbers_and_flat_images_can_be_drawn():
    space = Space((6, 6, 6), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), STRAIGHT)
    box = Patch("case", (1, 1, 1), (3, 3, 3))
    for image in (np.full(space.shape, np.nan), np.full(space.shape, 7), np.where(np.indices(space.shape)[0] < 3, np.inf, 2.0)):
        assert len(drawn(image, space, box)) == 3


def test_more_classes_than_a_palette_has():
    space = Space((1, 40, 40), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), STRAIGHT)
    labels = (np.arange(1600).reshape(space.shape) // 4 + 10).astype(np.uint16)
    colours = {value: (value % 256, value // 256, 7) for value in range(10, 420)}
    box = Patch("case", (0, 0, 0), space.shape)
    picture = pixels(drawn(np.zeros(space.shape), space, box, labels, colours)["axial"])
    assert len({tuple(colour) for colour in picture.reshape(-1, 3).tolist()} & set(colours.values())) == 256 - GREYS
