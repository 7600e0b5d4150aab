"""The compiled pass from logits to means: its elementary functions, half precision, and that each voxel stands alone."""

from __future__ import annotations

import numpy as np
import pytest

from nnactive_ext.engine.elementary import exp, ln
from nnactive_ext.engine.member_means import Means, add_member


def test_exp_is_right_to_single_precision():
    x = np.concatenate([np.linspace(-87, 0, 20001), -np.logspace(-9, 0, 500)]).astype(np.float32)
    found = np.array([exp(value) for value in x])
    np.testing.assert_allclose(found, np.exp(x.astype(np.float64)), rtol=1.5e-7)
    assert (exp(np.float32(0)), exp(np.float32(-0.0)), exp(np.float32(-87.1)), exp(np.float32(-1e30))) == (1, 1, 0, 0)


def test_ln_is_right_to_single_precision_and_exact_at_one():
    x = np.concatenate([np.linspace(1, 3, 10001), np.logspace(-30, 30, 5000)]).astype(np.float32)
    found = np.array([ln(value) for value in x])
    np.testing.assert_allclose(found, np.log(x.astype(np.float64)), rtol=3e-7, atol=1e-9)
    assert ln(np.float32(1)) == 0


def means(channels: int, voxels: int) -> Means:
    return Means(np.empty((channels, voxels), np.float32), np.empty(voxels, np.float32), np.empty(voxels, np.float32))


@pytest.mark.parametrize("regions", [False, True])
def test_all_half_numbers_are_read_as_numpy_reads_them(regions):
    """65,536 of them, of which those with the largest exponent are no numbers."""
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)]
    logits = np.stack([every, np.zeros_like(every)])
    results = []
    for given in (logits, logits.astype(np.float32)):
        results.append(means(2, every.size))
        assert add_member(given, 0, results[-1], (0, every.size), 1, regions, np.zeros(2, bool))[0]
    for half, single in zip(*results, strict=True):
        assert half.tobytes() == single.tobytes()
    for value in (np.nan, np.inf, -np.inf):
        for kind in (np.float16, np.float32):
            one = np.array([[0, value, 0], [1, 2, 3]], kind)
            assert not add_member(one, 0, means(2, 3), (0, 3), 1, regions, np.zeros(2, bool))[0]


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_a_voxel_has_the_same_bytes_wherever_its_block_begins_and_ends(regions, kind):
    rng = np.random.default_rng(0)
    members = [(rng.standard_normal((5, 1543)) * 6).astype(kind) for _ in range(3)]
    whole = means(5, 1543)
    for number, member in enumerate(members, 1):
        add_member(member, 0, whole, (0, 1543), number, regions, np.zeros(5, bool))
    cut = means(5, 1543)
    for number, member in enumerate(members, 1):
        for first, last in ((0, 1), (1, 514), (514, 700), (700, 1543)):
            add_member(member, first, cut, (first, last), number, regions, np.zeros(5, bool))
    for one, other in zip(whole, cut, strict=True):
        assert one.tobytes() == other.tobytes()
