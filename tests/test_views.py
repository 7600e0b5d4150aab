"""Pictures for vision-language models."""

import numpy as np
import pytest
from PIL import Image

from nnactive_ext.errors import NnActiveError
from nnactive_ext.screening.views import export_views


def test_each_case_has_five_slices_along_each_axis(planned, tmp_path):
    folder = tmp_path / "views"
    cases = sorted(planned.plan.pool)
    assert export_views(planned, folder, progress=False) == len(cases) * 2 * 15
    assert sorted(file.name for file in folder.iterdir()) == cases
    files = sorted(file.name for file in (folder / cases[0]).iterdir())
    planes = ("axial", "coronal", "sagittal")
    assert files == sorted(f"channel_{c}_{plane}_{n}.png" for c in (0, 1) for plane in planes for n in (1, 2, 3, 4, 5))
    middle, edge = (np.asarray(Image.open(folder / cases[0] / f"channel_0_axial_{n}.png")) for n in (3, 1))
    assert middle.dtype == np.uint8
    assert max(middle.shape) <= 1.5 * 448 + 1
    assert middle.std() > 10
    assert not np.array_equal(middle, edge)
    with pytest.raises(NnActiveError, match="new folder"):
        export_views(planned, folder, progress=False)
