"""AURC, OoD detection, calibration, NCC, GED and disagreement: the specification's numbers, and what must never change them."""

from __future__ import annotations

import doctest
import math
from types import ModuleType

import numpy as np
import pytest
from fakes import from_members
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr

from nnactive_ext.metrics import ambiguity, calibration, failures
from nnactive_ext.metrics.ambiguity import Disagreement, ged_squared, ncc, variance_map
from nnactive_ext.metrics.calibration import Platt, Reliability, ace, fit_platt
from nnactive_ext.metrics.failures import aurc, auroc, best_aurc, excess_aurc, fpr95
from nnactive_ext.query_methods.scores import bald, expected_entropy, predictive_entropy

RISKS = [0.1, 0.4, 0.2, 0.3]
ID, OOD = [1.0, 2.0, 3.0, 4.0], [2.5, 5.0, 6.0, 7.0]
ONE = {"one": 1}
RATERS, MEMBERS = ([np.array(m) for m in maps] for maps in (([1, 1, 0, 0], [1, 0, 0, 0]), ([1, 1, 0, 0], [1, 1, 1, 0])))
shares = st.integers(0, 20).map(lambda n: n / 20)  # coarse, so that ties are common
cases = st.lists(st.tuples(shares, shares), min_size=1, max_size=12)
arrays = st.lists(st.lists(st.integers(0, 2), min_size=6, max_size=6).map(np.array), min_size=1, max_size=4)


@pytest.mark.parametrize("module", [ambiguity, calibration, failures])
def test_the_examples_in_the_docstrings(module: ModuleType):
    results = doctest.testmod(module)
    assert results.attempted
    assert not results.failed


def test_aurc_of_the_specification():
    assert aurc(RISKS, [0.9, 0.1, 0.8, 0.2]) == pytest.approx(0.175)
    assert np.cumsum(sorted(RISKS)) / [1, 2, 3, 4] == pytest.approx([0.1, 0.15, 0.2, 0.25])
    assert excess_aurc(RISKS, [0.9, 0.1, 0.8, 0.2]) == 0
    assert aurc(RISKS, [0.5] * 4) == pytest.approx(np.mean(RISKS))
    assert aurc(RISKS, [0.9, 0.5, 0.5, 0.1]) == pytest.approx(0.204167, abs=1e-6)


def test_what_is_published_of_aurc_is_something_else():
    """The trapezoid leaves out the last case, and an optimum that is a step sum lies above it; B.6 as printed is negative."""
    selective = np.cumsum(sorted(RISKS)) / [1, 2, 3, 4]
    trapezoid = float(((selective[1:] + selective[:-1]) / 2 * 0.25).sum())
    assert trapezoid == pytest.approx(0.13125)
    assert trapezoid - aurc(RISKS, [-risk for risk in RISKS]) == pytest.approx(-0.04375)
    # Ascending thresholds go from a coverage of 1 down to that of the surest case.
    coverages = np.arange(4, 0, -1) / 4
    assert np.trapezoid(selective[::-1], coverages) == pytest.approx(-0.13125)


@given(cases)
def test_aurc_sees_the_order_of_confidences_only(found):
    risks, confidences = zip(*found, strict=True)
    area = aurc(risks, confidences)
    assert aurc(risks, [math.exp(3 * c) - 40 for c in confidences]) == pytest.approx(area)
    turned = found[::-1]
    assert aurc(*zip(*turned, strict=True)) == pytest.approx(area)
    assert area >= best_aurc(risks) - 1e-12
    assert excess_aurc(risks, confidences) >= 0
    assert excess_aurc(risks, [-rank for rank in np.argsort(np.argsort(risks, kind="stable"))]) == 0
    assert min(risks) - 1e-12 <= area <= max(risks) + 1e-12


def test_one_case_and_no_case():
    assert aurc([0.3], [7]) == 0.3
    for risks, confidences in (([], []), ([0.1], [math.nan]), ([math.nan], [1]), ([0.1], [1, 2])):
        with pytest.raises(ValueError, match=r"case|NaN"):
            aurc(risks, confidences)


def test_ood_of_the_specification():
    assert auroc(OOD, ID) == pytest.approx(0.875)
    assert fpr95(OOD, ID) == 0.5
    assert fpr95([-s for s in ID], [-s for s in OOD]) == 0.25


