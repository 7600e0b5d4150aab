"""What the benchmark of training noise keeps, repeats after a kill, and says of its results; trainings are replaced."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from fake_members import fake_tools

from benchmarks import power, report
from nnactive_ext.files import read_json
from nnactive_ext.members.ensemble import fold_folder
from nnactive_ext.members.tools import Tools
from nnactive_ext.metrics.power import seeds_needed, upper_limit

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks" / "power.md"
WORDS = "-datasets phantom /elsewhere/Dataset004_Hippocampus -epochs 5 20 -budgets 3 -repeats 2"


class Trainings:
    """Answers at once with a Dice of its own for each training; the one after ``patience`` of them is killed."""

    def __init__(self, patience: int = 1000, patches: int = 0):
        self.done: list[power.Training] = []
        self._patience, self._patches = patience, patches

    def __call__(self, given, one: power.Training):
        if len(self.done) == self._patience:
            raise KeyboardInterrupt
        self.done.append(one)
        random = np.random.default_rng([one.epochs, one.seed, one.repeat])
        dice = 0.5 + 0.05 * one.seed + 0.02 * random.normal()
        found = {"organ": dice + 0.1, "vessel": dice - 0.1, "lesion": 0.05 if one.epochs == 5 else 0.2}
        return {"dice": dice, "dice_per_class": found, "patches": [one.seed, self._patches and one.epochs], "test_cases": 6}


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """What the command sets is taken back."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnactive_iterations_per_epoch"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setenv("nnactive_val_iterations_per_epoch", "")


def run(folder: Path, train, words: str = WORDS) -> None:
    power.main([str(folder), *words.split()], train)


def test_a_killed_benchmark_goes_on_and_repeats_nothing(tmp_path, capsys):
    first, second = Trainings(patience=7), Trainings()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, first)
    run(tmp_path, second)
    assert len(first.done) == 7
    assert len(second.done) == 2 * 2 * 3 * 2 - 7
    assert not set(first.done) & set(second.done)
    third = Trainings()
    run(tmp_path, third)
    assert third.done == []


def test_whoever_stops_early_has_all_lengths_and_datasets(tmp_path, capsys):
    trainings = Trainings(patience=16)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, trainings)
    assert {(one.dataset, one.epochs, one.seed, one.repeat) for one in trainings.done} == {
        (dataset, epochs, seed, repeat)
        for dataset in ("phantom", "/elsewhere/Dataset004_Hippocampus")
        for epochs in (5, 20)
        for seed in (1, 2)
        for repeat in (1, 2)
    }


def test_time_that_is_over_and_finished_train_nothing(tmp_path, capsys):
    with pytest.raises(SystemExit, match="no training is finished"):
        run(tmp_path, Trainings(), f"{WORDS} -hours 0")
    run(tmp_path, Trainings())
    run(tmp_path, Trainings(patience=0), f"{WORDS} -budgets 9 --finished")


def test_a_folder_of_other_settings_or_other_labels_is_refused(tmp_path, capsys):
    run(tmp_path, Trainings())
    with pytest.raises(SystemExit, match="another folder"):
        run(tmp_path, Trainings(), f"{WORDS} -patches 7")
    with pytest.raises(SystemExit, match="other patches"):
        run(tmp_path / "others", Trainings(patches=1))


def test_the_report_tells_what_the_numbers_give(tmp_path, capsys):
    written = tmp_path / "numbers.json"
    run(tmp_path / "work", Trainings(), f"{WORDS} --json {written}")
    text = capsys.readouterr().out
    rows = [row for row in json.loads(written.read_text())["rows"] if (row["dataset"], row["epochs"]) == ("phantom", 20)]
    groups = [[row["dice"] for row in rows if row["seed"] == seed] for seed in (1, 2, 3)]
    within = np.sqrt(np.mean([np.var(group, ddof=1) for group in groups]))
    between = np.sqrt(np.var(np.mean(groups, axis=1), ddof=1) - within**2 / 2)
    sds = [100 * within, 100 * upper_limit(within, 3)]
    cells = [f"{sds[0]:.1f} ({sds[1]:.1f})", f"{100 * between:.1f}"]
    for points in (1, 2, 5):
        cells.append("{:,} ({:,})".format(*(seeds_needed(points, 2**0.5 * sd) for sd in sds)))
    assert f"| phantom | 1,000 | {' | '.join(cells)} |" in text
    assert "lesion 5.0 ± 0.0 (0 of 6)" in text, "not learned in the short trainings"
    assert "lesion 20.0 ± 0.0 (6 of 6)" in text
    assert str(tmp_path) not in text
    assert "/elsewhere" not in text


@pytest.mark.slow
def test_experiments_are_planned_once_and_trained_anew_as_by_the_commands(tiny, quick_planning, tmp_path, monkeypatch, capsys):
    """With members that cost nothing; killed in the second of three trainings."""
    fake, trained = fake_tools(classes=3), []

    def train(experiment, fold: int) -> None:
        assert not (fold_folder(experiment, fold) / "checkpoint_final.pth").exists(), "the last training's member is there"
        trained.append(experiment.name)
        if len(trained) == 2:
            raise KeyboardInterrupt
        fake.train(experiment, fold)

    monkeypatch.setattr(Tools, "of_nnunet", lambda device: Tools(train, fake.open_ensemble))
    words = f"-datasets {tiny} -epochs 1 -budgets 1 -repeats 3 -patches 6 -patch_size 3"
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "work", power.train_once, words)
    run(tmp_path / "work", power.train_once, words)
    results = [read_json(file) for file in sorted((tmp_path / "work" / "results").iterdir())]
    assert [row["repeat"] for row in results] == [1, 2, 3]
    assert len(trained) == 4
    assert len(set(trained)) == 1, "one experiment"
    assert all(len(row["patches"]) == 6 for row in results)
    assert all(0 <= row["dice"] <= 1 for row in results)
    assert (results[0]["pool"], results[0]["test_cases"]) == (6, 2)


def test_the_page_has_the_markers():
    report.check_markers(PAGE, power.MARKS)
