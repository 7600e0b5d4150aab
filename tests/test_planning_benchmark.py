"""The benchmark of planning: its CTs hold every class, and its table names every part."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import planning
from nnactive_ext.files import read_json


def test_a_ct_holds_every_class():
    image, labels = planning.case(0, 48)
    assert image.shape == labels.shape == (48, 48, 48)
    assert set(np.unique(labels)) == set(range(planning.CLASSES + 1))
    assert image[labels > 0].mean() > image[labels == 0].mean()


@pytest.mark.slow
def test_both_commands_are_measured(tmp_path):
    table = tmp_path / "table.md"
    table.write_text("\n".join(("before", *planning.MARKS, "after")))
    planning.main([str(tmp_path), "-side", "48", "-cases", "3", "-repeats", "1", "--markdown", str(table)])
    (row,) = read_json(tmp_path / "rows.json")["rows"]
    assert all(found["processor"] > 0 for found in row["commands"].values())
    assert 0 < row["parts"]["starting budget"] < row["commands"]["nnactive_plan"]["processor"]
    assert all(name in table.read_text() for name in ("nnactive_plan", "nnUNetv2_plan_and_preprocess", *planning.PARTS))