@given(st.lists(shares, min_size=1, max_size=9), st.lists(shares, min_size=1, max_size=9))
def test_auroc_counts_pairs(positive, negative):
    pairs = [(p > n) + (p == n) / 2 for p in positive for n in negative]
    assert auroc(positive, negative) == pytest.approx(np.mean(pairs))
    assert auroc([-p for p in positive], [-n for n in negative]) == pytest.approx(1 - np.mean(pairs))
    # The slow form of FPR95: the largest threshold among all scores that keeps 95 % of the positive ones.
    keeps = [t for t in {*positive, *negative} if np.mean([p >= t for p in positive]) >= 0.95]
    assert fpr95(positive, negative) == pytest.approx(np.mean([n >= max(keeps) for n in negative]))


def test_ace_of_the_specification():
    assert ace([0.1, 0.15, 0.55, 0.95, 0.9], [0, 1, 1, 1, 0], bins=5) == pytest.approx(0.41667, abs=5e-6)
    alone = [ace(sure, right, bins=5) for sure, right in (([0.1, 0.15], [0, 1]), ([0.55], [1]), ([0.95, 0.9], [1, 0]))]
    assert alone == pytest.approx([0.375, 0.45, 0.425])
    assert ace([1.0, 0.0], [1, 0]) == 0
    assert math.isnan(ace([], []))


@given(st.lists(st.tuples(shares, st.booleans()), min_size=1, max_size=30), st.integers(0, 30))
def test_ace_in_blocks_is_that_of_all(voxels, cut):
    sure, right = (np.array(values) for values in zip(*voxels, strict=True))
    counted = Reliability()
    for part in (slice(None, cut), slice(cut, None)):
        counted.add(sure[part], right[part])
    assert counted.ace == pytest.approx(ace(sure, right))
    assert 0 <= counted.ace <= 1


def test_platt_of_the_specification():
    fitted = fit_platt(np.array([0.1, 0.2, 0.3, 0.5, 0.6, 0.8]), np.array([1, 1, 1, 0, 1, 0]))
    assert fitted == pytest.approx((3.6758, -2.1985), abs=5e-5)
    separable = fit_platt(np.array([0.1, 0.2, 0.8, 0.9]), np.array([1, 1, 0, 0]))
    assert 0 < separable.a < math.inf
    for right, rate in ((1, 5 / 6), (0, 1 / 6)):
        alone = fit_platt(np.array([0.1, 0.2, 0.8, 0.9]), np.full(4, right))
        assert alone.a == 0
        assert alone.confidence(np.array([0.3])) == pytest.approx(rate)
    assert fit_platt(np.full(4, 0.2), np.array([1, 1, 0, 1])).a == 0


def test_platt_is_a_logistic_regression_on_smoothed_targets():
    """scikit-learn's, on every voxel twice with its target as weight; on the labels it has the numbers without smoothing."""
    from sklearn.linear_model import LogisticRegression

    def by_sklearn(u, targets):
        twice, label = np.concatenate([u, u])[:, None], np.repeat([1, 0], len(u))
        model = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000)
        model.fit(twice, label, sample_weight=np.concatenate([targets, 1 - targets]))
        return -model.coef_[0, 0], -model.intercept_[0]

    u, right = np.array([0.1, 0.2, 0.3, 0.5, 0.6, 0.8]), np.array([1, 1, 1, 0, 1, 0])
    assert by_sklearn(u, right) == pytest.approx((9.3888, -5.2380), abs=2e-3)
    rng = np.random.default_rng(0)
    u = rng.exponential(size=400) - 30  # as energies are
    right = rng.random(400) < 1 / (1 + np.exp(2 * (u + 29)))
    hits = right.sum()
    targets = np.where(right, (hits + 1) / (hits + 2), 1 / (400 - hits + 2))
    assert fit_platt(u, right) == pytest.approx(by_sklearn(u, targets), rel=1e-4)


@given(st.floats(0.01, 100), st.floats(-50, 50))
def test_confidence_does_not_depend_on_the_unit_of_the_score(factor, shift):
    u, right = np.array([0.1, 0.2, 0.3, 0.5, 0.6, 0.8]), np.array([1, 1, 1, 0, 1, 0])
    moved = factor * u + shift
    assert fit_platt(moved, right).confidence(moved) == pytest.approx(fit_platt(u, right).confidence(u), abs=1e-6)


