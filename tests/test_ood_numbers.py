"""The worked numbers of the scores of strange images (spec/ood.md, its numbers marked (n))."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax

from nnactive_ext.ood import (
    activated_share,
    conformal_p,
    disagreement,
    energy,
    entropy,
    histogram_distances,
    histogram_scores,
    judge,
    knn_distances,
    mahalanobis_squared,
    max_logit,
    msp,
    robust_z,
    tanl,
    threshold,
    wasserstein,
)
from nnactive_ext.selection import sisom_ratio

LOGITS = np.array([[2.0, 0, -1], [7, 5, 4]]).T
RELEVANT = np.array([[0.30, 0.25], [0.29, 0.20], [0.31, 0.27], [0.15, 0.16], [0.14, 0.12]])
WORDS = np.array([[0.10, 0.12, 0.11], [0.12, 0.10, 0.13], [0.09, 0.11, 0.10], [0.28, 0.12, 0.10], [0.27, 0.13, 0.12]])
FIVE = np.array([[0, 0], [2, 0], [0, 2], [2, 2], [1, 1]])


def close(found, expected, digits=5):
    np.testing.assert_allclose(found, expected, atol=0.51 * 10.0**-digits)


def test_only_logits_see_size():
    p = softmax(LOGITS, axis=0)
    close(msp(p), [0.15621] * 2)
    close(max_logit(LOGITS), [-2, -7])
    close(entropy(p), [0.52427] * 2)
    close(energy(LOGITS), [-2.16985, -7.16985])


def test_the_scores_of_regions_are_sums_over_regions():
    logits = np.array([[2.0], [-1.0]])
    close(energy(logits, regions=True), -np.log1p(np.exp(logits)).sum(0))
    close(max_logit(logits), [-2])
    p = expit(logits)
    close(msp(p, regions=True), (1 - p[0]) + p[1])
    close(entropy(p, regions=True), -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum(0))


def test_they_are_the_voxel_maps_of_a_query():
    from nnactive_ext.query_methods.base import Statistics
    from nnactive_ext.query_methods.scores import least_confidence, predictive_entropy

    p = np.random.default_rng(0).dirichlet(np.ones(4), (2, 3, 4)).transpose(3, 0, 1, 2).astype(np.float32)
    for regions in (False, True):
        statistics = Statistics(p, np.zeros(p.shape[1:], np.float32), frozenset(range(4)), regions)
        close(msp(p, regions), least_confidence(statistics))
        close(entropy(p, regions), predictive_entropy(statistics))


def test_abet_sharpens_the_energy_with_its_temperature():
    g = np.array([0.8, 0.2])
    for t, inside, ablated in ((0.5, -1.86328, -0.93164), (0.1, -8.00248, -0.80025)):
        close(energy(g / t), inside)
        close(t * energy(g / t), ablated)


def test_the_distance_of_distributions():
    assert wasserstein(np.array([0, 1, 2, 3]), np.array([0, 1, 2, 5])) == 0.5


def test_the_histogram_score_by_hand():
    """Two channels of which one is in other units: within the reference 0, 1, 3 the distances are 1, 2, 3, the median is 2."""
    one = np.array([0.0, 1, 3, 7])[:, None] + np.arange(4) / 10
    both = np.stack([one, 1000 * one], axis=1)
    reference = np.array([True, True, True, False])
    np.testing.assert_allclose(histogram_distances(both, both[reference])[3], [3.5, 3, 2])
    np.testing.assert_allclose(histogram_scores(both, reference), [0.5, 0.5, 1, 2])


def test_neighbours_and_mahalanobis():
    for k, expected in ((1, 1.4142), (3, 2.0)):
        close(knn_distances(np.array([[3, 1]]), FIVE, k), expected, 4)
    close(mahalanobis_squared(np.array([[3, 1]]), FIVE, shrinkage=0, components=2), 5)


def test_disagreement_of_three_masks():
    masks = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]], bool)
    close(1 - disagreement(masks), 0.65556)


def test_far_away_the_ratio_from_the_neighbour_grows():
    x, bank, classes = np.array([[1000.0, 0]]), np.array([[0, 0], [1, 0], [4, 0], [5, 1]]), np.array([0, 0, 1, 1])
    close(sisom_ratio(x, bank, np.array([0]), classes), 1.0040, 4)
    close(sisom_ratio(x, bank, np.array([0]), classes, origin="neighbour"), 333, 0)


def test_the_robust_z_and_the_conformal_p():
    reference = np.array([1, 1.2, 0.9, 1.1, 1, 1.3])
    close(robust_z(np.array([2.5]), reference), 9.780, 3)
    close(conformal_p(np.array([2.5]), reference), 0.1429, 4)
    judged = judge(np.append(reference, 2.5), np.arange(7) < 6)
    assert judged.flagged.tolist() == [False] * 6 + [True]
    close(judged.z[-1], 9.780, 3)
    close(judged.p[-1], 0.1429, 4)
    assert judged.p[5] == 1 / 6  # the largest of six, left out of its own p


def test_activated_negative_labels():
    every = softmax(10 * np.concatenate([RELEVANT, WORDS], axis=1), axis=1)
    share = every[:, :2].sum(1)
    close(share, [0.78111, 0.72477, 0.81922, 0.29559, 0.2522])
    assert threshold(share) == 0.51
    activation = every[3:, 2:].mean(0) - every[:3, 2:].mean(0)
    close(activation, [0.44059, 0.04014, 0.02041])
    for beta, expected in (
        (1, [0.9223, 0.88505, 0.93779, 0.36457, 0.3314]),
        (2, [0.88234, 0.84699, 0.90468, 0.34384, 0.30795]),
    ):
        found = tanl(RELEVANT, WORDS, scale=10, beta=beta)
        close(-found.score, expected)
        assert found.negatives.tolist() == list(range(beta))
        close(found.activation, activation[:beta])
        close(activated_share(RELEVANT, WORDS[:, found.negatives], scale=10), expected)


def test_the_threshold_splits_a_normal_distribution():
    """The variance between its halves is 2/pi = 64 % of all."""
    share = np.clip(np.random.default_rng(0).normal(0.5, 0.1, 20000), 0, 1)
    above = share > threshold(share)
    between = above.mean() * (1 - above.mean()) * (share[above].mean() - share[~above].mean()) ** 2
    assert between / share.var() == pytest.approx(0.64, abs=0.01)
