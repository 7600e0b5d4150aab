"""A tiny raw dataset and experiments made from it, each built once a test run and copied for the tests that change it.

Six of its eight cases are the pool. Its coarse axis is x (so nnU-Net transposes), spacings differ (so it resamples), the
images are 0 around a body (so it crops and masks), and the directions are oblique.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from filelock import FileLock
from folders import folders_below, quicken, set_folders

from nnactive_ext.files import write_json

TINY = "Dataset100_Tiny"
PLANNED = "Dataset101_Tiny"
PLAN = "-d 100 -o 101 -patch_size 5 5 3 -query_size 4 -starting_budget 6 -cycles 3 -folds 3 --preset cpu -np 1"
PLAN += " --disable_progress_bar"
SPACINGS = [(1.0, 1.0, 2.0), (1.25, 1.0, 2.0), (1.0, 1.0, 2.5), (1.0, 0.8, 2.0)]
"""Of the cases in turn, in mm along (z, y, x)."""


def tiny_case(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Two channels (2, z, y, x), float32, and labels (z, y, x), uint8: a body with an organ and a lesion in it."""
    rng = np.random.default_rng(number)
    shape = (24 + number % 3, 26, 14)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    body = (np.abs(z) < 0.85) & (y**2 + x**2 < 0.8)
    organ = body & ((z / 0.6) ** 2 + (y / 0.5) ** 2 + (x / 0.6) ** 2 < 1)
    lesion = ((z - 0.1 * (number % 4)) / 0.25) ** 2 + (y / 0.2) ** 2 + (x / 0.25) ** 2 < 1
    labels = organ.astype(np.uint8) + (organ & lesion)
    image = np.stack([100 + 40 * labels, 50 - 20 * labels]) + rng.normal(0, 5, (2, *shape))
    return (image * body).astype(np.float32), labels


