"""Whole benchmarks with members that cost nothing: shared starts, resuming, parts, failures, the comparison."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from fake_members import copy_of, fake_tools
from folders import quicken, set_folders

from conftest import PLANNED
from nnactive_ext.bench.definition import read_benchmark
from nnactive_ext.bench.estimate import estimate, overview
from nnactive_ext.bench.finish import finish
from nnactive_ext.bench.on_workers import OneExperiment, Place, run_on_workers, run_one
from nnactive_ext.bench.outcomes import Outcomes, is_complete
from nnactive_ext.bench.running import How, run_all
from nnactive_ext.bench.runs import Run, benchmark_folder, part, runs_of, starts_of
from nnactive_ext.bench.side_by_side import run_side_by_side
from nnactive_ext.cli import bench
from nnactive_ext.cli import plan as plan_command
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import loop_file
from nnactive_ext.experiment.plan import ALL_LABELS, Plan
from nnactive_ext.files import read_json
from nnactive_ext.loop.cycles import run_cycles
from nnactive_ext.members.tools import Tools
from nnactive_ext.query_methods.base import Query

FILE = """
name = "small"
first_number = 300
methods = ["random", "clasp_pe"]
seeds = [1, 2]
cycles = 3
folds = 2
preset = "cpu"

[[datasets]]
dataset = 100
patch_sizes = ["3 6 6"]
regimes = { low = { starting_budget = 6, query_size = 2 } }
"""
TRAININGS = (2 + 2 * 2 * 2 + 2) * 2  # cycle 0 of each seed, two more of each method and seed, all labels; two folds


def quiet(text: str) -> None:
    pass


def run_them(runs, tools: Tools) -> list[str]:
    """The folders of those that failed."""
    outcomes = Outcomes(benchmark_folder("small"))
    run_all(runs, How("small", tools, False, quiet), outcomes)
    return [outcome.folder for outcome in outcomes.of(runs) if outcome.failed]


def finish_them(runs, output: Path, others: bool = False, say=quiet) -> None:
    finish(runs, Outcomes(benchmark_folder("small")), output, others, say)


class Counting:
    """Members that cost nothing, and how many of them were trained; the training after ``patience`` ones fails."""

    def __init__(self, patience: int | None = None):
        self._fake, self._patience = fake_tools(classes=3), patience
        self.trained: Counter[str] = Counter()

    def train(self, experiment: Experiment, fold: int) -> None:
        if self._patience is not None and self.trained.total() >= self._patience:
            raise KeyboardInterrupt
        self._fake.train(experiment, fold)
        self.trained[experiment.name] += 1

    @property
    def tools(self) -> Tools:
        return Tools(self.train, self._fake.open_ensemble)


def read(folder: Path, text: str = FILE) -> list[Run]:
    (folder / "small.toml").write_text(text)
    return runs_of(read_benchmark(folder / "small.toml"))


@pytest.fixture
def runs(tiny, quick_planning, tmp_path):
    """A benchmark of which nothing has been done."""
    return read(tmp_path)


@pytest.fixture(scope="module")
def done_template(tmp_path_factory, tiny_template, planned_template):
    """Read only; the folders of a benchmark that is done, and how many members were trained."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("done")
        folders, counting = set_folders(patch, folder), Counting()
        quicken(patch, planned_template.preprocessed / PLANNED)
        shutil.copytree(tiny_template, folders.raw / tiny_template.name)
        assert run_them(read(folder), counting.tools) == []
    return folders, counting.trained.total()


@pytest.fixture
def done(done_template, quick_planning, tmp_path, monkeypatch):
    """The runs of a benchmark that is done, in folders of this test's own."""
    copy_of(done_template[0], tmp_path / "copy", monkeypatch)
    return read(tmp_path)


def test_a_whole_benchmark(done, done_template, tmp_path):
    assert done_template[1] == TRAININGS
    assert all(is_complete(run) for run in done)
    finish_them(done, tmp_path / "compared")
    assert "4 experiments: 1 setting, 2 methods" in (tmp_path / "compared" / "comparison.md").read_text()
    found = estimate(read_benchmark(tmp_path / "small.toml"), done)
    assert (found.experiments, found.complete, found.cycles, found.done) == (6, 6, 12, 12)


