"""What holds for every score of strange images: orders, shifts, leave-one-out; and what degenerate input gives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA

from nnactive_ext.ood import (
    Gaussian,
    TooFew,
    activated_share,
    conformal_p,
    disagreement,
    energy,
    entropy,
    geometry_scores,
    geometry_z,
    histogram_scores,
    judge,
    knn_distances,
    mahalanobis_squared,
    max_logit,
    msp,
    robust_z,
    tanl,
    threshold,
    window_scores,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


CASES = 9
REFERENCE = np.arange(CASES) < 6


def windows(seed: int = 0) -> list[np.ndarray]:
    """Nine cases of 7 to 15 windows; the last is strange."""
    draw = rng(seed)
    return [draw.normal(9 if case == CASES - 1 else 0, 1, (7 + case, 4)) for case in range(CASES)]


def geometry(spacing=(1.0, 1.0, 1.0), extent=(100.0, 200.0, 200.0), cases: int = CASES):
    return np.tile(spacing, (cases, 1)), np.tile(extent, (cases, 1)), np.ones(cases, int)


def test_a_constant_added_to_logits_shows_in_energy_and_largest_logit_only():
    logits = rng().normal(0, 3, (4, 5, 6))
    for score in (msp, entropy):
        np.testing.assert_allclose(score(softmax(logits + 7, 0)), score(softmax(logits, 0)), atol=1e-12)
    for score in (energy, max_logit):
        np.testing.assert_allclose(score(logits + 7), score(logits) - 7)
    assert energy(np.full((3, 1), 1e4)).tolist() == [pytest.approx(-1e4 - np.log(3))]


@pytest.mark.parametrize("distance", [knn_distances, mahalanobis_squared])
@pytest.mark.parametrize("worst", [False, True])
def test_cases_of_the_reference_are_compared_with_the_others(distance, worst):
    given = windows()
    scores = window_scores(given, REFERENCE, distance, worst)
    for case in range(CASES):
        others = np.concatenate([given[i] for i in range(6) if i != case])
        found = distance(given[case], others)
        assert scores[case] == pytest.approx(found.max() if worst else found.mean())
    assert scores.argmax() == CASES - 1


@pytest.mark.parametrize("distance", [knn_distances, mahalanobis_squared])
def test_the_order_of_cases_does_not_matter(distance):
    given, order = windows(), rng(1).permutation(CASES)
    scores = window_scores(given, REFERENCE, distance)
    np.testing.assert_allclose(window_scores([given[i] for i in order], REFERENCE[order], distance), scores[order])
    values = rng(2).normal(size=(CASES, 2, 11))
    np.testing.assert_array_equal(histogram_scores(values[order], REFERENCE[order]), histogram_scores(values, REFERENCE)[order])


def test_neighbours_are_those_of_all_differences():
    a, b = rng().normal(1e4, 1, (300, 5)), rng(1).normal(1e4, 1, (40, 5))
    every = np.sort(np.linalg.norm(a[:, None] - b, axis=2), axis=1)
    for k in (1, 5, 40):
        np.testing.assert_allclose(knn_distances(a, b, k), every[:, k - 1], rtol=1e-12)
    np.testing.assert_array_equal(knn_distances(a, b, 99), knn_distances(a, b, 40))
    assert knn_distances(b, np.repeat(b, 3, axis=0), 3).tolist() == [0] * 40


def test_equal_windows_have_distance_0_and_no_reference_none():
    same = np.full((3, 4), 0.1)
    assert knn_distances(same, np.tile(same, (9, 1))).tolist() == [0, 0, 0]
    assert np.isnan(knn_distances(same, same[:0])).all()
    assert mahalanobis_squared(same / 0.1, np.ones((30, 4))).tolist() == [0, 0, 0]
    assert mahalanobis_squared(same / 0.1 + np.eye(4)[:3], np.ones((30, 4))).tolist() == [np.inf] * 3


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_the_gaussian_is_that_of_scikit_learn(scale):
    """PCA to the share of the variance, then Ledoit and Wolf's covariance of its coordinates."""
    x = scale * rng().normal(size=(400, 8)) @ np.diag([9, 5, 3, 2, 1, 0.1, 0.05, 0.01])
    pca = PCA(0.99, svd_solver="full").fit(x)
    theirs = LedoitWolf().fit(pca.transform(x))
    u = scale * rng(1).normal(size=(20, 8))
    assert len(Gaussian.fitted(x).variances) == pca.n_components_ == 5
    np.testing.assert_allclose(mahalanobis_squared(u, x), theirs.mahalanobis(pca.transform(u)), rtol=1e-6)


def test_a_tenth_of_the_windows_bounds_the_components():
    assert len(Gaussian.fitted(rng().normal(size=(39, 20))).variances) == 3
    assert len(Gaussian.fitted(rng().normal(size=(4, 20))).variances) == 1


