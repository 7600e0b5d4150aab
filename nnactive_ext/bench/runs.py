"""The experiments of a benchmark: which there are, what they are called, and which number each has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nnactive_ext.bench.definition import BenchDataset, Benchmark, Regime
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.locks import held
from nnactive_ext.experiment.plan import ALL_LABELS, START
from nnactive_ext.files import read_json_if_any, write_json
from nnactive_ext.nnunet.dataset import dataset_name, existing_names, find_dataset, nnunet_folder
from nnactive_ext.planning.division import divide
from nnactive_ext.planning.settings import Settings
from nnactive_ext.planning.simulation import check
from nnactive_ext.query_methods.options import method_and_options
from nnactive_ext.schemas import Length

NUMBERS = "numbers.json"
"""In a benchmark's folder: which dataset number each of its experiments has."""


@dataclass(frozen=True)
class Run:
    """One experiment: what is asked for (``settings``), and of which ``dataset``.

    ``start`` is the one whose cycle 0 it begins with; the starts themselves, and trainings on all labels, have none.
    """

    dataset: str
    settings: Settings
    purpose: str = ""
    start: Run | None = None

    @property
    def name(self) -> str:
        return str(self.settings.name)

    @property
    def folder(self) -> str:
        return dataset_name(self.settings.number, self.name)


def benchmark_folder(name: str) -> Path:
    """Where a benchmark keeps its numbers and its comparison."""
    return nnunet_folder("nnUNet_results") / f"benchmark_{name}"


def runs_of(benchmark: Benchmark, remember: bool = True) -> list[Run]:
    """All experiments in the order in which they are worth running: all settings and seeds of the first method, then of the
    next, so that there is something to compare early and parts seldom wait for each other.

    Each keeps the number it has had before; others get the next free one, which is written down if ``remember``.
    """
    every = _all(benchmark)
    numbers = _numbers(benchmark, [run.name for run in every], remember)

    def numbered(run: Run) -> Run:
        settings = replace(run.settings, number=numbers[run.name])
        return replace(run, settings=settings, start=numbered(run.start) if run.start else None)

    return [numbered(run) for run in every if run.purpose != START]


def check_runs(runs: Sequence[Run]) -> None:
    """Names and methods that cannot be, datasets that are not there, and test sets and groups that do not fit them are an error
    before anything is run."""
    for run in runs:
        check(run.settings, run.name)
        find_dataset(run.dataset)
    asked = {run.dataset: run.settings for run in runs if run.settings.test or run.settings.groups}
    for dataset, settings in asked.items():
        divide(find_dataset(dataset), settings)


def _all(benchmark: Benchmark) -> list[Run]:
    settings = _settings(benchmark)
    starts = [replace(setting, settings=replace(setting.settings, name=f"{setting.name}_start")) for setting in settings]
    pairs = list(zip(settings, starts, strict=True))
    of_methods = [_of_method(setting, start, words) for words in benchmark.methods for setting, start in pairs]
    datasets = {dataset.dataset: dataset for dataset in reversed(benchmark.datasets)}  # which several tables may name
    on_all = [_on_all_labels(benchmark, datasets[name], seed) for name in reversed(datasets) for seed in benchmark.seeds]
    runs = [*starts, *of_methods, *(on_all if benchmark.all_labels else [])]
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise NnActiveError(f"The benchmark has two experiments called {name}: rename a regime, or leave one out.")
    return runs


def starts_of(runs: Sequence[Run]) -> list[Run]:
    """The starts of ``runs``, each once."""
    return list({run.start.folder: run.start for run in runs if run.start}.values())


def part(runs: Sequence[Run], part_id: int, num_parts: int) -> list[Run]:
    """The share of a part; starts are made by whoever needs them first."""
    return list(runs[part_id::num_parts])


def _settings(benchmark: Benchmark) -> list[Run]:
    """What the experiments of each setting and seed have in common."""
    return [
        _run(benchmark, dataset, size, regime, seed)
        for dataset in benchmark.datasets
        for size in dataset.patch_sizes
        for regime in dataset.regimes
        for seed in benchmark.seeds
    ]


def _run(benchmark: Benchmark, dataset: BenchDataset, size: str, regime: Regime, seed: int) -> Run:
    where = _safe(Path(dataset.dataset).name.removeprefix("Dataset"))
    patch = "x".join(size.split()) if len(size.split()) > 1 else f"{size}cube"
    settings = replace(
        benchmark.settings,
        name=f"{benchmark.name}_{where}_{_safe(patch)}_{regime.name}_seed{seed}",
        patch_size=size.split(),
        query_size=regime.query_size,
        starting_budget=regime.starting_budget,
        seed=seed,
        **dataset.settings,
    )
    return Run(dataset.dataset, settings, START)


def _of_method(setting: Run, start: Run, words: str) -> Run:
    method, options = method_and_options(words.split())
    assert method is not None
    settings = replace(setting.settings, name=f"{setting.name}_{_safe(words)}", method=method, method_options=options)
    return Run(setting.dataset, settings, "", start)


def _on_all_labels(benchmark: Benchmark, dataset: BenchDataset, seed: int) -> Run:
    run = _run(benchmark, dataset, dataset.patch_sizes[0], Regime("all-labels", 1, 1), seed)
    settings = replace(run.settings, query_size=None, starting_budget=None, start=(), cycles=1, all_labels=True)
    return replace(run, settings=settings, purpose=ALL_LABELS)


def _safe(text: str) -> str:
    return re.sub("_+", "_", re.sub("[^A-Za-z0-9-]+", "_", text)).strip("_")


def _numbers(benchmark: Benchmark, names: Sequence[str], remember: bool) -> dict[str, int]:
    results = nnunet_folder("nnUNet_results")
    file = benchmark_folder(benchmark.name) / NUMBERS
    if not remember:
        return _with_new(benchmark.first_number, read_numbers(file), _reserved(results, file), names)
    file.parent.mkdir(parents=True, exist_ok=True)
    with held(
        results / ".nnactive_benchmarks.lock", wait=True, what="the numbers of benchmarks"
    ):  # parts, or other benchmarks, may begin at the same time
        known = read_numbers(file)
        numbers = _with_new(benchmark.first_number, known, _reserved(results, file), names)
        if numbers != known:
            write_json(file, numbers)
    return numbers


def read_numbers(file: Path) -> dict[str, int]:
    """Name of an experiment -> number of its dataset; empty where there is no such file."""
    return read_json_if_any(file, {}, dict[str, Length])


def _reserved(results: Path, ours: Path) -> set[int]:
    """By other benchmarks, whose experiments need not exist yet."""
    files = [file for file in results.glob(f"benchmark_*/{NUMBERS}") if file != ours]
    return {number for file in files for number in read_numbers(file).values()}


def _lost(number: int, name: str) -> bool:
    """Whether another dataset has got the number of an experiment that was not made yet."""
    others = existing_names(number)
    return bool(others) and dataset_name(number, name) not in others


def _with_new(first: int, known: dict[str, int], reserved: set[int], names: Sequence[str]) -> dict[str, int]:
    numbers, number = dict(known), first
    taken = reserved | set(known.values())
    for name in names:
        if name in numbers and not _lost(numbers[name], name):
            continue
        while number in taken or existing_names(number):
            number += 1
        numbers[name] = number
        taken.add(number)
    return numbers