def test_methods_of_a_seed_share_their_beginning(done_template, tmp_path, monkeypatch):
    for name, folder in vars(done_template[0]).items():  # as it was made: a copy has no links
        monkeypatch.setenv(f"nnUNet_{name}", str(folder))
    runs = read(tmp_path)
    one, other, start = (
        Experiment(run.folder) for run in (*(r for r in runs if r.start and r.settings.seed == 1), starts_of(runs)[0])
    )
    assert [one.plan.method, other.plan.method] == ["random", "clasp_pe"]
    assert len({e.plan.experiment for e in (one, other, start)}) == 3
    loops = [loop_file(e.raw, 0).read_bytes() for e in (one, other, start)]
    assert loops[0] == loops[1] == loops[2]
    results = [read_json(e.results / "cycle_000.json") for e in (one, other, start)]
    assert results[0] == results[1] == results[2]
    images = [next(iter(sorted(e.preprocessed.data_folder.glob("tiny_?.b2nd")))) for e in (one, other, start)]
    assert len({os.stat(image).st_ino for image in images}) == 1  # one file, not copies of it
    assert loop_file(one.raw, 1).read_bytes() != loop_file(other.raw, 1).read_bytes()


def test_an_experiment_with_a_shared_beginning_goes_on_as_one_of_its_own(done):
    run = next(run for run in done if run.settings.method == "clasp_pe" and run.settings.seed == 2)
    alone = "-d 100 -o 500 -patch_size 3 6 6 -starting_budget 6 -query_size 2 -cycles 3 -folds 2 -seed 2 --preset cpu"
    plan_command.main([*alone.split(), "--disable_progress_bar"])
    run_cycles(Experiment.find(500), Counting().tools, False, quiet)
    shared, alone = Experiment(run.folder), Experiment.find(500)
    for cycle in range(3):
        patches = [read_json(loop_file(e.raw, cycle))["patches"] for e in (shared, alone)]
        assert patches[0] == patches[1]
        results = [read_json(e.results / f"cycle_{cycle:03d}.json") for e in (shared, alone)]
        assert results[0] == results[1]
    for case in alone.plan.pool:
        file = f"{case}_seg.b2nd"
        assert (shared.preprocessed.data_folder / file).read_bytes() == (alone.preprocessed.data_folder / file).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("patience", [1, 9])
def test_interrupted_anywhere_it_goes_on(runs, patience):
    first, second = Counting(patience), Counting()
    with pytest.raises(KeyboardInterrupt):
        run_them(runs, first.tools)
    run_them(runs, second.tools)
    assert first.trained.total() == patience
    assert first.trained.total() + second.trained.total() == TRAININGS
    assert all(is_complete(run) for run in runs)


