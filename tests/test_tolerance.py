"""The tolerance of the surface distance is fine enough to see errors in thick slices, at a microscope, in thin structures."""

import numpy as np
import phantoms
import pytest
from scipy import ndimage

from nnactive_ext.errors import NnActiveError
from nnactive_ext.metrics.surface import Tolerance, in_plane_voxel, one_voxel, surface_per_case
from nnactive_ext.planning.decisions import Decisions
from nnactive_ext.planning.measure import Measured, widths_mm
from nnactive_ext.planning.tolerance import decide_tolerance, tolerance_words, typed_tolerance


def measured(labels: np.ndarray, spacing) -> Measured:
    return Measured(labels.shape, spacing, widths=widths_mm(labels, spacing, [int(v) for v in np.unique(labels) if v]))


def cylinder(radius: float, shape=(10, 64, 64)) -> np.ndarray:
    """Along z, ``radius`` in voxels."""
    y, x = np.ogrid[: shape[1], : shape[2]]
    disc = (y - shape[1] / 2) ** 2 + (x - shape[2] / 2) ** 2 < radius**2
    return np.broadcast_to(disc, shape).astype(np.uint8)


@pytest.mark.parametrize(
    ("spacing", "radius", "pixels"),
    [((10.0, 1.25, 1.25), 18, 4), ((7.7, 1.6, 1.6), 14, 3), ((0.005, 0.001, 0.001), 20, 5), ((6.0, 0.4, 0.4), 24, 5)],
)
def test_an_eroded_structure_is_seen(spacing, radius, pixels):
    """A tolerance of one voxel of the coarsest axis, that of earlier versions, sees nothing in the first two."""
    reference = cylinder(radius)
    eroded = ndimage.binary_erosion(reference, np.ones((1, 3, 3)), pixels).astype(np.uint8)
    found = {
        tolerance: surface_per_case(eroded, reference, {"a": 1}, spacing, tolerance)["a"].nsd
        for tolerance in (in_plane_voxel([spacing]), one_voxel([spacing]))
    }
    assert found[in_plane_voxel([spacing])] < 0.9
    if spacing[0] > 7:
        assert found[one_voxel([spacing])] == 1


@pytest.mark.parametrize("kind", sorted(phantoms.KINDS))
def test_eroded_organs_of_all_kinds(kind):
    """All around by 4 pixels, in the plane, wherever that leaves anything."""
    made = phantoms.KINDS[kind](3)
    plane = np.ones([1 if mm == max(made.spacing) > min(made.spacing) else 3 for mm in made.spacing])
    tolerance = in_plane_voxel([made.spacing])
    for label in range(1, len(made.names) + 1):
        reference = (made.labels == label).astype(np.uint8)
        eroded = ndimage.binary_erosion(reference, plane, 4).astype(np.uint8)
        if eroded.sum() > 0.1 * reference.sum():
            assert surface_per_case(eroded, reference, {"a": 1}, made.spacing, tolerance)["a"].nsd < 0.9, made.names[label - 1]


def test_the_axis_that_is_thick_does_not_matter():
    assert in_plane_voxel([(1.4, 1.4, 8.0)]) == in_plane_voxel([(8.0, 1.4, 1.4)]) == in_plane_voxel([(1.4, 8.0, 1.4)]) == 1.4


def test_widths_of_simple_bodies():
    """A ball: two thirds of its radius; a long cylinder of the image's whole length: near its radius."""
    z, y, x = np.ogrid[:48, :48, :48]
    ball = ((z - 24) ** 2 + (y - 24) ** 2 + (x - 24) ** 2 < 20**2).astype(np.uint8)
    assert widths_mm(ball, (0.5, 0.5, 0.5), [1])[1] == pytest.approx(10 * 2 / 3, rel=0.05)
    assert widths_mm(cylinder(15), (3.0, 2.0, 2.0), [1])[1] == pytest.approx(30, rel=0.25)


def test_a_warning_names_the_structures_that_are_too_thin():
    labels = np.zeros((20, 60, 60), np.uint8)
    labels[4:16, 5:40, 5:40] = 1
    labels[4:16, 48:54, 48:54] = 2
    decisions = Decisions()
    decide_tolerance(["2"], [measured(labels, (2.0, 1.0, 1.0))], {"liver": (1,), "adrenal": (2,)}, decisions)
    (warning,) = [row for row in decisions if row[0] == "WARNING"]
    assert "adrenal" in warning[2]
    assert "liver" not in warning[2]
    words = warning[2].partition("-tolerance ")[2].partition(",")[0].split()
    again = Decisions()
    decide_tolerance(words, [measured(labels, (2.0, 1.0, 1.0))], {"liver": (1,), "adrenal": (2,)}, again)
    assert not [row for row in again if row[0] == "WARNING"], "what the warning proposes is fine enough"


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (5.0, 1.3, 1.3)])
def test_no_tolerance_below_a_voxel_is_proposed(spacing):
    """A contour that is off by one voxel would have an NSD near 0."""
    labels = np.zeros((20, 60, 60), np.uint8)
    labels[4:16, 50:53, 50:53] = 1
    decisions = Decisions()
    decide_tolerance(["3"], [measured(labels, spacing)], {"adrenal": (1,)}, decisions)
    (warning,) = [row for row in decisions if row[0] == "WARNING"]
    assert "-tolerance" not in warning[2]
    assert "Dice" in warning[2]


def test_no_warning_where_nothing_is_thin():
    made, decisions = phantoms.brain_mri(1), Decisions()
    decide_tolerance(["0.5"], [measured(made.labels, made.spacing)], {"core": (2,)}, decisions)
    assert [row[0] for row in decisions] == ["surface tolerance"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["2"], Tolerance(2.0)),
        (["2mm", "vessel=0.5"], Tolerance(2.0, {"vessel": 0.5})),
        (["vessel=1", "a=b=3"], Tolerance(1.5, {"vessel": 1.0, "a=b": 3.0})),
    ],
)
def test_typed(words, found):
    read = typed_tolerance(words, ["liver", "vessel", "a=b"], default=1.5)
    assert read == found
    assert typed_tolerance(tolerance_words(read.mm, read.per_class), ["vessel", "a=b"]) == found


@pytest.mark.parametrize(
    "words", [["two"], ["1", "2"], ["vessel"], ["vein=1"], ["vessel=-1"], ["vessel=1", "vessel=2"], ["=1"]]
)
def test_what_cannot_be_is_refused(words):
    with pytest.raises(NnActiveError, match="-tolerance"):
        typed_tolerance(words, ["liver", "vessel"])
