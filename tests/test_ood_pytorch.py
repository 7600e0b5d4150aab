"""Scores equal pytorch-ood's, another implementation, on the same arrays."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from nnactive_ext.ood import energy, entropy, knn_distances, mahalanobis_squared, max_logit, msp

torch = pytest.importorskip("torch")
detector = pytest.importorskip("pytorch_ood.detector")


@pytest.fixture
def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 4, (200, 5))


@pytest.fixture
def features() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(1)
    mixing = draw.normal(size=(6, 6))
    return draw.normal(size=(150, 6)) @ mixing, draw.normal(0, 2, (50, 6)) @ mixing


def test_energy_and_largest_logit(logits):
    theirs = torch.from_numpy(logits)
    np.testing.assert_allclose(energy(logits.T), detector.EnergyBased.score(theirs))
    np.testing.assert_allclose(max_logit(logits.T), detector.MaxLogit.score(theirs))


def test_msp(logits):
    """Theirs is -max p, ours 1 - max p; so ours is larger by 1."""
    theirs = detector.MaxSoftmax.score(torch.from_numpy(logits))
    np.testing.assert_allclose(msp(softmax(logits.T, axis=0)), 1 + theirs.numpy(), atol=1e-12)


def test_entropy(logits):
    """Theirs clips probabilities at 1e-7, which adds at most 1.6e-6 a class; ours does not."""
    theirs = detector.Entropy.score(torch.from_numpy(logits))
    np.testing.assert_allclose(entropy(softmax(logits.T, axis=0)), theirs, atol=5 * 1.7e-6)


@pytest.mark.parametrize("k", [1, 5])
def test_neighbours(features, k):
    """Theirs brings features to unit length by default, as published; ours compares them as they are, as theirs can."""
    known, new = map(torch.from_numpy, features)
    theirs = detector.KNN(None, k=k, normalize=False).fit_features(known, torch.zeros(len(known)))
    np.testing.assert_allclose(knn_distances(features[1], features[0], k), theirs.predict_features(new))


def test_mahalanobis(features):
    """Theirs is half the squared distance, by the sum of outer products instead of their mean, without PCA and shrinkage.

    It has a Gaussian for each class with one covariance; with one class it is ours, divided by 2 N, up to a ridge of 1e-6.
    """
    known, new = (torch.from_numpy(values).float() for values in features)
    theirs = detector.Mahalanobis(None).fit_features(known, torch.zeros(len(known), dtype=torch.long))
    ours = mahalanobis_squared(features[1], features[0], shrinkage=0, components=6)
    np.testing.assert_allclose(ours, 2 * len(known) * theirs.predict_features(new).numpy(), rtol=1e-3)


def test_a_network_of_nnunets_does_not_see_a_gain():
    """Instance normalisation divides it out: why no score of members finds it, and the stored histogram does."""
    from small_networks import small_network

    network, image = (
        small_network(),
        torch.from_numpy(np.random.default_rng(0).normal(0, 1, (1, 1, 8, 8, 8))).float(),
    )
    with torch.no_grad():
        plain, louder = network(image), network(3 * image)
    assert (plain - louder).abs().max() < 2e-3 * plain.abs().max()
