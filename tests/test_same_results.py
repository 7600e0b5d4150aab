"""Run, query and bench lead to the same files, byte for byte, whoever carries out their steps: this process, or workers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from folders import set_folders
from same_files import begun_again, written

from nnactive_ext.cli import bench, query, run
from nnactive_ext.experiment.experiment import Experiment

pytest.importorskip("distributed")
if sys.platform != "linux":
    pytest.skip("forks its steps", allow_module_level=True)
from forked_steps import Server, fake, serving

QUIET = ["--disable_progress_bar"]
BENCHMARK = """
name = "small"
first_number = 300
methods = ["random", "clasp_pe"]
seeds = [1]
cycles = 2
folds = 2
preset = "cpu"

[[datasets]]
dataset = 100
patch_sizes = ["3 6 6"]
regimes = { low = { starting_budget = 6, query_size = 2 } }
"""


@pytest.fixture
def plans(planned_template) -> Path:
    return next(planned_template.preprocessed.rglob("nnUNetPlans.json"))


@contextmanager
def workers(file: Path) -> Iterator[list[str]]:
    """Two workers of whoever is given these words; they end when that has ended."""
    command = [sys.executable, "-m", "nnactive_ext.cli.worker", str(file), "-device", "cpu", "-np", "2"]
    process = subprocess.Popen(command)
    try:
        yield ["-workers", str(file)]
        assert process.wait(120) == 0
    finally:
        process.terminate()
        process.wait()


@contextmanager
def here(file: Path) -> Iterator[list[str]]:
    yield ["-device", "cpu", "-np", "2"]


def alone(plans: Path, command: Callable[[list[str]], None], words: list[str]) -> None:
    """In this process, with members that cost nothing."""
    with pytest.MonkeyPatch.context() as patch:
        fake(patch, plans)
        command([*words, *QUIET])


def shared(plans: Path, command: Callable[[list[str]], None], words: list[str]) -> Server:
    """By workers; this process trains and opens no member."""
    with pytest.MonkeyPatch.context() as patch, serving(patch, plans) as server:
        command([*words, *QUIET])
    assert len({asked["worker"] for asked in server.asked}) == 2, "both workers"
    return server


def steps(server: Server) -> set[str]:
    """The steps of ``nnactive_run`` that workers carried out."""
    return {asked["words"][asked["words"].index("-step") + 1] for asked in server.asked}


@pytest.mark.parametrize("offered", [workers, here])
def test_a_run(planned, plans, offered, nnunet_folders, planned_template, tmp_path):
    alone(plans, run.main, ["-d", "101"])
    expected = written(planned)
    assert len(expected) == 2 * planned.plan.cycles
    again = begun_again(planned, nnunet_folders, planned_template)
    with offered(tmp_path / "run.json") as words:
        server = shared(plans, run.main, ["-d", "101", *words])
    assert written(again) == expected
    assert {name.split("_")[0] for name in steps(server)} == {"train", "evaluate", "score"}


@pytest.mark.parametrize("offered", [workers, here])
def test_a_query(planned, plans, offered, nnunet_folders, planned_template, tmp_path):
    """With another method and size than the plan's, and with some of the members."""
    words = ["-d", "101", "-f", "0", "2", "--method", "bald", "beta=none", "-query_size", "3"]

    def trained(experiment: Experiment) -> Experiment:
        for fold in (0, 1, 2):
            alone(plans, run.main, ["-d", "101", "-step", f"train_{fold}"])
        return experiment

    alone(plans, query.main, [*words] if trained(planned) else [])
    expected = written(planned)
    assert set(expected) == {"loop_000.json", "loop_001.json"}
    again = trained(begun_again(planned, nnunet_folders, planned_template))
    with offered(tmp_path / "query.json") as more:
        server = shared(plans, query.main, [*words, *more])
    assert written(again) == expected
    assert again.state["cycle"] == 1, "annotated"
    asked = [one["words"] for one in server.asked]
    parts = {one[one.index("-num_parts") + 1] for one in asked}
    assert len(asked) == int(parts.pop()), "each part once"


def test_a_benchmark(tiny_template, plans, tmp_path):
    def made(name: str) -> dict[str, bytes]:
        (tmp_path / name).mkdir()
        with pytest.MonkeyPatch.context() as patch:
            folders = set_folders(patch, tmp_path / name)
            shutil.copytree(tiny_template, folders.raw / tiny_template.name)
            if name == "alone":
                alone(plans, bench.main, [str(file)])
            else:
                with workers(tmp_path / "bench.json") as words:
                    server = shared(plans, bench.main, [str(file), *words])
                assert len(server.asked) == 4, "the start, two methods and all labels"
            found = {}
            for experiment in sorted(folders.raw.glob("Dataset3*")):
                found |= {f"{experiment.name} {one}": content for one, content in written(Experiment(experiment.name)).items()}
            comparison = folders.results / "benchmark_small" / "comparison"
            tables = [*comparison.rglob("*.csv"), *comparison.rglob("*.md")]
            return found | {str(one.relative_to(comparison)): one.read_bytes() for one in tables}

    file = tmp_path / "small.toml"
    file.write_text(BENCHMARK)
    expected = made("alone")
    assert any(name.endswith(".csv") for name in expected)
    assert made("shared") == expected
