"""CTs stored 1024 higher than the others of a pool are pointed out, whatever their padding and field of view."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from phantoms import KINDS, Made, write_raw

from nnactive_ext.cli import change, plan
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.images.hounsfield import hounsfield_offset
from nnactive_ext.nnunet.dataset import Dataset
from nnactive_ext.planning.division import Division
from nnactive_ext.planning.grey_values import stored_higher
from nnactive_ext.planning.measure import measure
from nnactive_ext.planning.settings import Settings
from nnactive_ext.planning.simulation import decide

BODIES = {
    "abdomen": {(-1000, 15): 40, (-100, 25): 20, (50, 30): 35, (500, 250): 3, (1000, 300): 1, (-500, 200): 1},
    "chest": {(-1000, 20): 35, (-850, 70): 20, (-500, 120): 5, (-90, 30): 15, (40, 40): 20, (400, 250): 5},
    "head": {(-1000, 10): 50, (30, 15): 35, (900, 400): 10, (-80, 30): 5},
    "cut to the abdomen": {(-100, 25): 30, (50, 30): 65, (500, 100): 5},
    "cut to a temporal bone": {(900, 350): 35, (300, 250): 20, (-900, 100): 15, (50, 80): 30},
    "a large patient": {(-1000, 12): 8, (-105, 20): 55, (50, 25): 35, (500, 250): 2},
}
"""The share in % of the voxels that have grey values of this mean and standard deviation, in Hounsfield units."""
SHAPE = (30, 40, 50)


def ct(kind: str, seed: int = 0, padding: float | None = None, higher: int = 0) -> np.ndarray:
    """A CT of noise, with a corner of padding; ``higher`` is added to all but the padding."""
    rng = np.random.default_rng([seed, *kind.encode()])
    means, shares = zip(*BODIES[kind].items(), strict=True)
    chosen = rng.choice(len(means), size=SHAPE, p=np.array(shares) / sum(shares))
    mean, spread = np.array(means, float)[chosen].transpose(3, 0, 1, 2)
    values = np.maximum(np.round(rng.normal(mean, spread)), -1024) + higher
    if padding is not None:
        values[:, :18, :25] = padding
    return values.astype(np.int16)


@pytest.mark.parametrize("padding", [None, -1024, -2000, -2048, -3024, 0])
@pytest.mark.parametrize("kind", BODIES)
def test_a_ct_as_it_should_be(kind, padding):
    assert hounsfield_offset(ct(kind, padding=padding)) == 0


@pytest.mark.parametrize("padding", [None, 0, -1024, -976, -2000, -3024])
@pytest.mark.parametrize("kind", ["abdomen", "chest", "head", "cut to the abdomen", "a large patient"])
def test_a_ct_that_is_stored_higher(kind, padding):
    assert hounsfield_offset(ct(kind, padding=padding, higher=1024)) == 1024
    assert hounsfield_offset(ct(kind, padding=padding, higher=1024).astype(np.uint16 if padding == 0 else np.float32)) == 1024


@pytest.mark.parametrize("kind", KINDS)
def test_phantoms(kind):
    for seed in range(3):
        for channel in KINDS[kind](seed).channels:
            assert hounsfield_offset(channel) in (0, None)
    assert hounsfield_offset(KINDS["abdominal_ct"](0).channels[0] + 1024) == 1024


def greys(*images: np.ndarray) -> dict[str, list]:
    return {f"p{i}": [(float(image.min()), hounsfield_offset(image))] for i, image in enumerate(images)}


def test_only_those_beside_right_ones_are_told():
    right, wrong = [ct("chest", seed) for seed in range(3)], ct("abdomen", 9, 0, 1024)
    ((what, why),) = stored_higher(greys(*right, wrong), ["image"])
    assert what.startswith("1 CT of 4")
    assert why.startswith("p3:")
    assert len(stored_higher(greys(right[0], wrong, wrong + 1), ["CT"])) == 1
    assert stored_higher(greys(wrong, wrong + 1), ["CT"]) == []
    assert stored_higher(greys(*right, ct("cut to the abdomen", padding=-3024)), ["CT"]) == []
    crops = [ct("cut to the abdomen", seed) for seed in range(2)] + [ct("cut to the abdomen", 5, None, 1024)]
    assert len(stored_higher(greys(*crops), ["CT"])) == 1
    assert stored_higher(greys(*crops), ["T1"]) == [], "no value says that it is CT"


@pytest.mark.parametrize("scales", [(1, 4, 10), (0.05, 5, 8), (2, 2.5, 3)])
def test_mri_of_different_scales_is_nothing(scales):
    images = [scale * KINDS[kind](2).channels[0] for scale in scales for kind in ("thick_mri", "brain_mri", "cardiac")]
    assert stored_higher(greys(*images), ["image"]) == []


def test_a_channel_beside_others_is_looked_at_too():
    cases = {name: [(0.0, None), *greys(image)["p0"]] for name, image in (("a", ct("head")), ("b", ct("head", 1, None, 1024)))}
    ((_, why),) = stored_higher(cases, ["PET", "CT"])
    assert why.startswith("b, channel CT:")


def write(folder: Path, **images: np.ndarray) -> Path:
    folder.mkdir()
    for name, image in images.items():
        sitk.WriteImage(sitk.GetImageFromArray(image), str(folder / f"{name}.nii.gz"))
    return folder


def test_planning_and_adding_tell(tmp_path, nnunet_folders, capsys):
    pool = write(tmp_path / "pool", a=ct("chest", 1), b=ct("abdomen", 2, -2048), c=ct("abdomen", 3, 0, 1024))
    options = "--labels organ -patch_size 5 -starting_budget 3 -query_size 2 -cycles 2 -folds 2 --preset cpu -np 1"
    plan.main(["-i", str(pool), "-o", "641", "-name", "Higher", *options.split(), "--disable_progress_bar"])
    rows = [row for row in Experiment.find(641).plan.decisions if "stored 1024 higher" in row[1]]
    assert len(rows) == 1
    assert rows[0][2].startswith("c:")
    capsys.readouterr()
    change.main(["-d", "641", "-add", str(write(tmp_path / "good", d=ct("head", 4))), "--disable_progress_bar"])
    assert "stored 1024 higher" not in capsys.readouterr().out
    change.main(["-d", "641", "-add", str(write(tmp_path / "bad", e=ct("head", 5, None, 1024))), "--disable_progress_bar"])
    said = capsys.readouterr().out
    assert "stored 1024 higher" in said
    assert " e: " in said or ", e" in said


def test_a_simulation_tells_too(tmp_path, nnunet_folders):
    labels = np.zeros(SHAPE, np.uint8)
    labels[5:20, 10:25, 10:25] = 1
    images = {"c0": ct("chest", 0), "c1": ct("chest", 1, 0, 1024), "c2": ct("abdomen", 2, -2048)}
    cases = {case: Made((image,), labels, ("organ",), (1.0, 1.0, 1.0)) for case, image in images.items()}
    source = Dataset(write_raw(tmp_path / "Dataset050_Chest", cases))
    division = Division(source, ("c0", "c1"), ("c2",))
    settings = Settings(number=51, patch_size=["8"], query_size=13, starting_budget=13)
    made = decide(source, measure(source, 1, False), settings, division)
    assert [why[:3] for _, what, why in made.decisions if "stored 1024 higher" in what] == ["c1:"]