@pytest.mark.slow
def test_a_kill_while_a_beginning_is_copied_leaves_nothing_in_the_way(runs, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nnactive_ext.bench.clone.write_record", killed)
        # What a kill leaves: the folders stay, with their marks.
        patch.setattr("shutil.rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            run_them(runs, Counting().tools)
    assert run_them(runs, Counting().tools) == []
    assert all(is_complete(run) for run in runs)


@pytest.mark.slow
def test_one_that_fails_does_not_stop_the_others(runs, tmp_path):
    broken = next(run for run in runs if run.settings.method == "random" and run.settings.seed == 2)
    counting = Counting()

    def train(experiment: Experiment, fold: int) -> None:
        if experiment.name == broken.folder and experiment.state["cycle"] == 2:
            raise NnActiveError("the training diverged")
        counting.train(experiment, fold)

    failures = run_them(runs, Tools(train, counting.tools.open_ensemble))
    assert failures == [broken.folder]
    assert [is_complete(run) for run in runs].count(False) == 1
    with pytest.raises(NnActiveError, match="diverged") as error:
        finish_them(runs, tmp_path / "compared")
    assert broken.folder in str(error.value)
    assert "2 of 3" in (tmp_path / "compared" / "comparison.md").read_text()
    assert run_them(runs, counting.tools) == []


@pytest.mark.slow
def test_an_error_that_nobody_foresaw_does_not_stop_the_others(runs, tmp_path, capsys):
    broken, counting = runs[0], Counting()

    def train(experiment: Experiment, fold: int) -> None:
        if experiment.name == broken.folder:
            raise RuntimeError("labelsTr/tiny_1.nii.gz: cannot be read")
        counting.train(experiment, fold)

    assert run_them(runs, Tools(train, counting.tools.open_ensemble)) == [broken.folder]
    assert "Traceback" in capsys.readouterr().err
    with pytest.raises(NnActiveError, match="RuntimeError: labelsTr/tiny_1"):
        finish_them(runs, tmp_path / "compared")
    assert (tmp_path / "compared" / "comparison.md").is_file()


@pytest.mark.parametrize("error", [NnActiveError, pytest.param(RuntimeError, marks=pytest.mark.slow)])
def test_a_beginning_that_fails_is_tried_once(runs, error):
    tried: Counter[str] = Counter()

    def train(experiment: Experiment, fold: int) -> None:
        tried[experiment.name] += 1
        raise error("it diverged")

    assert run_them(runs, Tools(train, Counting().tools.open_ensemble)) == [run.folder for run in runs]
    assert {start.folder: 1 for start in starts_of(runs)}.items() <= tried.items()
    assert all("it diverged" in outcome.why for outcome in Outcomes(benchmark_folder("small")).of(runs))


def test_a_full_disk_stops_all(runs):
    tried = []

    def train(experiment: Experiment, fold: int) -> None:
        tried.append(experiment.name)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        run_them(runs, Tools(train, Counting().tools.open_ensemble))
    assert len(tried) == 1


def test_a_plan_that_cannot_be_read_is_a_failure_of_its_own(done, tmp_path):
    broken = Experiment(done[0].folder).raw / "nnactive_plan.json"
    broken.write_bytes(broken.read_bytes()[:50])
    assert not is_complete(done[0])
    assert run_them(done, Counting().tools) == [done[0].folder]
    with pytest.raises(NnActiveError, match="nnactive_plan"):
        finish_them(done, tmp_path / "compared")
    assert (tmp_path / "compared" / "comparison.md").is_file()


def test_a_dataset_that_has_moved_is_another_one(done, tmp_path):
    moved = shutil.move(Experiment(done[0].folder).source.folder, tmp_path)
    assert run_them([replace(done[0], dataset=moved)], Counting().tools) == [done[0].folder]
    (outcome,) = Outcomes(benchmark_folder("small")).of(done)
    assert "was planned with dataset" in outcome.why


@pytest.mark.slow
def test_a_number_that_somebody_else_has_taken(runs, tmp_path):
    """Those that share its start go on; the next time it gets another number."""
    lost = runs[0]
    other = Experiment(f"Dataset{lost.settings.number:03d}_Liver").raw
    other.mkdir()
    counting = Counting()
    assert run_them(runs, counting.tools) == [lost.folder]
    again = read(tmp_path)
    assert [run.folder for run in again[1:]] == [run.folder for run in runs[1:]]
    assert again[0].settings.number not in {run.settings.number for run in runs}
    assert run_them(again, counting.tools) == []
    assert counting.trained.total() == TRAININGS
    assert list(other.iterdir()) == []


def test_a_dataset_in_two_tables_is_trained_once_on_all_labels(tiny, tmp_path):
    table = FILE[FILE.index("[[datasets]]") :]
    runs = read(tmp_path, FILE + table.replace('"3 6 6"', '"6 12 12"'))
    assert sum(run.purpose == ALL_LABELS for run in runs) == 2, "one for each seed"
    assert len(runs) == 2 * 2 * 2 + 2


@pytest.mark.slow
def test_a_pool_that_is_used_up_is_compared_as_what_it_is(tiny, quick_planning, tmp_path):
    runs = read(tmp_path, FILE.replace("query_size = 2", "query_size = 400").replace("[1, 2]", "[1]"))
    assert run_them(runs, Counting().tools) == []
    finish_them(runs, tmp_path / "compared")
    assert "used up" in (tmp_path / "compared" / "comparison.md").read_text()


def test_a_starting_budget_that_does_not_fit_is_a_failure(tiny, quick_planning, tmp_path):
    runs = read(tmp_path, FILE.replace("starting_budget = 6", "starting_budget = 100000").replace("[1, 2]", "[1]"))
    assert set(run_them(runs, Counting().tools)) == {run.folder for run in runs if run.start}
    with pytest.raises(NnActiveError, match="need 100002"):
        finish_them(runs, tmp_path / "compared", others=True)


@pytest.mark.slow
def test_a_query_that_finds_nothing_ends_an_experiment(runs, tmp_path, monkeypatch):
    """Then no loop file tells that the pool is used up."""

    def nothing(*_, **__):
        return Query(())

    monkeypatch.setattr("nnactive_ext.loop.cycles.query_cycle", nothing)
    assert run_them(runs, Counting().tools) == []
    said: list[str] = []
    finish_them(runs, tmp_path / "compared", others=True, say=said.append)
    assert not any("left to other parts" in text for text in said)


@pytest.mark.slow
def test_failures_of_other_parts_do_not_keep_the_last_one_from_comparing(runs, tmp_path):
    def diverging(experiment: Experiment, fold: int) -> None:
        raise NnActiveError("the training diverged")

    assert run_them(part(runs, 0, 2), Tools(diverging, Counting().tools.open_ensemble))
    assert run_them(part(runs, 1, 2), Counting().tools) == []
    with pytest.raises(NnActiveError, match="3 of 6 experiments failed"):
        finish_them(runs, tmp_path / "compared", others=True)
    assert (tmp_path / "compared" / "comparison.md").is_file()


def test_accumulators_arrive(runs, monkeypatch):
    asked = []

    def query(*_, accumulators: str, **__):
        asked.append(accumulators)
        return Query(())

    monkeypatch.setattr("nnactive_ext.loop.cycles.query_cycle", query)
    how = How("small", Counting().tools, False, quiet, accumulators="half")
    run_all(runs[:1], how, Outcomes(benchmark_folder("small")))
    assert asked == ["half"]


def run_part(runs, part_id: int) -> None:
    assert run_them(part(runs, part_id, 2), Counting().tools) == []


@pytest.mark.slow
def test_two_parts_at_once(runs, tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=run_part, args=(runs, i)) for i in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert all(is_complete(run) for run in runs)


def test_a_part_that_ends_first_does_not_compare(runs, tmp_path):
    run_part(runs, 0)
    said: list[str] = []
    finish_them(runs, tmp_path / "compared", True, said.append)
    assert not (tmp_path / "compared").exists()
    assert "3 of 6" in said[-1]


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("query_size = 2", "query_size = 3", "query_size"),
        ("cycles = 3", "cycles = 4", "cycles"),
        ("folds = 2", 'folds = 2\ntrainer = "nnActiveTrainer_7epochs"', "nnActiveTrainer_7epochs"),
    ],
)
def test_a_file_that_changed_its_mind_is_told(done, tmp_path, old, new, named):
    runs = read(tmp_path, FILE.replace(old, new))
    assert run_them(runs, Counting().tools)
    outcomes = Outcomes(benchmark_folder("small")).of(runs)
    assert all(outcome.failed and named in outcome.why for outcome in outcomes)


