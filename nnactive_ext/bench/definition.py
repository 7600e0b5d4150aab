"""Reads a benchmark from its file: datasets, label regimes, query patch sizes, methods, seeds, settings."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.member_kinds import MemberKind
from nnactive_ext.planning.options import Option, benchmark_keys, check_value, dataset_keys
from nnactive_ext.planning.settings import Settings
from nnactive_ext.refusals import refuses

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Regime:
    """A label regime: patches before cycle 0, and patches per query."""

    name: str
    starting_budget: int
    query_size: int


@dataclass(frozen=True)
class BenchDataset:
    """A labelled dataset (number, name or folder), and the settings it is used in; patch sizes as ``-patch_size`` has them, and
    ``settings`` of its own, such as the groups of its cases."""

    dataset: str
    patch_sizes: tuple[str, ...]
    regimes: tuple[Regime, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark file says; where it is silent, the protocol's values (methods.md) and ``nnactive_plan``'s defaults.

    ``methods`` are written as after ``--method``. ``settings``: what all experiments have in common; their number, name, patch
    size, budgets, seed and method are those of each. ``all_labels``: train on all labels too, once for each seed, which the
    foreground efficiency and the target budgets need. ``minutes_per_training``, of one member, is for the estimate until
    trainings of this benchmark have been timed.
    """

    name: str
    first_number: int
    datasets: tuple[BenchDataset, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: Settings
    all_labels: bool = True
    minutes_per_training: float | None = None


@refuses
def read_benchmark(file: Path) -> Benchmark:
    """Read a benchmark from a TOML file.

    Args:
        file: the benchmark file; relative folders of datasets in it are relative to the file.

    Returns:
        The benchmark with all defaults filled in.

    Raises:
        NnActiveError: a key is missing, repeated or unknown, or a value has the wrong type; the message names it.
    """
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NnActiveError(f"{file}: no such file.") from None
    except IsADirectoryError:
        raise NnActiveError(f"{file}: is a folder. Give the benchmark's TOML file.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise NnActiveError(f"{file}: not valid TOML ({error}). Correct the file.") from None
    return _Reader(file).benchmark(content)


_REQUIRED = ("name", "first_number", "datasets", "methods", "seeds")
_TYPES: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "first_number": int,
    "all_labels": bool,
    "minutes_per_training": (int, float),
}


class _Reader:
    def __init__(self, file: Path):
        self._file = file

    def benchmark(self, content: Mapping[str, Any]) -> Benchmark:
        self._keys(content, [*_REQUIRED, *benchmark_keys(Settings), "all_labels", "minutes_per_training"], "")
        lacking = [key for key in _REQUIRED if key not in content]
        if lacking:
            self._refuse(f"{', '.join(lacking)} missing")
        plain = {key: self._typed(content, key) for key in content if key in _TYPES}
        settings = self._settings(content)
        name = plain["name"]
        if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii() or "__" in name:
            self._refuse(f"name is {name!r}; use letters, digits, '-' and single '_'")
        MemberKind.of(settings.members)
        if settings.cycles < 2 or settings.folds < 1:
            self._refuse("at least 2 cycles and 1 fold are needed")
        if plain["first_number"] < 1:
            self._refuse(f"first_number is {plain['first_number']}; dataset numbers begin with 1")
        minutes = plain.get("minutes_per_training", 1)
        if not (math.isfinite(minutes) and minutes > 0):
            self._refuse(f"minutes_per_training is {minutes}; it must be above 0")
        tables = content["datasets"]
        if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
            self._refuse("write each dataset as a table that begins with [[datasets]]")
        datasets = tuple(self._dataset(table, settings.cycles) for table in tables)
        own = {one.dataset: one.settings for one in reversed(datasets)}
        unlike = [one.dataset for one in datasets if one.settings != own[one.dataset]]
        if unlike:
            keys = ", ".join(dataset_keys(Settings))
            self._refuse(f"[[datasets]] {unlike[0]}: its tables differ in {keys}; give all of them the same")
        return Benchmark(
            **plain,
            settings=settings,
            datasets=datasets,
            methods=tuple(str(method) for method in self._list(content, "methods", str)),
            seeds=tuple(self._list(content, "seeds", int)),
        )

    def _settings(self, content: Mapping[str, Any]) -> Settings:
        """Those that the file gives, of the ones that may differ between benchmarks."""
        given = {key: content[key] for key in benchmark_keys(Settings) if key in content}
        for key, option in benchmark_keys(Settings).items():
            if key in given and not check_value(option, given[key]):
                choices = f" (one of: {', '.join(option.choices)})" if option.choices else ""
                self._refuse(f"{key} is {given[key]!r}, which is of the wrong type or not allowed{choices}")
            if key in ("pretrained", "pretrained_plans") and key in given:
                given[key] = str(self._file.parent / given[key])
        return Settings(number=0, **given)

    def _dataset(self, table: Mapping[str, Any], cycles: int) -> BenchDataset:
        where = f"[[datasets]] {table.get('dataset', '?')}: "
        self._keys(table, ["dataset", "patch_sizes", "regimes", *dataset_keys(Settings)], where)
        if not isinstance(table.get("dataset"), (int, str)) or isinstance(table.get("dataset"), bool):
            self._refuse(f"{where}give a dataset's number, name or folder as dataset")
        regimes = table.get("regimes")
        if not isinstance(regimes, dict) or not regimes:
            self._refuse(f'{where}give regimes with the budget in patches, e.g. regimes = {{"low" = 100}}')
        assert isinstance(regimes, dict)
        given = [(key, option) for key, option in dataset_keys(Settings).items() if key in table]
        dataset = str(table["dataset"])
        if (self._file.parent / dataset).is_dir():  # a path beside the benchmark's file
            dataset = str(self._file.parent / dataset)
        return BenchDataset(
            dataset=dataset,
            patch_sizes=tuple(" ".join(str(size).split()) for size in self._list(table, "patch_sizes", (str, int), where)),
            regimes=tuple(self._regime(name, value, cycles, where) for name, value in regimes.items()),
            settings=dict(item for key, option in given for item in self._own(table[key], key, option, where).items()),
        )

    def _own(self, value: Any, key: str, option: Option, where: str) -> Mapping[str, Any]:
        """A setting of one dataset; files may lie beside the benchmark's file."""
        if not isinstance(value, str) or not value:
            self._refuse(f"{where}{key} is {value!r}; write a text")
        if option.read:
            return option.read(value.split())
        beside = self._file.parent / value
        value = str(beside) if beside.is_file() else value
        return {key: option.type(value) if option.type else value}

    def _regime(self, name: str, value: Any, cycles: int, where: str) -> Regime:
        """A budget, shared equally by the starting budget and the queries, or both in a table."""
        if not (name.isascii() and name.replace("-", "").isalnum()):
            self._refuse(f"{where}the regime's name {name!r} may hold letters, digits and '-'")
        if isinstance(value, dict):
            self._keys(value, ["starting_budget", "query_size"], f"{where}{name}: ")
            starting, query = value.get("starting_budget"), value.get("query_size")
        else:
            if isinstance(value, int) and value % cycles:
                self._refuse(
                    f"{where}{name}: a budget of {value} patches cannot be shared by {cycles} cycles; give a multiple, or "
                    "{starting_budget = ..., query_size = ...}"
                )
            starting = query = value // cycles if isinstance(value, int) else None
        if not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in (starting, query)):
            self._refuse(f"{where}{name}: give the budget in patches, or {{starting_budget = ..., query_size = ...}}")
        assert isinstance(starting, int)
        assert isinstance(query, int)
        return Regime(name, starting, query)

    def _list(self, table: Mapping[str, Any], key: str, kind: type | tuple[type, ...], where: str = "") -> Sequence[Any]:
        values = table.get(key)
        if not isinstance(values, list) or not values or any(isinstance(v, bool) or not isinstance(v, kind) for v in values):
            self._refuse(f"{where}give {key} as a list, with at least one entry")
        assert isinstance(values, list)
        if not all(str(value).strip() for value in values):
            self._refuse(f"{where}an entry of {key} is empty")
        if len({str(value) for value in values}) < len(values):
            self._refuse(f"{where}an entry of {key} appears twice")
        return values

    def _typed(self, content: Mapping[str, Any], key: str) -> Any:
        value = content[key]
        if not isinstance(value, _TYPES[key]) or (isinstance(value, bool) and _TYPES[key] is not bool):
            self._refuse(f"{key} is {value!r}, which is of the wrong type")
        return value

    def _keys(self, table: Mapping[str, Any], known: Sequence[str], where: str) -> None:
        unknown = sorted(set(table) - set(known))
        if unknown:
            self._refuse(f"{where}{', '.join(unknown)} unknown; there are {', '.join(known)}")

    def _refuse(self, problem: str) -> None:
        raise NnActiveError(f"{self._file}: {problem}. Correct the file.")