def test_no_overflow_far_away():
    assert Platt(3.0, 1.0).confidence(np.array([-1e6, 1e6])).tolist() == [1.0, 0.0]


def test_ncc_of_the_specification():
    first, second = np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.6, 0.9])
    assert ncc(first, second) == pytest.approx(0.937043, abs=5e-7)
    assert ncc(first, second) == pytest.approx(pearsonr(first, second)[0])
    assert ncc(3 * second + 7, first) == pytest.approx(0.937043, abs=5e-7)
    published = ((first - first.mean()) * (second - second.mean())).mean() / (first.std(ddof=1) * second.std(ddof=1))
    assert published == pytest.approx(0.702782, abs=5e-7)
    assert published == pytest.approx(0.75 * ncc(first, second))
    assert math.isnan(ncc(first, np.full(4, 0.3)))
    assert math.isnan(ncc(np.array([]), np.array([])))


def test_ged_of_the_specification():
    across = [1 - 2 * (a & b).sum() / (a.sum() + b.sum()) for a in RATERS for b in MEMBERS]
    within = [[1 - 2 * (a & b).sum() / (a.sum() + b.sum()) for a in maps for b in maps] for maps in (RATERS, MEMBERS)]
    assert np.mean(across) == pytest.approx(0.25833, abs=5e-6)
    assert np.mean(within, axis=1) == pytest.approx([0.16667, 0.1], abs=5e-6)
    assert ged_squared(RATERS, MEMBERS, ONE) == pytest.approx(2 * np.mean(across) - np.mean(within[0]) - np.mean(within[1]))
    assert ged_squared(RATERS, MEMBERS, ONE) == pytest.approx(0.25)
    assert ged_squared(RATERS, RATERS, ONE) == pytest.approx(0)
    empty = [np.zeros(4, int)]
    assert ged_squared(empty, empty, ONE) == 0


@given(arrays, arrays, st.randoms())
def test_ged_is_a_distance_of_sets(references, predictions, order):
    classes = {"one": 1, "two": 2}
    distance = ged_squared(references, predictions, classes)
    assert distance >= -1e-12
    assert ged_squared(predictions, references, classes) == pytest.approx(distance)
    order.shuffle(predictions)
    assert ged_squared(references, predictions, {"two": 2, "one": 1}) == pytest.approx(distance)
    swapped = [[np.choose(one, [0, 2, 1]) for one in maps] for maps in (references, predictions)]
    assert ged_squared(*swapped, classes) == pytest.approx(distance)


def test_variance_of_raters():
    raters = [np.array([0, 1, 1, 2]), np.array([0, 1, 0, 1])]
    assert variance_map(raters, {"background": 0, "one": 1, "two": 2}).tolist() == [0, 0, 0.5, 0.5]


def disagreement(masks) -> float:
    members = Disagreement()
    for mask in masks:
        members.add(np.array(mask, bool))
    return members.value


def test_disagreement_of_the_specification():
    assert 1 - disagreement([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]]) == pytest.approx(0.65556, abs=5e-6)
    assert disagreement([[0, 0], [0, 0]]) == 0
    assert disagreement([[0, 0], [0, 1]]) == 1
    assert math.isnan(disagreement([[0, 1]]))


@given(st.lists(st.lists(st.booleans(), min_size=11, max_size=11), min_size=2, max_size=5), st.randoms())
def test_disagreement_is_a_mean_over_pairs(masks, order):
    from itertools import combinations

    found = disagreement(masks)
    maps = [np.array(mask, int) for mask in masks]
    one_by_one = [1 - (2 * (a & b).sum() / (a.sum() + b.sum()) if a.any() or b.any() else 1) for a, b in combinations(maps, 2)]
    assert found == pytest.approx(np.mean(one_by_one))
    order.shuffle(masks)
    assert disagreement(masks) == pytest.approx(found)


def test_entropies_of_the_specification():
    members = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]])[:, :, None, None, None]
    found = from_members(members)
    numbers = [float(score(found).item()) for score in (predictive_entropy, expected_entropy, bald)]
    assert numbers == pytest.approx([0.67301, 0.53632, 0.13669], abs=5e-6)
