"""Voxels of each label value, against numpy's sorting."""

import numpy as np
import pytest

from nnactive_ext.geometry import label_values
from nnactive_ext.geometry.label_values import voxels_per_value


@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "i8", "f4", "f8"])
@pytest.mark.parametrize("values", [[0], [3, 0, 255], [0, 1, 2, 3, 15]])
@pytest.mark.parametrize("block", [7, 1 << 20])
def test_they_are_those_that_sorting_finds(kind, values, block, monkeypatch):
    monkeypatch.setattr(label_values, "_BLOCK", block)
    labels = np.random.default_rng(0).choice(values, (3, 4, 5))
    if kind == "i2":
        labels = labels * 100
    labels = labels.astype(kind)
    for one in (labels, labels.transpose(2, 0, 1), labels[:, ::2]):
        found = voxels_per_value(one)
        wanted = np.unique(one, return_counts=True)
        assert found == dict(zip(*(part.tolist() for part in wanted), strict=True))
        assert list(found) == sorted(found)
        assert all(type(value) is int for value in found)


@pytest.mark.parametrize("odd", [1.5, -1.0, 1e6])
def test_values_that_are_no_labels_stay_as_they_are(odd):
    assert voxels_per_value(np.array([2.0, odd, 2.0])) == {2: 2, odd: 1}
    assert len(voxels_per_value(np.array([2.0, np.nan]))) == 2
