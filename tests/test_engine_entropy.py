"""The engine's entropy against numpy's logarithm in double precision."""

import numpy as np
import pytest

from nnactive_ext.engine import add_entropy


def exact(p):
    p = np.clip(p.astype(float), 0, 1)
    return -p * np.log(np.where(p > 0, p, 1))


@pytest.mark.parametrize("binary", [False, True])
def test_it_is_right_to_the_last_digits(binary):
    rng = np.random.default_rng(0)
    small, near_one = 10.0 ** rng.uniform(-37, 0, 20000), 1 - 10.0 ** rng.uniform(-7, 0, 20000)
    edges = [0, 1, 0.5, 2**-0.5, 1.2e-38, np.nextafter(np.float32(1), np.float32(0))]
    p = np.concatenate([small, near_one, edges]).astype(np.float32).reshape(2, 1, -1)
    total = np.full(p.shape, 0, np.float32)
    add_entropy(total, p, binary)
    expected = exact(p) + (exact(np.float32(1) - p) if binary else 0)
    np.testing.assert_allclose(total, expected, rtol=5e-7, atol=1e-37)
    assert total.min() >= 0


def test_it_adds_and_clips_and_keeps_nan():
    total = np.array([[[1, 2, 3, 4]]], np.float32)
    add_entropy(total, np.array([[[-0.1, 1.1, 0.5, np.nan]]]))
    np.testing.assert_allclose(total, [[[1, 2, 3 + 0.5 * np.log(2), np.nan]]], rtol=1e-6)


def test_half_precision_and_views_are_accepted():
    p = np.random.default_rng(0).random((5, 6, 7, 2))
    total = np.zeros((5, 6, 7), np.float32)
    add_entropy(total, p[..., 0].astype(np.float16))
    np.testing.assert_allclose(total, exact(p[..., 0]), atol=1e-3)
