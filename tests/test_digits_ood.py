"""The study of strange digits runs, on little, and its page has a place for its numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import digits_ood, digits_open_set
from benchmarks.report import check_markers

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks" / "digits_ood.md"


def test_the_page_has_the_markers():
    check_markers(PAGE, digits_ood.MARKS)


def test_the_drawn_similarity_is_as_good_as_the_specification_says():
    y = np.random.default_rng(0).integers(0, 10, 5000)
    texts = digits_open_set.similarity(y, np.array([3, 4]), np.random.default_rng(1))
    right = np.isin(y, (3, 4))
    assert digits_open_set.auroc(texts[right], texts[~right]) == pytest.approx(0.81, abs=0.015)


@pytest.mark.parametrize("known", ["3", "3 3", "0 11", "0 1 2 3 4 5 6 7 8 9"])
def test_what_the_known_digits_cannot_be(known, capsys):
    with pytest.raises(SystemExit):
        digits_ood.main(["-known", *known.split()])
    assert "two to nine" in capsys.readouterr().err


@pytest.mark.slow
def test_digits_ood(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("\n".join(digits_ood.MARKS))
    digits_ood.main(["-seeds", "1", "--markdown", str(page)])
    text = page.read_text()
    assert all(f"| {name} |" in text for name in (*digits_ood.SCORES, *digits_open_set.WAYS))