@pytest.mark.parametrize(("cases", "each"), [(2, 50), (6, 4), (0, 9), (1, 99)])
def test_a_small_reference_is_said(cases, each):
    given = [np.zeros((each, 3))] * 6
    with pytest.raises(TooFew, match=rf"{cases * each} windows of {cases} cases"):
        window_scores(given, np.arange(6) < cases)


def test_a_case_without_windows_has_no_score_and_does_not_count():
    given = [*windows()[:8], np.zeros((0, 4))]
    scores = window_scores(given, np.arange(CASES) != 7)
    assert np.isnan(scores).tolist() == [False] * 8 + [True]
    with pytest.raises(ValueError, match="finite"):
        window_scores([*given[:8], np.full((1, 4), np.nan)], REFERENCE)


@pytest.mark.parametrize("number", [0, 1])
def test_one_mask_has_no_disagreement(number):
    assert np.isnan(disagreement(np.ones((number, 3), bool)))


def test_empty_masks_agree():
    empty, full = np.zeros(4, bool), np.ones(4, bool)
    assert (disagreement([empty, empty]), disagreement([empty, full]), disagreement([full, full])) == (0, 1, 0)


def test_histograms_do_not_depend_on_the_unit():
    values = np.sort(rng().normal(size=(CASES, 2, 101)), axis=2)
    shifted = 40 * values + 1000
    np.testing.assert_allclose(histogram_scores(shifted, REFERENCE), histogram_scores(values, REFERENCE))


def test_equal_histograms_and_one_or_no_case_of_reference():
    same = np.ones((4, 1, 101))
    assert histogram_scores(same, np.ones(4, bool)).tolist() == [0] * 4
    other = np.concatenate([same, same + 3])
    assert histogram_scores(other, np.arange(8) < 4).tolist() == [0] * 4 + [3] * 4
    assert np.isnan(histogram_scores(same, np.zeros(4, bool))).all()
    assert np.isnan(histogram_scores(same, np.arange(4) == 0)).tolist() == [True, False, False, False]
    mostly = np.concatenate([same, same[:1] + 2])  # the median distance is 0, the smallest positive one 2
    assert histogram_scores(mostly, np.ones(5, bool)).tolist() == [0, 0, 0, 0, 1]


def test_without_spread_the_smallest_step_is_the_unit():
    known = np.array([1.0, 1, 1, 1, 1.5, 3])
    assert robust_z(np.array([1, 2, 0]), known) == pytest.approx([0, 1 / (1.4826 * 0.5), -1 / (1.4826 * 0.5)])
    assert robust_z(np.array([1, 1.001, 0]), np.ones(5)).tolist() == [0, np.inf, -np.inf]


def test_a_case_that_alone_differs_is_flagged_among_equal_ones():
    """Its own step would be the unit of all, and hide it."""
    judged = judge(np.array([0, 0, 0, 0, 0.2, 0.2]), np.arange(6) < 5)
    assert judged.flagged.tolist() == [False] * 4 + [True, False]
    assert judged.z[4] == np.inf


@pytest.mark.parametrize("number", [0, 1, 2])
def test_two_cases_flag_nothing(number):
    judged = judge(np.array([1.0, 1.1, 99]), np.arange(3) < number)
    assert np.isnan(judged.z).all()
    assert not judged.flagged.any()
    judged = judge(np.array([1.0, 1.1, np.nan, 99]), np.arange(4) < 3)
    assert not judged.flagged.any()


def test_flags_are_one_sided_and_an_unknown_score_flags_nothing():
    known = rng().normal(size=20)
    judged = judge(np.array([*known, -99, 99, np.nan]), np.arange(23) < 20)
    assert judged.flagged[20:].tolist() == [False, True, False]
    assert np.isnan([judged.z[22], judged.p[22]]).all()
    assert judged.p[21] == 1 / 21


def test_the_conformal_p_is_the_rank():
    known = rng().normal(size=12)
    s = np.array([*known, *rng(1).normal(size=5)])
    np.testing.assert_allclose(conformal_p(s, known), [(1 + (known >= x).sum()) / 13 for x in s])
    judged = judge(known, np.ones(12, bool))
    np.testing.assert_allclose(np.sort(judged.p), np.arange(1, 13) / 12)  # uniform, as a p of exchangeable cases is


def test_another_spacing_or_extent_or_channel_stands_out():
    spacing, extent, channels = geometry()
    spacing[6], extent[7, 0], channels[8] = (7.5, 1, 1), 30, 2
    z = geometry_z(spacing, extent, channels, REFERENCE)
    assert [np.flatnonzero(np.abs(row) > 3.5).tolist() for row in z] == [[]] * 6 + [[0], [3], [6]]
    assert z[7, 3] < 0
    assert geometry_scores(spacing, extent, channels, REFERENCE)[7] == -z[7, 3]


