"""Selections equal those of scikit-activeml, another implementation, where it has the same algorithm."""

from __future__ import annotations

import numpy as np
import pytest

from nnactive_ext.selection import badge_gradient, k_center, k_means_plus_plus, probcover, typiclust

pool = pytest.importorskip("skactiveml.pool")
_badge = pytest.importorskip("skactiveml.pool._badge")

SEEDS = range(3)


def data(seed: int, annotated: int = 6, size: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Points (size, 4) in four groups, and their labels, NaN but for the first ``annotated``."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(size, 4)) + 6 * np.eye(4)[rng.integers(0, 4, size)]
    y = np.full(size, np.nan)
    y[:annotated] = np.arange(annotated) % 2
    return x.astype(np.float32), y


def first_of_ties(values, random_state=None) -> np.ndarray:
    """scikit-activeml draws among equal utilities; ours goes to the lowest index."""
    return np.array([np.nanargmax(values)])


@pytest.mark.parametrize("seed", SEEDS)
def test_core_set(seed):
    x, y = data(seed)
    theirs = pool.CoreSet(random_state=seed).query(x, y, batch_size=20)
    ours = 6 + k_center(x[6:], x[:6], 20, np.random.default_rng(0))
    assert ours.tolist() == list(theirs)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("delta", [0.8, 1.5])
@pytest.mark.filterwarnings("ignore:The maximum purity")  # it did not look for a radius
def test_probcover(seed, delta, monkeypatch):
    monkeypatch.setattr("skactiveml.pool._prob_cover.rand_argmax", first_of_ties)
    x, y = data(seed)
    method = pool.ProbCover(n_classes=2, deltas=[delta], random_state=seed)
    theirs, utilities = method.query(x, y, batch_size=20, return_utilities=True)
    covering = int((np.nanmax(utilities, axis=1) > 0).sum())  # then theirs goes on at random, ours with k-center
    assert covering > 5
    options = {"candidate_class": np.zeros(114, int), "annotated_class": np.zeros(6, int), "classes": 1, "delta": delta}
    ours = 6 + probcover(x[6:], x[:6], covering, np.random.default_rng(0), **options)
    assert ours.tolist() == list(theirs[:covering])


@pytest.mark.parametrize("seed", SEEDS)
def test_typiclust(seed, monkeypatch):
    """Theirs leaves out clusters with annotated points; ours takes half the cluster where that is fewer than the neighbours."""
    monkeypatch.setattr("skactiveml.pool._typi_clust.rand_argmax", first_of_ties)
    x, y = data(seed, annotated=2, size=400)
    order = np.r_[2:400, 0:2]  # candidates first: k-means sees our order
    seeds = np.random.default_rng(seed)
    kmeans = {"n_init": 10, "random_state": int(np.random.default_rng(seed).integers(2**31))}
    theirs = pool.TypiClust(cluster_algo_dict=kmeans, random_state=seed).query(x[order], y[order], batch_size=6)
    ours = typiclust(x[2:], x[:2], 6, seeds, neighbours=5)
    assert ours.tolist() == list(theirs)


@pytest.mark.parametrize("seed", SEEDS)
def test_badge(seed, monkeypatch):
    """The same gradients (of one voxel each) and, from the same random numbers, the same draws."""
    # It makes a state of its own from the seed and the number of labels.
    monkeypatch.setattr("skactiveml.base.check_random_state", lambda state, *_: np.random.RandomState(state))
    # It keeps the squared lengths as distances, as if the origin were a centre, which neither paper nor published code does.
    distances, lengths = _badge._d_2, []

    def without_origin(gradients, chosen, latest=None):
        found = distances(gradients, chosen, np.inf if lengths and latest is lengths[0] else latest)
        lengths.append(found)
        return found

    monkeypatch.setattr(_badge, "_d_2", without_origin)
    classifier = pytest.importorskip("skactiveml.classifier")
    linear = pytest.importorskip("sklearn.linear_model")
    x, y = data(seed, annotated=12)
    clf = classifier.SklearnClassifier(linear.LogisticRegression(), classes=[0, 1], random_state=0).fit(x, y)
    theirs = pool.Badge(random_state=seed).query(x, y, clf, fit_clf=False, batch_size=15)
    p = clf.predict_proba(x[12:])
    gradients = np.stack([badge_gradient(q[:, None], v[:, None]) for q, v in zip(p, x[12:], strict=True)])
    same_numbers = np.random.Generator(np.random.RandomState(seed)._bit_generator)
    assert (12 + k_means_plus_plus(gradients, 15, same_numbers)).tolist() == list(theirs)