def write_image(file: Path, array: np.ndarray, spacing=(1.0, 1.0, 1.0), angle: float = 0.0, origin=(0.0, 0.0, 0.0)) -> None:
    """``array`` and ``spacing`` along (z, y, x); ``angle`` in radians about x, ``origin`` as ITK has it."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing[::-1])
    image.SetOrigin(origin)
    image.SetDirection((1, 0, 0, 0, math.cos(angle), -math.sin(angle), 0, math.sin(angle), math.cos(angle)))
    sitk.WriteImage(image, str(file), useCompression=True)


def write_tiny(folder: Path, cases: int = 8) -> Path:
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    for number in range(cases):
        image, labels = tiny_case(number)
        geometry = (SPACINGS[number % len(SPACINGS)], 0.1 * (number % 3), (-7.5, 12.25, 3.0 * number))
        for channel in range(2):
            write_image(folder / "imagesTr" / f"tiny_{number}_{channel:04d}.nii.gz", image[channel], *geometry)
        write_image(folder / "labelsTr" / f"tiny_{number}.nii.gz", labels, *geometry)
    content = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "organ": 1, "lesion": 2},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    write_json(folder / "dataset.json", content)
    return folder


LONGEST = """
integration/test_wheel integration/test_real_nnunet integration/test_comparison_run integration/test_member_kinds_run
integration/test_browser_rollout test_killed test_rollout_killed test_engine_proofs test_bench test_package
test_methods_contract test_cycles test_fingerprint test_hippocampus test_training_server test_statistics test_no_leak
test_report_browser test_rollout_errors test_errors test_changes test_box_round_trip test_viewers_napari test_phantom
test_import test_benchmarks
""".split()
"""The files that take longest, in their order: they start first, so that all workers end together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folder = Path(__file__).resolve().parent
    place = {folder / f"{name}.py": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """``built_once(name, build)`` is a folder that ``build(folder)`` filled, once for all workers; it is read only."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # of all workers

    def made(name: str, build: Callable[[Path], None]) -> Path:
        root, done = base / f"once_{name}", base / f"once_{name}.done"
        with FileLock(base / f"once_{name}.lock"):
            if not done.exists():
                shutil.rmtree(root, ignore_errors=True)  # another worker failed at it
                root.mkdir()
                build(root)
                done.touch()
        return root

    return made


@pytest.fixture(scope="session")
def tiny_template(built_once: Callable) -> Path:
    """Read only; tests take ``tiny``."""
    return built_once("tiny", lambda root: write_tiny(root / TINY)) / TINY


@pytest.fixture(scope="session")
def planned_template(built_once: Callable, tiny_template: Path) -> SimpleNamespace:
    """Read only; tests take ``planned``."""

    def build(root: Path) -> None:
        from nnactive_ext.cli import plan

        with pytest.MonkeyPatch.context() as monkeypatch:
            folders = set_folders(monkeypatch, root)
            # The tens of millions of draws are nnU-Net's; so few voxels need no more than this.
            monkeypatch.setattr("nnactive_ext.nnunet.fingerprint._SAMPLES", 1e5)
            shutil.copytree(tiny_template, folders.raw / TINY)
            plan.main(PLAN.split())

    return folders_below(built_once("planned", build))


@pytest.fixture
def trained(planned):
    """The experiment with its members of cycle 0."""
    from fake_members import fake_train

    for fold in planned.folds():
        fake_train(planned, fold)
    return planned


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For networks and tensors so small that torch's threads wait for each other longer than they compute."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def stock_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members opened here predict with the convolutions that torch chooses, as stock nnU-Net's do: those by oneDNN differ in
    the last bits, which decide where two classes are equally likely."""
    from nnactive_ext.members import ensemble

    monkeypatch.setattr(ensemble, "always_by_onednn", lambda network: None)


@pytest.fixture(scope="session", autouse=True)
def nothing_confirmed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the user of this machine confirmed is none of the tests' business, nor the other way round."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("settings")))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_syncing() -> Iterator[None]:
    """No test waits for the disk, which matters where the power fails only; processes of their own do."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_timing() -> Iterator[None]:
    """No test waits for trainings that are timed, but tests/test_pace.py."""
    from nnactive_ext.nnunet import pace

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(pace, "timed", lambda progress=True: lambda training: pace.Pace(0.1, 0.02, 3.0, 10, 50, 5))
        yield


@pytest.fixture
def tiny(nnunet_folders: SimpleNamespace, tiny_template: Path) -> Path:
    """A copy of the tiny dataset, number 100, in this test's own nnUNet_raw."""
    return Path(shutil.copytree(tiny_template, nnunet_folders.raw / TINY))


@pytest.fixture
def planned(nnunet_folders: SimpleNamespace, planned_template: SimpleNamespace):
    """The experiment 101, planned from the tiny dataset 100, both copied into this test's own folders; cycle 0."""
    from nnactive_ext.experiment.experiment import Experiment

    for name in ("raw", "preprocessed"):
        shutil.copytree(getattr(planned_template, name), getattr(nnunet_folders, name), dirs_exist_ok=True)
    return Experiment(PLANNED)


@pytest.fixture
def quick_planning(monkeypatch: pytest.MonkeyPatch, planned_template: SimpleNamespace) -> Callable:
    """nnactive_plan with nnU-Net's planner replaced by the plans it made for the session's experiment."""
    return quicken(monkeypatch, planned_template.preprocessed / PLANNED)


@pytest.fixture
def rollout(nnunet_folders: SimpleNamespace, tiny_template: Path, tmp_path: Path, quick_planning: Callable):
    """The tiny dataset's images in a plain folder; ``rollout.plan()`` makes the roll-out 601 of it."""
    from rollouts import from_dataset

    return from_dataset(tiny_template, tmp_path / "hospital")


@pytest.fixture(scope="session")
def tasks_template(built_once: Callable, tiny_template: Path) -> SimpleNamespace:
    """Read only; tests take ``tasks``."""
    from open_tasks import made_in, make

    def build(root: Path) -> None:
        with pytest.MonkeyPatch.context() as monkeypatch:
            make(set_folders(monkeypatch, root), tiny_template)

    return made_in(built_once("tasks", build))


@pytest.fixture
def tasks(nnunet_folders: SimpleNamespace, tasks_template: SimpleNamespace, tmp_path: Path, quick_planning: Callable):
    """The roll-out 601 with points marked and all tasks of its first cycle out, in this test's own folders."""
    from open_tasks import copied

    return copied(tasks_template, nnunet_folders, tmp_path)


@pytest.fixture(scope="session")
def finished_template(built_once: Callable, planned_template: SimpleNamespace) -> SimpleNamespace:
    """Read only; tests take ``finished``."""

    def build(root: Path) -> None:
        from report_experiment import run

        from nnactive_ext.experiment.experiment import Experiment

        with pytest.MonkeyPatch.context() as monkeypatch:
            folders = set_folders(monkeypatch, root)
            for name in ("raw", "preprocessed"):
                shutil.copytree(getattr(planned_template, name), getattr(folders, name), dirs_exist_ok=True)
            run(Experiment(PLANNED))

    return folders_below(built_once("finished", build))


@pytest.fixture
def finished(nnunet_folders: SimpleNamespace, finished_template: SimpleNamespace):
    """The experiment 101 after its last cycle, with members that cost nothing, in this test's own folders."""
    from nnactive_ext.experiment.experiment import Experiment

    for name in ("raw", "preprocessed", "results"):
        shutil.copytree(getattr(finished_template, name), getattr(nnunet_folders, name), dirs_exist_ok=True)
    return Experiment(PLANNED)


SOFTWARE = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
"""WebGL2 without a graphics card."""


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=SOFTWARE)
        yield opened
        opened.close()
