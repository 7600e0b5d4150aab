"""The quantiles of a case: which image they are taken from, and what they are."""

from __future__ import annotations

import numpy as np
import pytest

from nnactive_ext.members.quantiles import STEPS, quantiles, quantiles_by_scheme


def test_quantiles_of_each_channel():
    image = np.stack([np.arange(101), 3 * np.arange(101)]).reshape(2, 1, 1, 101)
    np.testing.assert_allclose(quantiles(image), [np.arange(101), 3 * np.arange(101)])
    image = np.full((1, 2, 2, 2), np.nan, np.float32)
    assert np.isnan(quantiles(image)).all()
    image[0, 0, 0] = (5, np.inf)
    assert quantiles(image).tolist() == [[5] * STEPS]


@pytest.mark.parametrize(
    ("schemes", "expected"),
    [
        (["CTNormalization", "ZScoreNormalization"], [10, 2]),
        (["ZScoreNormalization", "RGBTo01Normalization"], [1, 20]),
        (["NoNormalization", "NoNormalization"], [10, 20]),
        (["RescaleTo01Normalization", "ZScoreNormalization"], [1, 2]),
    ],
)
def test_absolute_values_are_those_of_the_stored_image(schemes, expected):
    stored, preprocessed = (np.array([1.0, 2]).reshape(2, 1, 1, 1) * factor for factor in (10, 1))
    found = quantiles_by_scheme(schemes, lambda: stored, lambda: preprocessed)
    assert found[:, 0].tolist() == expected


def test_an_image_that_is_not_needed_is_not_read():
    def forbidden() -> np.ndarray:
        raise AssertionError("read")

    image = np.ones((1, 2, 2, 2))
    assert quantiles_by_scheme(["CTNormalization"], lambda: image, forbidden)[0, 0] == 1
    assert quantiles_by_scheme(["ZScoreNormalization"], forbidden, lambda: image)[0, 0] == 1
