"""The real dataset: planned as published, queried without members."""

from __future__ import annotations

import numpy as np
import pytest

from nnactive_ext.cli import plan, query
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import read_json
from nnactive_ext.nnunet.dataset import find_dataset
from nnactive_ext.planning.measure import measure
from nnactive_ext.planning.sizes import patch_size_from_structures

pytestmark = pytest.mark.realdata


@pytest.mark.slow
def test_planned_as_published(hippocampus, nnunet_folders, capsys, monkeypatch):
    source = find_dataset(hippocampus)
    measured = measure(source, progress=False)
    monkeypatch.setattr("nnactive_ext.planning.measure.measure", lambda *_: measured)  # once is enough
    assert len(measured) == 260
    derived = patch_size_from_structures(measured.values(), source.labels.foreground)
    np.testing.assert_allclose(derived, (17, 20, 20), atol=1.5)  # D.5
    foreground = sum(n for case in measured.values() for label, n in case.voxels.items() if label)
    assert foreground / sum(np.prod(case.shape) for case in measured.values()) == pytest.approx(0.0525, abs=5e-4)

    arguments = "-patch_size 20 -query_size 20 -cycles 3 -folds 3 --preset cpu --method random_fg_66 --disable_progress_bar"
    plan.main(["-d", str(hippocampus), "-o", "504", *arguments.split()])
    experiment = Experiment.find(504)
    assert (len(experiment.plan.pool), len(experiment.plan.test)) == (195, 65)
    assert experiment.plan.patch_size_mm == (20, 20, 20)
    assert experiment.state["cycle"] == 0
    assert {0, 1, 2} <= {int(label) for counts in experiment.state["annotated"].values() for label in counts}
    splits = read_json(experiment.preprocessed.folder / "splits_final.json")
    assert sorted(case for split in splits for case in split["val"]) == sorted(experiment.state["annotated"])

    query.main("-d 504 --disable_progress_bar".split())
    assert len(read_json(experiment.raw / "loop_001.json")["patches"]) == 20
    assert experiment.state["cycle"] == 1
    voxels = sum(n for counts in experiment.state["annotated"].values() for n in counts.values())
    assert voxels == sum(p.voxels for p in experiment.annotated_patches())
