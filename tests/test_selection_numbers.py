"""The worked numbers of the selections, and what they do with degenerate input."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nnactive_ext.selection import (
    SelectionWarning,
    badge_gradient,
    bank_subset,
    k_center,
    k_means_plus_plus,
    normalised,
    pooled,
    probcover,
    purity_radius,
    typicality,
    typiclust,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


NONE = np.zeros((0, 2), np.float32)
A, B, C, D, E, F = SIX = np.array([[0, 0], [1, 0], [4, 0], [4, 3], [0, 5], [10, 0]], np.float32)


def test_k_center_takes_the_farthest():
    chosen = k_center(SIX[1:], SIX[:1], 3, rng())
    assert SIX[1:][chosen].tolist() == [F.tolist(), D.tolist(), E.tolist()]
    centres = [A]
    for new, distance in zip((F, D, E), (10, 5, 4.4721), strict=True):
        assert min(np.linalg.norm(new - c) for c in centres) == pytest.approx(distance, abs=5e-5)
        centres.append(new)


def left(centres) -> float:
    """The largest distance of the six points to their nearest centre."""
    return np.linalg.norm(SIX[:, None] - np.array(centres), axis=2).min(1).max()


def test_k_center_leaves_the_optimum_here():
    assert left([A, F, D, E]) == 3 == min(left([A, *others]) for others in itertools.combinations(SIX[1:], 3))


def test_without_centres_the_first_is_nearest_to_the_mean_or_the_longest():
    np.testing.assert_allclose(SIX.mean(0), (3.1667, 1.3333), atol=5e-5)
    # From c, e is at a distance of 6.4031 and f at 6.
    assert k_center(SIX, NONE, 3, rng()).tolist() == [2, 4, 5]
    assert k_center(SIX, NONE, 1, rng(), first="longest").tolist() == [5]


def test_badges_gradient_and_its_cancelling():
    p = np.array([[0.7, 0.6, 0.4, 0.45], [0.3, 0.4, 0.6, 0.55]])
    phi = np.array([[1.0, 1, 1, 0], [0, 1, 1, 2]])
    g = badge_gradient(p, phi)
    np.testing.assert_allclose(g, [-0.075, 0.225, 0.075, -0.225], atol=1e-7)
    np.testing.assert_allclose(g.reshape(2, 2).sum(0), 0, atol=1e-7)
    assert np.linalg.norm(g) == pytest.approx(0.33541, abs=5e-6)
    alone = [np.linalg.norm(badge_gradient(p[:, [v]], phi[:, [v]])) for v in range(4)]
    assert np.mean(alone) == pytest.approx(0.82426, abs=5e-6)


class Fixed:
    """A generator whose every number in [0, 1) is ``value``."""

    def __init__(self, value: float):
        self.value = value

    def random(self) -> float:
        return self.value


@pytest.mark.parametrize(("number", "second"), [(0, 0), (0.0475, 0), (0.0477, 1), (0.5237, 1), (0.5239, 2), (0.9999, 2)])
def test_k_means_plus_plus_draws_by_squared_distance(number, second):
    """The shares are .0476, .4762, .4762 and 0."""
    points = np.array([[3, 0], [0, 2], [0, 0], [3, 1]], np.float32)
    assert k_means_plus_plus(points, 2, Fixed(number)).tolist() == [3, second]


def test_typicality():
    np.testing.assert_allclose(typicality(column(0, 1, 2, 3), 2), [0.6667, 1, 1, 0.6667], atol=5e-5)
    np.testing.assert_allclose(typicality(column(10, 11, 13), 2), [0.5, 0.6667, 0.4], atol=5e-5)
    near, spread = typicality(column(0, 1, 1, 1, 5), 4)[0], typicality(column(0, 2.1, 2.1, 2.1, 2.1), 4)[0]
    assert (near, spread) == (pytest.approx(0.5), pytest.approx(0.4762, abs=5e-5))
    # Squared distances, as in the published code, turn the order.
    assert (1 / np.mean([1, 1, 1, 25]), 1 / 2.1**2) == (pytest.approx(0.1429, abs=5e-5), pytest.approx(0.2268, abs=5e-5))


def test_typiclust_takes_turns_between_clusters():
    points = column(0, 1, 2, 3, 4, 5, 100, 101, 102, 103, 104)
    # Three neighbours of six points, two of five; the first of those that tie.
    assert typiclust(points, points[:0], 2, rng()).tolist() == [1, 7]
    assert sorted(typiclust(points, points[:0], 11, rng(), clusters=2).tolist()) == list(range(11))


def test_typiclust_prefers_clusters_with_less_annotated_and_counts_their_density():
    points = column(0, 1, 2, 3, 4, 5, 100, 101, 102, 103, 104)
    chosen = typiclust(points, column(2.5, 50, 50, 50, 50, 50), 1, rng(), clusters=3)
    assert chosen.tolist() == [7]


def test_typiclust_leaves_small_clusters_to_the_end():
    points = column(0, 1, 2, 3, 4, 100)
    chosen = typiclust(points, points[:0], 6, rng(), clusters=2).tolist()
    assert chosen[-1] == 5
    assert sorted(chosen) == list(range(6))


LINE, CLASSES = column(0, 0.4, 0.8, 1.2, 5, 5.3, 9), np.array([0, 0, 0, 1, 2, 2, 3])


@pytest.mark.parametrize(("radius", "purity"), [(0.3, 1), (0.4, 0.714), (0.8, 0.571), (1.2, 0.429)])
def test_purity_of_closed_balls(radius, purity):
    inside = np.abs(LINE - LINE.T) <= radius + 1e-6
    pure = [len(set(CLASSES[ball])) == 1 for ball in inside]
    assert np.mean(pure) == pytest.approx(purity, abs=5e-4)


def test_the_radius_of_pure_balls():
    assert purity_radius(LINE, CLASSES) == pytest.approx(0.4)
    assert purity_radius(LINE, CLASSES, purity=5 / 7) == pytest.approx(0.8)  # 2 of 7 balls may be impure
    assert purity_radius(LINE, np.zeros(7)) == np.inf


def cover(n, delta, **options):
    free = [0, 1, 2, 3, 5, 6]
    options = {"candidate_class": CLASSES[free], "annotated_class": CLASSES[4:5], "classes": 3, **options}
    return LINE[free][probcover(LINE[free], LINE[4:5], n, rng(), delta=delta, **options)].ravel()


def test_probcover_covers_most_first():
    np.testing.assert_allclose(cover(3, 0.5), [0.4, 0.8, 9], rtol=1e-6)
    # Then nothing is uncovered, and 0, 1.2 and 5.3 are .4, .4 and .3 from what is chosen and annotated.
    np.testing.assert_allclose(np.sort(cover(5, 0.5)[3:]), [0, 1.2], rtol=1e-6)


def test_a_ball_does_not_hold_what_is_at_its_radius():
    points = column(0, 2, 5, 7)
    options = {"candidate_class": np.zeros(4), "annotated_class": np.zeros(0), "classes": 1}
    assert probcover(points, points[:0], 3, rng(), delta=2.0, **options).tolist() == [0, 1, 2]
    assert probcover(points, points[:0], 2, rng(), delta=2.001, **options).tolist() == [0, 2]


def test_probcover_clusters_where_one_class_is_predicted():
    points = np.concatenate([column(*np.linspace(0, 1, 20)), column(*np.linspace(50, 51, 20))])
    options = {"candidate_class": np.zeros(40, int), "annotated_class": np.zeros(0, int), "classes": 1}
    first, second = points[probcover(points, points[:0], 2, rng(), **options)].ravel()
    assert abs(first - second) > 48


def test_a_bank_keeps_patches_of_every_class_in_proportion():
    points = rng().normal(size=(100, 3)).astype(np.float32)
    classes = np.repeat([0, 1, 2], [80, 19, 1])
    kept = bank_subset(points, classes, 20, 2, rng())
    assert np.bincount(classes[kept]).tolist() == [16, 3, 1]
    assert bank_subset(points, classes, 100, 2, rng()).tolist() == list(range(100))


def test_normalised():
    u, annotated = normalised(np.array([[3, 4], [0, 0]]), np.array([[0, 2]]), "unit")
    np.testing.assert_allclose(u, [[0.6, 0.8], [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(annotated, [[0, 1]], rtol=1e-6)
    u, annotated = normalised(np.array([[1, 0.1], [3, 0.1]]), np.array([[1, 0.1], [3, 0.1]]), "standard")
    np.testing.assert_allclose(np.concatenate([u, annotated]), [[1, 0.1], [3, 0.1], [1, 0.1], [3, 0.1]], rtol=1e-6)
    assert u.dtype == np.float32
    with pytest.raises(ValueError, match="none, unit or standard"):
        normalised(u, annotated, "length")


def test_pooling_weighs_cells_by_what_the_box_covers():
    assert pooled(np.array([[1.0, 2, 3, 4]]), [3], [5], [2]) == pytest.approx(3.2)
    with pytest.raises(ValueError, match="touches none"):
        pooled(np.array([[1.0, 2]]), [4], [1], [2])


ALL = {
    "k_center": lambda u, a, n: k_center(u, a, n, rng()),
    "k_center longest": lambda u, a, n: k_center(u, a, n, rng(), first="longest"),
    "k_means_plus_plus": lambda u, a, n: k_means_plus_plus(u, n, rng()),
    "typiclust": lambda u, a, n: typiclust(u, a, n, rng()),
    "probcover": lambda u, a, n: probcover(
        u, a, n, rng(), candidate_class=np.arange(len(u)) % 2, annotated_class=np.arange(len(a)) % 2, classes=1
    ),
}


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("annotated", [0, 3])
@pytest.mark.parametrize("n", [0, 1, 7, 12, 20])
def test_all_choose_different_candidates_as_many_as_there_are(method, annotated, n):
    points = rng().normal(size=(15, 4)).astype(np.float32)
    chosen = ALL[method](points[:12], points[12 : 12 + annotated], n)
    assert chosen.dtype == np.int64
    assert len(set(chosen.tolist())) == len(chosen) == min(n, 12)
    assert set(chosen.tolist()) <= set(range(12))


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("value", [0.0, 0.1])
def test_equal_descriptors_are_drawn_at_random(method, value):
    points = np.full((10, 4), value, np.float32)
    with pytest.warns(SelectionWarning, match=r"random|radius"):
        chosen = ALL[method](points[:8], points[8:], 5)
    assert len(set(chosen.tolist())) == 5


@pytest.mark.parametrize("method", ALL)
def test_descriptors_that_are_not_finite_are_refused(method):
    points = np.ones((5, 2), np.float32)
    points[3, 1] = np.nan
    with pytest.raises(ValueError, match="row 3"):
        ALL[method](points, points[:0], 2)
