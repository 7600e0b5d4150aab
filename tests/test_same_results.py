"""Run, query and bench lead to the same files, byte for byte, whoever carries out their steps: this process, or workers."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
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


def short(experiment: Experiment) -> Experiment:
    """With a single query."""
    replace(experiment.plan, cycles=2).write(experiment.raw)
    return experiment.anew()


@pytest.fixture(scope="module")
def server(planned_template, tmp_path_factory) -> Iterator[Server]:
    plans = next(planned_template.preprocessed.rglob("nnUNetPlans.json"))
    with serving(plans, tmp_path_factory.mktemp("steps")) as made:
        yield made


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
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def here(file: Path) -> Iterator[list[str]]:
    yield ["-device", "cpu", "-np", "2"]


@contextmanager
def gpus(file: Path) -> Iterator[list[str]]:
    """Two, which are names only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "0,MIG-7")
        yield ["-gpus", "all"]


OFFERED = [workers, pytest.param(here, marks=pytest.mark.slow), pytest.param(gpus, marks=pytest.mark.slow)]


def alone(server: Server, command: Callable[[list[str]], None], words: list[str]) -> None:
    """In this process, with members that cost nothing."""
    with pytest.MonkeyPatch.context() as patch:
        fake(patch, server.plans)
        command([*words, *QUIET])


def shared(server: Server, command: Callable[[list[str]], None], words: list[str]) -> list[list[str]]:
    """By workers; this process trains and opens no member. The arguments of what was carried out."""
    with server.used():
        command([*words, *QUIET])
    assert len({asked["worker"] for asked in server.asked}) == 2, "both workers"
    if "-gpus" in words:
        used = {(asked["worker"], asked["environment"]["CUDA_VISIBLE_DEVICES"]) for asked in server.asked}
        assert {gpu for _, gpu in used} == {"0", "MIG-7"}
        assert len(used) == 2, "one for each worker"
    return [asked["words"] for asked in server.asked]


def after(word: str, line: list[str]) -> str:
    return line[line.index(word) + 1]


@pytest.mark.parametrize("offered", OFFERED)
def test_a_run(planned, server, offered, nnunet_folders, planned_template, tmp_path):
    alone(server, run.main, ["-d", "101"] if short(planned) else [])
    expected = written(planned)
    assert set(expected) == {"loop_000.json", "loop_001.json", "cycle_000.json", "cycle_001.json"}
    again = short(begun_again(planned, nnunet_folders, planned_template))
    with offered(tmp_path / "run.json") as words:
        lines = shared(server, run.main, ["-d", "101", *words])
    assert written(again) == expected
    assert {after("-step", line).split("_")[0] for line in lines} == {"train", "evaluate", "score"}


@pytest.mark.slow
@pytest.mark.parametrize("offered", [workers, here, gpus])
def test_a_query(planned, server, offered, nnunet_folders, planned_template, tmp_path):
    """With another method and size than the plan's, and with some of the members."""
    asked = ["-d", "101", "-f", "0", "2", "--method", "bald", "beta=none", "-query_size", "3"]

    def trained(experiment: Experiment) -> Experiment:
        for fold in (0, 2):
            alone(server, run.main, ["-d", "101", "-step", f"train_{fold}"])
        return experiment

    alone(server, query.main, asked if trained(planned) else [])
    expected = written(planned)
    assert set(expected) == {"loop_000.json", "loop_001.json"}
    again = trained(begun_again(planned, nnunet_folders, planned_template))
    with offered(tmp_path / "query.json") as words:
        lines = shared(server, query.main, [*asked, *words])
    assert written(again) == expected
    assert again.state["cycle"] == 1, "annotated"
    parts = int(after("-num_parts", lines[0]))
    assert sorted(int(after("-part_id", line)) for line in lines) == list(range(parts)), "each part once"


def without_times(table: Path) -> bytes:
    """The content of a file of a comparison, but for the hours that were measured."""
    if table.name != "economics.csv":
        return table.read_bytes()
    with open(table, newline="") as handle:
        rows = [{name: cell for name, cell in row.items() if not name.startswith("hours_")} for row in csv.DictReader(handle)]
    return repr(rows).encode()


@pytest.mark.slow
@pytest.mark.parametrize("offered", [workers, gpus])
def test_a_benchmark(tiny_template, server, offered, tmp_path):
    def made(name: str) -> dict[str, bytes]:
        (tmp_path / name).mkdir()
        with pytest.MonkeyPatch.context() as patch:
            folders = set_folders(patch, tmp_path / name)
            shutil.copytree(tiny_template, folders.raw / tiny_template.name)
            if name == "alone":
                alone(server, bench.main, [str(file)])
            else:
                with offered(tmp_path / "bench.json") as words:
                    assert len(shared(server, bench.main, [str(file), *words])) == 4, "the start, two methods, all labels"
            found = {}
            for experiment in sorted(folders.raw.glob("Dataset3*")):
                found |= {f"{experiment.name} {one}": content for one, content in written(Experiment(experiment.name)).items()}
            comparison = folders.results / "benchmark_small" / "comparison"
            tables = [*comparison.rglob("*.csv"), *comparison.rglob("*.md")]
            return found | {str(one.relative_to(comparison)): without_times(one) for one in tables}

    file = tmp_path / "small.toml"
    file.write_text(BENCHMARK)
    expected = made("alone")
    assert any(name.endswith(".csv") for name in expected)
    assert made("shared") == expected