def test_rounding_of_a_header_is_no_difference():
    spacing, extent, channels = geometry()
    spacing[7] += 0.01
    assert (geometry_scores(spacing, extent, channels, REFERENCE) < 1).all()


def test_geometry_needs_three_cases_and_lengths():
    assert np.isnan(geometry_scores(*geometry(), np.arange(CASES) < 2)).all()
    with pytest.raises(ValueError, match="case 0"):
        geometry_scores(*geometry(spacing=(0, 1, 1)), REFERENCE)


def cosines(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """40 cases, of which 10 are like some words, against 3 texts and 200 words."""
    draw = rng(seed)
    relevant, words = draw.normal(0.25, 0.01, (40, 3)), draw.normal(0.15, 0.02, (40, 200))
    relevant[30:] -= 0.08
    words[30:, 50:60] += 0.12
    return relevant, words


def test_strangers_activate_their_words():
    found = tanl(*cosines(), beta=10)
    assert set(found.negatives.tolist()) == set(range(50, 60))
    assert found.score[30:].min() > found.score[:30].max()


def test_tanl_does_not_depend_on_the_order_of_cases_and_texts():
    relevant, words = cosines()
    found, order = tanl(relevant, words, beta=20), rng(1).permutation(40)
    np.testing.assert_allclose(tanl(relevant[order][:, ::-1], words[order], beta=20).score, found.score[order])
    columns = rng(2).permutation(200)
    np.testing.assert_allclose(tanl(relevant, words[:, columns], beta=20).score, found.score)


def test_one_constant_added_to_all_cosines_of_a_case_changes_nothing():
    relevant, words = cosines()
    step = rng(3).normal(size=(40, 1))
    np.testing.assert_allclose(tanl(relevant + step, words + step).score, tanl(relevant, words).score, atol=1e-9)


def test_bits_of_the_corpus_make_no_difference(monkeypatch):
    found = tanl(*cosines(), beta=20)
    monkeypatch.setattr("nnactive_ext.ood.negative_labels._COLUMNS", 7)
    again = tanl(*cosines(), beta=20)
    np.testing.assert_allclose(again.score, found.score)
    assert again.negatives.tolist() == found.negatives.tolist()


def test_nothing_to_split():
    relevant, words = cosines()
    one = tanl(relevant[:1], words[:1])
    same = tanl(np.tile(relevant[:1], (5, 1)), np.tile(words[:1], (5, 1)))
    for found in (one, same):
        assert np.isnan(found.threshold)
        assert not len(found.negatives)
    share = softmax(100 * np.concatenate([relevant, words], 1), axis=1)[:, :3].sum(1)
    np.testing.assert_allclose(same.score, -share[0])
    assert tanl(relevant, words[:, :0]).score == pytest.approx([-1] * 40)
    with pytest.raises(ValueError, match="finite"):
        tanl(relevant * np.nan, words)
    with pytest.raises(ValueError, match="at least 1"):
        tanl(relevant, words, beta=0)


def test_prefixes_grow_by_gamma():
    relevant, words = cosines()
    by_hand = [softmax(100 * np.concatenate([relevant, words[:, :n]], 1), axis=1)[:, :3].sum(1) for n in (3, 6, 9)]
    np.testing.assert_allclose(activated_share(relevant, words[:, :10], gamma=3), np.mean(by_hand, axis=0))
    long = np.tile(words, (1, 4))
    every = activated_share(relevant, long)
    np.testing.assert_allclose(every, activated_share(relevant, long[:, :790]), atol=0.02)  # 200 prefixes of 800


def test_a_gap_leaves_doubtful_cases_out_of_both_sides():
    """The case in the middle activates a word that none of the others does."""
    relevant = np.array([[0.31]] * 3 + [[0.20]] + [[0.10]] * 3)
    words = np.array([[0.1, 0.1]] * 3 + [[0.1, 0.205]] + [[0.3, 0.1]] * 3)
    found, wide = (tanl(relevant, words, scale=20, gap=gap) for gap in (0, 0.5))
    every = softmax(20 * np.concatenate([relevant, words], 1), axis=1)
    assert 0.5 * wide.threshold < every[3, 0] < 0.5 * wide.threshold + 0.5
    by_hand = every[4:, 1:].mean(0) - every[:3, 1:].mean(0)
    np.testing.assert_allclose(wide.activation, by_hand[wide.negatives])
    assert not np.allclose(found.activation, wide.activation)


def test_the_middle_of_equal_thresholds():
    assert threshold(np.array([0.1, 0.9])) == 0.49
    assert threshold(np.array([0.0, 0.02])) == 0.0