def test_a_method_added_later_shares_the_beginning_too(done, tmp_path):
    grown, counting = read(tmp_path, FILE.replace('"random"', '"random", "bald"')), Counting()
    assert run_them(grown, counting.tools) == []
    assert counting.trained.total() == 2 * 2 * 2  # seeds, cycles, folds: no cycle 0


def planned_with(dataset: str, words: str = "", seeds: str = "[1]") -> str:
    """The file with one method, and a dataset that has ``words``."""
    text = FILE.replace("[1, 2]", seeds).replace('["random", "clasp_pe"]', '["random"]').replace("cycles = 3", "cycles = 2")
    return text.replace("dataset = 100", f"dataset = {dataset}\n{words}")


def plans_of(runs) -> list[Plan]:
    return [Experiment(run.folder).plan for run in [*runs, *starts_of(runs)]]


def test_all_experiments_on_a_dataset_share_its_groups_and_test_set(tiny, quick_planning, tmp_path):
    (tmp_path / "who.csv").write_text("".join(f"tiny_{i},{i // 2}\n" for i in range(8)))
    (tmp_path / "mine.txt").write_text("tiny_4\ntiny_5\n")
    both = read(tmp_path, planned_with("100", 'groups = "who.csv"\ntest = "mine.txt"'))
    assert run_them(both, Counting().tools) == []
    for made in plans_of(both):
        assert made.test == ("tiny_4", "tiny_5")
        assert made.groups == {f"tiny_{i}": str(i // 2) for i in range(8)}
    (tmp_path / "mine.txt").write_text("tiny_0\ntiny_1\n")
    assert len(run_them(read(tmp_path, planned_with("100", 'groups = "who.csv"\ntest = "mine.txt"')), Counting().tools)) == 2
    for words in ("", 'groups = "who.csv"'):
        assert len(run_them(read(tmp_path, planned_with("100", words)), Counting().tools)) == 2, "the file changed its mind"


@pytest.mark.slow
def test_a_benchmark_keeps_its_test_set_when_the_dataset_gets_another_one(tiny, quick_planning, tmp_path):
    """Labels in labelsTs came later; another seed must still be compared on the same cases."""
    assert run_them(read(tmp_path, planned_with("100")), Counting().tools) == []
    for kind in ("images", "labels"):
        (tiny / f"{kind}Ts").mkdir()
        for file in (tiny / f"{kind}Tr").glob("tiny_1*"):
            shutil.copy(file, tiny / f"{kind}Ts" / file.name.replace("tiny_1", "late_1"))
    more = read(tmp_path, planned_with("100", seeds="[1, 2]"))
    assert run_them(more, Counting().tools) == []
    assert {made.test for made in plans_of(more)} == {("tiny_0", "tiny_2")}
    assert {made.test_folder for made in plans_of(more)} == {""}


def test_the_overview_tells_what_is_left(runs, tmp_path):
    assert "not known" in overview(read_benchmark(tmp_path / "small.toml"), runs, 1)


def test_the_overview_tells_what_is_done(done, tmp_path):
    assert "Everything is done" in overview(read_benchmark(tmp_path / "small.toml"), done, 2)
    grown = read(tmp_path, FILE.replace('"random"', '"random", "bald"'))
    assert "hours of computing are left" in overview(read_benchmark(tmp_path / "small.toml"), grown, 2)


def test_a_dry_run_says_and_does_nothing(tiny, tmp_path, capsys, nnunet_folders):
    (tmp_path / "small.toml").write_text(FILE)
    bench.main([str(tmp_path / "small.toml"), "--dry_run"])
    assert "clasp_pe" in capsys.readouterr().out
    assert not list(nnunet_folders.results.iterdir())


@pytest.mark.parametrize("words", ["-num_parts 2 -part_id 2", "-part_id -1", "-np 0", "-num_parts 0"])
def test_parts_that_are_none(tiny, tmp_path, capsys, words):
    (tmp_path / "small.toml").write_text(FILE)
    with pytest.raises(SystemExit) as ending:
        bench.main([str(tmp_path / "small.toml"), "--dry_run", *words.split()])
    assert ending.value.code


def test_side_by_side(tmp_path: Path, nnunet_folders):
    run_side_by_side(2, lambda i: ["--help"], tmp_path / "logs", quiet)
    assert "nnactive_bench" in (tmp_path / "logs" / "process_1.log").read_text()
    with pytest.raises(NnActiveError, match=r"none\.toml"):
        run_side_by_side(1, lambda i: [str(tmp_path / "none.toml"), "--dry_run"], tmp_path / "logs", quiet)


class Beside:
    """A runner: carries out experiments as their processes would, one after another; those in ``dying`` end without a word."""

    def __init__(self, tools: Tools, runs, dying=()):
        self.how, self.runs, self.dying = How("small", tools, False, quiet), runs, dying
        self.waves: list[list[str]] = []

    def run(self, place, tasks, begins) -> None:
        self.waves.append([task.name for task in tasks])
        for task in tasks:
            begins(task)
            if task.name not in self.dying:
                run_one(task.name, self.runs, self.how, place)
        if dead := [task.name for task in tasks if task.name in self.dying]:
            raise NnActiveError(f"{dead[0]} failed with status 9.")


def run_beside(runs, tools: Tools, dying=()) -> tuple[Beside, list[str]]:
    """The runner, and the folders of those that failed, each with why."""
    runner, place = Beside(tools, runs, dying), Place(benchmark_folder("small"))
    run_on_workers(runs, runner, replace(runner.how, tools=Tools(None, None)), place)
    return runner, [f"{outcome.folder}: {outcome.why}" for outcome in Outcomes(place.results).of(runs) if outcome.failed]


SHORT = FILE.replace("seeds = [1, 2]", "seeds = [1]").replace("cycles = 3", "cycles = 2")


def test_workers_begin_with_what_is_shared(tiny, quick_planning, tmp_path):
    runs = read(tmp_path, SHORT)
    counting = Counting()
    runner, failed = run_beside(runs, counting.tools)
    (start,) = starts_of(runs)
    assert failed == []
    assert runner.waves == [[start.folder, runs[-1].folder], [run.folder for run in runs[:-1]]]
    assert counting.trained.total() == 2 * (1 + 2 + 1), "a shared cycle, one of each method, all labels; two folds"
    again, failed = run_beside(runs, Tools(None, None))
    assert again.waves == [[], []]
    assert failed == []
    file = tmp_path / "small.toml"
    file.write_text(SHORT.replace("query_size = 2", "query_size = 3"))
    _, failed = run_beside(runs_of(read_benchmark(file)), Tools(None, None))
    assert len(failed) == 2, "complete ones are compared with the file"


def test_what_needs_a_start_that_failed_is_not_begun(tiny, quick_planning, tmp_path):
    runs = read(tmp_path, SHORT)
    (start,) = starts_of(runs)
    runner, failed = run_beside(runs, Counting().tools, dying=[start.folder])
    assert runner.waves[1] == []
    assert len(failed) == 2
    assert all(f"{start.folder} failed with status 9" in why for why in failed)
    assert is_complete(runs[-1])
    with pytest.raises(NnActiveError, match="failed with status 9"):
        finish_them(runs, tmp_path / "compared")
    _, failed = run_beside(runs, Counting().tools)
    assert failed == []
    finish_them(runs, tmp_path / "compared")


def test_a_process_that_dies_is_a_failure_of_its_experiment(tiny, quick_planning, tmp_path):
    runs = read(tmp_path, SHORT)
    _, failed = run_beside(runs, Counting().tools, dying=[runs[0].folder])
    (why,) = failed
    assert why.startswith(runs[0].folder)
    assert str(OneExperiment(runs[0]).log(Place(benchmark_folder("small")))) in why
    assert is_complete(runs[1])


def test_an_experiment_that_the_benchmark_does_not_have(runs):
    with pytest.raises(NnActiveError, match="Dataset999_X"):
        run_one("Dataset999_X", runs, How("small", Counting().tools, False, quiet), Place(benchmark_folder("small")))


def test_processes_side_by_side_take_the_gpus_in_turn(tiny, tmp_path, monkeypatch, capsys):
    started: list[dict] = []

    class Process:
        def __init__(self, command, env, **_):
            started.append(env)

        def wait(self) -> int:
            return 0

    monkeypatch.setattr("nnactive_ext.bench.side_by_side.subprocess.Popen", Process)
    monkeypatch.setattr("nnactive_ext.cli.bench.prepare", lambda device: None)
    monkeypatch.setattr("nnactive_ext.nnunet.environment.check_torchvision", lambda: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,MIG-7")
    read(tmp_path)
    bench.main([str(tmp_path / "small.toml"), "-np", "3"])
    assert [env["CUDA_VISIBLE_DEVICES"] for env in started] == ["4", "MIG-7", "4"]
    assert all(env["PATH"] == os.environ["PATH"] for env in started)
    assert "4, MIG-7" in capsys.readouterr().out
    bench.main([str(tmp_path / "small.toml"), "-np", "2", "-device", "cpu"])
    assert [env["CUDA_VISIBLE_DEVICES"] for env in started[3:]] == ["4,MIG-7"] * 2, "as the user has it"


def test_all_labels_by_hand(tiny, quick_planning):
    plan_command.main("-d 100 -o 500 -patch_size 3 6 6 --all_labels -folds 2 --disable_progress_bar".split())
    experiment = Experiment.find(500)
    run_cycles(experiment, Counting().tools, False, quiet)
    result = read_json(experiment.results / "cycle_000.json")
    assert result["share_of_all_foreground"] == 1
    assert result["annotated_voxels"] == sum(patch.voxels for patch in experiment.plan.whole_images())
