"""The benchmark's file: what it means, and what is wrong with it."""

from pathlib import Path

import pytest

from nnactive_ext.bench.definition import Regime, read_benchmark
from nnactive_ext.bench.runs import check_runs, part, runs_of, starts_of
from nnactive_ext.errors import NnActiveError
from nnactive_ext.planning.simulation import check

WHOLE = """
name = "small"
first_number = 300
methods = ["random", "clasp_pe alpha=0.5"]
seeds = [1, 2, 3]
cycles = 4

[[datasets]]
dataset = 100
patch_sizes = ["4 4 4", 6, "5mm 4mm 4mm"]
regimes = { low = 40, odd = { starting_budget = 3, query_size = 7 } }
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "small.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_what_a_file_means(tmp_path):
    benchmark = read_benchmark(written(tmp_path, WHOLE))
    assert benchmark.methods == ("random", "clasp_pe alpha=0.5")
    assert (benchmark.settings.cycles, benchmark.settings.folds, benchmark.all_labels) == (4, 5, True)
    (dataset,) = benchmark.datasets
    assert dataset.patch_sizes == ("4 4 4", "6", "5mm 4mm 4mm")
    assert dataset.regimes == (Regime("low", 10, 10), Regime("odd", 3, 7))


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('name = "small"', "", "name"),
        ('name = "small"', 'name = "sm all"', "sm all"),
        ("first_number = 300", 'first_number = "300"', "first_number"),
        ("first_number = 300", "first_number = -5", "first_number"),
        ("first_number = 300", "first_number = 0", "first_number"),
        ("cycles = 4", "cycles = 4\nminutes_per_training = nan", "minutes_per_training"),
        ("cycles = 4", "cycles = 4\nminutes_per_training = -1.0", "minutes_per_training"),
        ("seeds = [1, 2, 3]", "seeds = [1, 1]", "twice"),
        ("seeds = [1, 2, 3]", "seeds = []", "seeds"),
        ("seeds = [1, 2, 3]", "seeds = [true]", "seeds"),
        ('"random", ', '"random", " ", ', "an entry of methods is empty"),
        ("cycles = 4", "cycles = 1", "2 cycles"),
        ("cycles = 4", "cycle = 4", "cycle unknown"),
        ("cycles = 4", 'cycles = 4\npreset = "gpu"', "gpu"),
        ("low = 40", "low = 41", "41"),
        ("low = 40", 'low = "40"', "low"),
        ("low = 40", "low = 0", "low"),
        ("low = 40", "low = { starting_budget = 3 }", "low"),
        ("query_size = 7", "query_sizes = 7", "query_sizes"),
        ("[[datasets]]", "[datasets]", "[[datasets]]"),
        ("dataset = 100", "", "dataset"),
        ('methods = ["random"', 'methods = ["random", "random"', "twice"),
        ('name = "small"', 'name = "small', "TOML"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(tmp_path, old, new, named):
    assert old in WHOLE
    file = written(tmp_path, WHOLE.replace(old, new))
    with pytest.raises(NnActiveError) as error:
        read_benchmark(file)
    assert str(file) in str(error.value)
    assert named in str(error.value)


@pytest.mark.parametrize(("groups", "kept"), [("who.csv", "beside"), ("{patient}_{time}", "pattern")])
def test_a_dataset_has_groups_and_a_test_set_of_its_own(tmp_path, tiny, groups, kept):
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("who.csv", "mine.txt"):
        (folder / name).touch()
    text = WHOLE.replace("dataset = 100", f'dataset = 100\ngroups = "{groups}"\ntest = "mine.txt"')
    benchmark = read_benchmark(written(folder, text))
    expected = str(folder / "who.csv") if kept == "beside" else groups
    for run in runs_of(benchmark):
        assert (run.settings.groups, run.settings.test) == (expected, folder / "mine.txt")
    (plain,) = read_benchmark(written(tmp_path, WHOLE)).datasets
    assert plain.settings == {}


def test_a_dataset_has_a_start_of_its_own(tmp_path, tiny):
    text = WHOLE.replace("dataset = 100", 'dataset = 100\nstart = "typiclust features=file:vectors clusters=9"')
    for run in runs_of(read_benchmark(written(tmp_path, text))):
        words = ("typiclust", f"features=file:{Path('vectors').absolute()}", "clusters=9")
        assert run.settings.start == (() if run.settings.all_labels else words)


@pytest.mark.parametrize("line", ["start = 3", "groups = 3", 'test = ""', "test = true", 'groups = ["a.csv"]'])
def test_groups_and_test_sets_of_a_wrong_type(tmp_path, line):
    with pytest.raises(NnActiveError, match=line.split()[0]):
        read_benchmark(written(tmp_path, WHOLE.replace("dataset = 100", f"dataset = 100\n{line}")))


def test_tables_of_one_dataset_have_the_same_groups(tmp_path):
    second = """
