"""The benchmarks of the selections run, on little, and the pages have places for their numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import digits, selection
from benchmarks.report import check_markers
from nnactive_ext.selection import badge_gradient

PAGES = Path(__file__).parent.parent / "docs" / "benchmarks"


def test_every_selection_is_measured():
    sizes = (60, 20, 8, 5)
    rows = [selection.measure(name, sizes) for name in selection.SELECTIONS if name != "typiclust"]
    assert all(row["chosen"] == 5 for row in rows)
    text = selection.report("command", sizes, rows)
    assert "is met" in text
    assert all(f"| {row['name']} |" in text for row in rows)
    rows[0]["processor_seconds"] = 16
    assert "**not** met" in selection.report("command", sizes, rows)


def test_what_the_small_network_says_is_what_the_selections_expect():
    data = digits.Digits.split(0)
    network = digits.Network(data, np.arange(30), 0)
    np.testing.assert_allclose(network.p, network.model.predict_proba(data.x), atol=1e-5)
    for i in range(3):
        single = badge_gradient(network.p[i][:, None], network.h2[i][:, None])
        np.testing.assert_allclose(network.badge()[i], single, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_digits(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("\n".join(digits.MARKS))
    digits.main(["-seeds", "2", "-queries", "1", "--markdown", str(page)])
    assert all(f"| {name} |" in page.read_text() for name in digits.METHODS)


@pytest.mark.parametrize(("page", "marks"), [("selection.md", selection.MARKS), ("digits.md", digits.MARKS)])
def test_the_pages_have_the_markers(page, marks):
    check_markers(PAGES / page, marks)
