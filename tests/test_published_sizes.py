"""With ``-protocol published`` the sizes of patches and budgets are those of the published experiments, for all their datasets.

The label maps are made up: structures of the published patch sizes in images of the published sizes. Large images are told by
their shape, and the structures are in a label map of a part of them, because a component's size does not depend on the rest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from nnactive_ext.bench.definition import read_benchmark
from nnactive_ext.bench.runs import runs_of
from nnactive_ext.experiment.plan import Geometry, Plan
from nnactive_ext.nnunet.dataset import Dataset
from nnactive_ext.planning.decisions import Decisions
from nnactive_ext.planning.division import Division
from nnactive_ext.planning.measure import Measured, largest_components_mm
from nnactive_ext.planning.settings import Settings
from nnactive_ext.planning.simulation import decide, with_budget
from nnactive_ext.planning.sizes import query_patch_mm

FILES = Path(__file__).parent.parent / "benchmarks" / "protocols" / "published"


@dataclass(frozen=True)
class Published:
    """A column of the protocol's table: classes (and those that vary much), pool, shape, spacing in mm, patch, budgets."""

    classes: int
    pool: int
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    patch: tuple[int, int, int]
    budgets: tuple[int, ...]
    hard: int = 0


TABLE = {
    "acdc": Published(3, 150, (16, 237, 206), (2, 0.6875, 0.6875), (4, 40, 40), (150, 300, 450)),
    "amos": Published(15, 150, (237, 582, 582), (5, 1.5625, 1.5625), (32, 74, 74), (200, 1000, 2500)),
    "kits": Published(3, 225, (526, 512, 512), (0.78125, 0.78125, 0.78125), (64, 64, 64), (200, 1000, 2500)),
    "hippocampus": Published(2, 195, (36, 50, 35), (1, 1, 1), (20, 20, 20), (100, 200, 300)),
    "lits": Published(2, 99, (495, 512, 512), (1, 0.7676, 0.7676), (28, 44, 39), (750,), hard=1),
    "word": Published(16, 90, (200, 512, 512), (3, 0.9766, 0.9766), (29, 74, 87), (4000,)),
    "toothfairy2": Published(42, 360, (169, 344, 371), (0.3, 0.3, 0.3), (33, 34, 35), (10500,)),
    "mama_mia": Published(1, 1130, (80, 256, 256), (2, 0.7031, 0.7031), (16, 48, 57), (500,), hard=1),
}


def largest(one: Published, size: np.ndarray) -> tuple[float, float, float]:
    """The measured size of a structure of ``size`` voxels beside a smaller one of the same class."""
    size = np.minimum(size, np.subtract(one.shape, 3))
    part = np.minimum(one.shape, size + 12)
    labels = np.zeros(part, np.uint8)
    labels[tuple(slice(1, 1 + n) for n in size)] = 1
    labels[-1, -1, -1] = 1
    return largest_components_mm(labels, one.spacing, [1])[1]


def measured(one: Published) -> dict[str, Measured]:
    """Cases whose median structure is the published patch: in smaller and larger ones, and of smaller and larger classes."""
    steps = np.arange(one.classes) - (one.classes - 1) / 2  # -1, 0, 1 for three classes
    by_class = [np.maximum(2, one.patch + np.sign(s) * np.ceil(abs(s))).astype(int) for s in steps]
    sizes = {(c, d): largest(one, by_class[c] + d) for c in range(one.classes) for d in (-1, 0, 1)}
    return {
        f"case_{i:04d}": Measured(
            one.shape,
            one.spacing,
            dict.fromkeys(range(1, one.classes + 1), 1000),
            {c + 1: sizes[c, i % 3 - 1] for c in range(one.classes)},
        )
        for i in range(one.pool)
    }


def source(folder: Path, one: Published, cases: list[str]) -> Dataset:
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for case in cases:
        (folder / "imagesTr" / f"{case}_0000.nii.gz").touch()
        (folder / "labelsTr" / f"{case}.nii.gz").touch()
    labels = {"background": 0, **{f"class_{c}": c for c in range(1, one.classes + 1)}}
    content = {"labels": labels, "channel_names": {"0": "MR"}, "file_ending": ".nii.gz", "numTraining": len(cases)}
    (folder / "dataset.json").write_text(json.dumps(content))
    return Dataset(folder)


def decided(folder: Path, one: Published, **given) -> Plan:
    cases = measured(one)
    dataset = source(folder / "Dataset007_Published", one, list(cases))
    return decide(dataset, cases, Settings(number=17, **given), Division(dataset, tuple(cases), ()))


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.usefixtures("nnunet_folders")
def test_patches_and_budgets_come_out_of_label_maps(name, tmp_path):
    one = TABLE[name]
    for budget in one.budgets:
        share = budget // 5
        made = decided(tmp_path / str(budget), one, protocol="published", query_size=share, starting_budget=share)
        assert (made.protocol, made.air) == ("published", "keep")
        assert {made.patch_size(case) for case in made.pool} == {one.patch}
        assert made.starting_budget + (made.cycles - 1) * made.query_size == budget
        assert not [row for row in made.decisions if "limited" in row[1] or "large" in row[1]]


@pytest.mark.usefixtures("nnunet_folders")
def test_without_it_only_patches_that_fill_the_images_differ(tmp_path):
    """Those of Hippocampus, two of which fit into an image; so the tests above can fail."""
    sizes = {name: decided(tmp_path / name, one, query_size=20) for name, one in TABLE.items() if one.pool < 300}
    differ = {name for name, made in sizes.items() if made.patch_size("case_0000") != TABLE[name].patch}
    assert differ == {"hippocampus"}
    assert sizes["hippocampus"].patch_size("case_0000") == (12, 12, 12)


@pytest.mark.parametrize("name", [name for name, one in TABLE.items() if len(one.budgets) == 1])
@pytest.mark.usefixtures("nnunet_folders")
def test_budgets_of_the_roll_out_study_follow_from_its_rules(name, tmp_path):
    """50 patches per class and cycle, 100 for tumours, in five cycles (D.5)."""
    one = TABLE[name]
    plan = decided(tmp_path, one, protocol="published", query_size=1)
    classes = [f"class_{c}" for c in range(1, one.classes + 1)]
    settings = Settings(number=17, protocol="published", labels=classes)
    made = with_budget(plan, classes, "there", settings, Decisions(), classes[-one.hard :] if one.hard else ())
    assert (made.starting_budget + (made.cycles - 1) * made.query_size,) == one.budgets


@pytest.mark.usefixtures("nnunet_folders")
def test_a_roll_out_has_the_published_patch_too():
    one = TABLE["hippocampus"]
    cases = measured(one)
    geometry = {name: Geometry(case.shape, case.spacing) for name, case in cases.items()}
    size = query_patch_mm(Path("images"), cases, geometry, ["front", "back"], None, (), Decisions(), "published")
    assert size == (20, 20, 20)


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.usefixtures("nnunet_folders")
def test_the_benchmark_files_ask_for_the_protocol(name):
    one = TABLE[name]
    for file in FILES.glob(f"{name}*.toml"):
        benchmark = read_benchmark(file)
        assert benchmark.settings.protocol == "published"
        assert all(run.settings.protocol == "published" for run in runs_of(benchmark, remember=False))
        (dataset,) = benchmark.datasets
        half = "small" in file.stem
        assert dataset.patch_sizes == (" ".join(str(n // 2 if half else n) for n in one.patch),)
        assert tuple(5 * regime.query_size for regime in dataset.regimes) == one.budgets
        assert all(regime.starting_budget == regime.query_size for regime in dataset.regimes)