[[datasets]]
dataset = 100
groups = "tiny_{patient}"
patch_sizes = [5]
regimes = { other = 40 }
"""
    with pytest.raises(NnActiveError, match=r"100: its tables differ in groups, test, irrelevant, start"):
        read_benchmark(written(tmp_path, WHOLE + second))
    both = WHOLE.replace("dataset = 100", 'dataset = 100\ngroups = "tiny_{patient}"') + second
    assert len(read_benchmark(written(tmp_path, both)).datasets) == 2


def test_groups_that_do_not_fit_are_refused_before_anything_is_run(tmp_path, tiny):
    for line, named in (('groups = "{patient}x{time}"', "do not match"), ('test = "mine.txt"', "tiny_99")):
        (tmp_path / "mine.txt").write_text("tiny_99\n")
        runs = runs_of(read_benchmark(written(tmp_path, WHOLE.replace("dataset = 100", f"dataset = 100\n{line}"))))
        with pytest.raises(NnActiveError, match=named):
            check_runs(runs)


def test_a_missing_file(tmp_path):
    with pytest.raises(NnActiveError, match=r"none\.toml"):
        read_benchmark(tmp_path / "none.toml")
    with pytest.raises(NnActiveError, match="is a folder"):
        read_benchmark(tmp_path)


def test_every_combination_is_a_run_and_every_number_is_its_own(tmp_path, tiny):
    runs = runs_of(read_benchmark(written(tmp_path, WHOLE)))
    assert len(runs) == 2 * 3 * 2 * 3 + 3  # methods, patch sizes, regimes, seeds; and all labels for each seed
    assert len(starts_of(runs)) == 3 * 2 * 3
    numbers = [run.settings.number for run in [*runs, *starts_of(runs)]]
    assert len(set(numbers)) == len(numbers)
    assert min(numbers) == 300
    check_runs(runs)


def test_parts_are_everything_and_disjoint(tmp_path, tiny):
    runs = runs_of(read_benchmark(written(tmp_path, WHOLE)))
    parts = [part(runs, i, 4) for i in range(4)]
    assert sorted(run.folder for share in parts for run in share) == sorted(run.folder for run in runs)


def test_numbers_stay_when_the_file_grows_and_others_are_left_alone(tmp_path, tiny, nnunet_folders):
    (nnunet_folders.raw / "Dataset301_Other").mkdir()
    before = {run.settings.name: run.settings.number for run in runs_of(read_benchmark(written(tmp_path, WHOLE)))}
    assert 301 not in before.values()
    grown = WHOLE.replace('"random", ', '"bald", "random", ').replace("[1, 2, 3]", "[7, 1, 2, 3]")
    after = {run.settings.name: run.settings.number for run in runs_of(read_benchmark(written(tmp_path, grown)))}
    assert before.items() <= after.items()
    assert len(set(after.values())) == len(after)


def test_two_benchmarks_have_no_number_in_common(tmp_path, tiny):
    one = runs_of(read_benchmark(written(tmp_path, WHOLE)))
    other = runs_of(read_benchmark(written(tmp_path, WHOLE.replace('"small"', '"other"'))))
    taken = [{run.settings.number for run in [*runs, *starts_of(runs)]} for runs in (one, other)]
    assert not taken[0] & taken[1]


def test_looking_writes_nothing(tmp_path, tiny, nnunet_folders):
    runs_of(read_benchmark(written(tmp_path, WHOLE)), remember=False)
    assert not list(nnunet_folders.results.iterdir())


def test_numbers_go_on_above_999(tmp_path, tiny):
    runs = runs_of(read_benchmark(written(tmp_path, WHOLE.replace("300", "980"))))
    numbers = {run.settings.number for run in runs}
    assert max(numbers) > 999
    assert all(run.folder.startswith(f"Dataset{run.settings.number}_") for run in runs)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('"random"', '"randon"', "randon"),
        ("alpha=0.5", "alpha=5", "alpha"),
        ("dataset = 100", "dataset = 77", "77"),
        ('"4 4 4", 6', '"4 4 4", "4  4 4"', "two experiments"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is(tmp_path, tiny, old, new, named):
    with pytest.raises(NnActiveError, match=named):
        check_runs(runs_of(read_benchmark(written(tmp_path, WHOLE.replace(old, new)))))


FOLDER = Path(__file__).parent.parent / "benchmarks" / "protocols"
PROTOCOLS = sorted(FOLDER.rglob("*.toml"))
RUNS = {
    "hippocampus_cpu": 10,
    "hippocampus_descriptors": 15,
    "phantom": 27,
    "published/acdc": 148,
    "published/acdc_small_patches": 112,
    "published/amos": 148,
    "published/amos_small_patches": 112,
    "published/hippocampus": 148,
    "published/hippocampus_small_patches": 112,
    "published/kits": 148,
    "published/kits_small_patches": 112,
    "published/lits": 20,
    "published/mama_mia": 20,
    "published/toothfairy2": 20,
    "published/word": 20,
    "study/abdomen": 12,
    "study/hippocampus": 48,
    "study/phantom": 30,
    "study/phantom_folds": 10,
    "study/strangers": 10,
    "study/strangers_screened": 10,
}
"""File -> experiments that it unfolds to."""


@pytest.mark.parametrize("file", PROTOCOLS, ids=lambda file: file.stem)
def test_the_files_we_ship_are_benchmarks(file, nnunet_folders):
    """Whose datasets are not here; but all else is checked."""
    runs = runs_of(read_benchmark(file), remember=False)
    for run in runs:
        check(run.settings, str(run.settings.name))
    assert len(runs) == RUNS[file.relative_to(FOLDER).with_suffix("").as_posix()]


def test_the_published_budgets_are_shared_by_five_cycles():
    """methods.md, Protocol: the starting budget is the query size, and a fifth of the budget."""
    (low, medium, high) = read_benchmark(next(f for f in PROTOCOLS if f.stem == "kits")).datasets[0].regimes
    assert [(r.starting_budget, r.query_size) for r in (low, medium, high)] == [(40, 40), (200, 200), (500, 500)]
