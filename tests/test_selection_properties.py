"""What holds for the selections on any input: invariances, slow and obvious versions, equal results of 1 and 2 threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nnactive_ext.selection import SelectionWarning, k_center, pooled, probcover, purity_radius, sisom_ratios

QUICK = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def chosen_distances(u, annotated, chosen) -> list[float]:
    """The distance of each choice to what was annotated or chosen before."""
    found, centres = [], [*annotated]
    for i in chosen:
        found.append(min((np.linalg.norm(u[i] - c) for c in centres), default=np.inf))
        centres.append(u[i])
    return found


@QUICK
@given(seed=seeds, m=st.integers(0, 4), n=st.integers(1, 12))
def test_k_center_is_greedy_and_its_distances_never_increase(seed, m, n):
    points = rng(seed).normal(size=(20 + m, 3))
    u, annotated = points[:20], points[20:]
    chosen = k_center(u, annotated, n, rng(0))
    distances = chosen_distances(u, annotated, chosen)
    assert all(a >= b for a, b in zip(distances[not m :], distances[1 + (not m) :], strict=False))
    for k in range(not m, n):
        centres = [*annotated, *u[chosen[:k]]]
        farthest = max(min(np.linalg.norm(x - c) for c in centres) for x in u)
        assert distances[k] == pytest.approx(farthest)


@QUICK
@given(seed=seeds, m=st.integers(0, 4), scale=st.floats(0.01, 100))
def test_k_center_does_not_see_rotation_translation_scale_and_order(seed, m, scale):
    r = rng(seed)
    points = r.normal(size=(20 + m, 3))
    turned = scale * points @ np.linalg.qr(r.normal(size=(3, 3)))[0] + r.normal(size=3)
    order = r.permutation(20)
    expected = k_center(points[:20], points[20:], 8, rng(0))
    assert k_center(turned[:20], turned[20:], 8, rng(0)).tolist() == expected.tolist()
    assert order[k_center(points[:20][order], points[20:], 8, rng(0))].tolist() == expected.tolist()


@QUICK
@given(seed=seeds, copies=st.integers(1, 4))
def test_k_center_takes_no_copy_before_everything_else(seed, copies):
    distinct = rng(seed).normal(size=(6, 40)).astype(np.float32) + 100
    u = np.tile(distinct, (copies + 1, 1))[rng(seed).permutation(6 * (copies + 1))]
    chosen = k_center(u, u[:0], 6, rng(0))
    assert len(np.unique(u[chosen], axis=0)) == 6


boxes = st.integers(1, 3).flatmap(
    lambda axes: st.tuples(
        st.lists(st.integers(1, 5), min_size=axes, max_size=axes),  # cells
        st.lists(st.integers(1, 4), min_size=axes, max_size=axes),  # stride
        seeds,
    )
)


def box_in(r: np.random.Generator, extent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ends = np.sort(np.stack([r.permutation(e + 1)[:2] for e in extent]), axis=1)
    return ends[:, 0], ends[:, 1] - ends[:, 0]


@QUICK
@given(given_=boxes)
def test_pooling_equals_the_mean_over_voxels(given_):
    cells, stride, seed = given_
    r = rng(seed)
    features = r.normal(size=(2, *cells)).astype(np.float32)
    start, size = box_in(r, np.multiply(cells, stride))
    voxels = features
    for axis, s in enumerate(stride):
        voxels = np.repeat(voxels, s, axis=axis + 1)
    inside = voxels[(slice(None), *(slice(b, b + n) for b, n in zip(start, size, strict=True)))]
    expected = inside.reshape(2, -1).mean(1, dtype=np.float64)
    np.testing.assert_allclose(pooled(features, start, size, stride), expected, rtol=1e-5, atol=1e-6)


@QUICK
@given(given_=boxes)
def test_pooling_keeps_constants_and_adds_up_over_a_partition(given_):
    cells, stride, seed = given_
    r = rng(seed)
    features = r.normal(size=(2, *cells)).astype(np.float32)
    features[1] = 0.7
    start, size = box_in(r, np.multiply(cells, stride))
    whole = pooled(features, start, size, stride)
    assert whole[1] == pytest.approx(0.7, rel=1e-6)
    cut = r.uniform(0.1, 0.9) * size[0]  # of any length, not of whole voxels
    first = pooled(features, start, [cut, *size[1:]], stride)
    rest = pooled(features, [start[0] + cut, *start[1:]], [size[0] - cut, *size[1:]], stride)
    np.testing.assert_allclose((cut * first + (size[0] - cut) * rest) / size[0], whole, rtol=1e-4, atol=1e-5)


def covered_slowly(u, annotated, n, delta) -> list[int]:
    """ProbCover word for word, until everything is covered."""
    everything = np.concatenate([u, annotated])
    distance = np.linalg.norm(everything[:, None].astype(float) - everything, axis=2)
    covered = (distance[:, len(u) :] < delta).any(1)
    chosen: list[int] = []
    while len(chosen) < n and not covered.all():
        new = ((distance < delta)[:, : len(u)] & ~covered[:, None]).sum(0)
        if not new.max():
            break
        chosen.append(int(new.argmax()))
        covered |= distance[:, chosen[-1]] < delta
    return chosen


@QUICK
@given(points=arrays(np.float32, (30, 2), elements=st.integers(0, 8).map(float)), m=st.integers(0, 5), seed=seeds)
def test_probcover_equals_the_definition_on_a_lattice_of_ties(points, m, seed):
    u, annotated = points[m:], points[:m]
    classes = rng(seed).integers(0, 3, 30)
    options = {"candidate_class": classes[m:], "annotated_class": classes[:m], "classes": 2}
    for delta in (1.0, np.float64(np.sqrt(5)), 2.5):
        slow = covered_slowly(u, annotated, 6, delta)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SelectionWarning)
            assert probcover(u, annotated, 6, rng(0), delta=delta, **options)[: len(slow)].tolist() == slow


@QUICK
@given(seed=seeds, purity=st.sampled_from([0.5, 0.9, 0.95, 1.0]))
def test_the_radius_is_the_largest_with_that_purity(seed, purity):
    points, classes = rng(seed).normal(size=(40, 2)), rng(seed).integers(0, 3, 40)
    radius = purity_radius(points, classes, purity)
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    other = classes[:, None] != classes

    def pure(r: float) -> float:
        return float(np.mean(~((distance < r) & other).any(1)))

    assert pure(radius * (1 - 1e-9)) >= purity
    assert pure(radius * (1 + 1e-9)) < purity


@QUICK
@given(seed=seeds, origin=st.sampled_from(["query", "neighbour"]))
def test_ratios_equal_the_definition(seed, origin):
    r = rng(seed)
    u, bank = r.normal(size=(10, 3)), r.normal(size=(12, 3))
    own, known = r.integers(0, 3, 10), np.arange(12) % 3

    def ratio(x, c, others, classes) -> float:
        distance = np.linalg.norm(others - x, axis=1)
        inner = np.argmin(np.where(classes == c, distance, np.inf))
        outer = np.linalg.norm(others - (x if origin == "query" else others[inner]), axis=1)
        return distance[inner] / outer[classes != c].min()

    found = sisom_ratios(u, bank, own, known, origin=origin)
    np.testing.assert_allclose(found.r, [ratio(x, c, bank, known) for x, c in zip(u, own, strict=True)])
    left_out = [ratio(bank[i], known[i], np.delete(bank, i, 0), np.delete(known, i)) for i in range(12)]
    np.testing.assert_allclose(found.bank, left_out)


SELECT = """
import json, sys, warnings
import numpy as np, sklearn.cluster, torch
from nnactive_ext.selection import *
from nnactive_ext.selection.k_means import clusters
torch.set_num_threads(int(sys.argv[1]))
rng = lambda: np.random.default_rng(0)
points = rng().normal(size=(900, 20)).astype(np.float32)
u, annotated, own, known = points[:700], points[700:], np.arange(700) % 4, np.arange(200) % 4
ratios = sisom_ratios(u, annotated, own, known)
print(json.dumps([
    k_center(u, annotated, 50, rng()).tolist(),
    k_means_plus_plus(u, 50, rng()).tolist(),
    typiclust(u, annotated, 30, rng()).tolist(),
    typiclust(u, annotated[:10], 30, rng()).tolist(),
    probcover(u, annotated, 50, rng(), candidate_class=own, annotated_class=known, classes=3).tolist(),
    ratios.r.tolist(), ratios.average,
]))
"""


@pytest.mark.slow
def test_one_and_two_threads_choose_the_same():
    found = []
    for threads in ("1", "2"):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = {**os.environ, **dict.fromkeys(names, threads)}
        command = [sys.executable, "-W", "ignore", "-c", SELECT, threads]
        found.append(json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout))
    assert found[0] == found[1]
