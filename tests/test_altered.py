"""The alterations of the benchmark keep an image an image, and its page has a place for the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import altered
from benchmarks.report import check_markers
from nnactive_ext.members.quantiles import quantiles

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks" / "altered.md"
IMAGE = np.random.default_rng(0).gamma(2, 100, (20, 24, 18))


def test_the_page_has_the_markers():
    check_markers(PAGE, altered.MARKS)


@pytest.mark.parametrize("name", altered.ALTERATIONS)
def test_an_alteration_changes_the_image_and_can_be_repeated(name):
    before = IMAGE.copy()
    found = altered.ALTERATIONS[name](IMAGE, np.random.default_rng(1))
    assert np.isfinite(found).all()
    assert sorted(found.shape) == sorted(IMAGE.shape)
    assert found.shape != IMAGE.shape or not np.allclose(found, IMAGE)
    assert np.array_equal(IMAGE, before)
    assert np.array_equal(found, altered.ALTERATIONS[name](IMAGE, np.random.default_rng(1)))
    same = np.allclose(quantiles(found[None]), quantiles(IMAGE[None]))
    assert same == (name in ("upside down", "axes exchanged")), "what a histogram cannot see"
