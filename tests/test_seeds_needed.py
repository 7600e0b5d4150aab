"""How many seeds a benchmark needs, from the results of its finished experiments: what they are worth, and what is refused."""

from __future__ import annotations

import itertools
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from results import edit, write_experiment

from nnactive_ext.bench.definition import read_benchmark
from nnactive_ext.bench.runs import runs_of
from nnactive_ext.cli import bench
from nnactive_ext.compare.sample_size import SettingNoise, noise_of
from nnactive_ext.compare.sample_size_text import Question, as_json, as_text
from nnactive_ext.metrics.power import detectable, seeds_needed, upper_limit
from nnactive_ext.metrics.trajectory import aubc

FILE = """
name = "small"
first_number = 300
methods = ["random", "bald", "clasp_pe"]
seeds = [1, 2, 3, 4, 5]
cycles = 5
folds = 2
preset = "cpu"

[[datasets]]
dataset = 100
patch_sizes = ["3 6 6"]
regimes = { low = { starting_budget = 20, query_size = 10 } }
"""
METHODS, SEEDS, CYCLES = ("random", "bald", "clasp_pe"), (1, 2, 3, 4, 5), 5
BUDGETS = [20 + 10 * cycle for cycle in range(CYCLES)]


def curves(sd: float = 0.01, slope: float = 0.1) -> dict[tuple[str, int], list[float]]:
    """Dice of each cycle: the starting budget's, shared by the methods of a seed, plus a rise and noise."""
    random, found = np.random.default_rng(4), {}
    starts = dict(zip(SEEDS, random.normal(0.5, 0.05, len(SEEDS)), strict=True))
    for method, seed in itertools.product(METHODS, SEEDS):
        rise = [slope * math.log2(budget / 20) + sd * random.normal() for budget in BUDGETS[1:]]
        found[method, seed] = [starts[seed], *(starts[seed] + one for one in rise)]
    return found


def write(root: Path, dice: dict[tuple[str, int], list[float]]) -> list[Path]:
    return [write_experiment(root, 500 + i, of, *which) for i, (which, of) in enumerate(dice.items())]


def of_one(folders: list[Path]) -> SettingNoise:
    (found,) = noise_of(folders)
    return found


def test_the_noise_is_that_of_all_pairs_in_final_dice_and_area(tmp_path):
    dice = curves()
    found = of_one(write(tmp_path, dice))
    values = {"final": {k: v[-1] for k, v in dice.items()}, "aubc": {k: aubc(BUDGETS, v) for k, v in dice.items()}}
    assert [noise.metric for noise in found.metrics] == list(values)
    for noise in found.metrics:
        of = values[noise.metric]
        pairs = [
            np.var([of[one, seed] - of[other, seed] for seed in SEEDS], ddof=1)
            for one, other in itertools.combinations(METHODS, 2)
        ]
        assert (noise.sd, noise.df, noise.pair) == (pytest.approx(math.sqrt(np.mean(pairs))), 8, None)
        assert noise.upper == upper_limit(noise.sd, 8)
        assert noise.gain.rises
        assert noise.gain.per_doubling == pytest.approx(0.1, abs=0.02)
        assert noise.gain.difference(0.5) == pytest.approx(noise.gain.per_doubling), "half the patches are one doubling"


def test_unfinished_experiments_and_seeds_of_one_method_do_not_count(tmp_path):
    folders = write(tmp_path, curves())
    for i in (0, 5):  # seed 1 of two methods
        (folders[i] / "cycle_004.json").unlink()
    assert of_one(folders).seeds == (2, 3, 4, 5)
    (folders[6] / "cycle_004.json").unlink()  # seed 2 of bald: the two other methods have it
    found = of_one(folders)
    assert (found.seeds, found.experiments) == ((2, 3, 4, 5), 11)
    assert {noise.df for noise in found.metrics} == {11 - 4 - 3 + 1}


def test_two_common_seeds_are_too_few(tmp_path):
    folders = write(tmp_path, curves())
    found = of_one([folders[i] for i in (0, 1, 2, 5, 6, 8)])
    assert (found.seeds, found.metrics) == ((1, 2), ())
    assert "at least 3 are needed" in as_text([found], Question(5))


def test_a_curve_that_does_not_rise_is_worth_no_patches(tmp_path):
    found = of_one(write(tmp_path, curves(slope=0.0)))
    (answer, _) = as_json([found], Question(5))["settings"][0]["metrics"]
    assert answer["points_of_saved_patches"] is answer["seeds_for_saved_patches"] is None
    assert "not shown to rise" in as_text([found], Question(5)).replace("\n  ", " ")


def test_methods_that_differ_by_the_same_in_all_seeds_have_no_noise(tmp_path):
    dice = {key: [round(value, 3) for value in of] for key, of in curves(sd=0.0).items()}
    found = of_one(write(tmp_path, {key: [0.5, 0.5, 0.6, 0.7, 0.75] for key in dice}))
    assert (found.metrics, found.without) == ((), ("final", "aubc"))


def test_cycle_0_is_one_training_where_methods_share_it_and_several_where_they_do_not(tmp_path):
    shared = of_one(write(tmp_path / "shared", curves())).start
    assert (shared.starts.n, shared.components) == (len(SEEDS), None)
    dice, random = curves(), np.random.default_rng(1)
    own = of_one(write(tmp_path / "own", {key: [of[0] + 0.01 * random.normal(), *of[1:]] for key, of in dice.items()})).start
    assert own.components is not None
    assert (own.components.within_df, own.components.between_df) == (10, 4)
    assert own.components.within < own.components.between


def test_pairs_that_differ_in_noise_are_not_pooled(tmp_path):
    dice, random = curves(sd=0.002), np.random.default_rng(2)
    noisy = {k: [v[0], *(x + 0.06 * random.normal() for x in v[1:])] if k[0] == "bald" else v for k, v in dice.items()}
    (final, _) = of_one(write(tmp_path, noisy)).metrics
    assert final.pair is not None
    assert "bald" in final.pair
    assert final.df == len(SEEDS) - 1


@pytest.fixture
def finished(tiny, nnunet_folders, tmp_path, monkeypatch) -> Path:
    """The file of a benchmark whose experiments with query methods are finished, as far as their results tell."""
    file = tmp_path / "small.toml"
    file.write_text(FILE)
    dice = curves()
    for run in runs_of(read_benchmark(file)):
        if not run.purpose:
            made = write_experiment(
                tmp_path / "made", run.settings.number, dice[run.settings.method, run.settings.seed],
                run.settings.method, run.settings.seed,
            )  # fmt: skip
            shutil.copytree(made, nnunet_folders.results / run.folder / "nnactive")
            edit(nnunet_folders.results / run.folder / "nnactive" / "experiment.json", name=run.folder)
    monkeypatch.setattr("nnactive_ext.bench.seeds.is_complete", lambda run: (nnunet_folders.results / run.folder).is_dir())
    return file


def answered(capsys, *words: object) -> str:
    capsys.readouterr()
    bench.main([*map(str, words), "--seeds_needed"])
    return capsys.readouterr().out


def test_the_command_answers_for_people_and_programs(finished, nnunet_folders, capsys):
    before = sorted(nnunet_folders.results.rglob("*"))
    text = answered(capsys, finished, "-difference", 0.5, 3)
    found = json.loads(answered(capsys, finished, "-difference", 0.5, 3, "--json"))
    (setting,) = found["settings"]
    assert (found["benchmark"], found["seeds_of_file"], setting["complete_seeds"]) == ("small", 5, list(SEEDS))
    for metric in setting["metrics"]:
        for points in (0.5, 3):
            assert metric["seeds_for_points"][f"{points:g}"] == [seeds_needed(points, sd) for sd in metric["sd"]]
        assert metric["points_detected"] == [detectable(5, sd) for sd in metric["sd"]]
        worth = metric["points_of_saved_patches"]
        assert metric["seeds_for_saved_patches"] == [seeds_needed(worth, sd) for sd in metric["sd"]]
        for estimate, limit in [*metric["seeds_for_points"].values(), metric["seeds_for_saved_patches"]]:
            assert f"{estimate:,} ({limit:,})" in text
        assert re.search(rf"{worth:.1f}\s+points\s+on\s+the\s+mean\s+learning\s+curve", text)
    assert "15 finished experiments" in text
    assert max(map(len, text.splitlines())) <= 100
    assert sorted(nnunet_folders.results.rglob("*")) == before, "nothing is written"


def test_more_saved_patches_are_easier_to_see(finished, capsys):
    worth = [
        json.loads(answered(capsys, finished, "-saved", saved, "--json"))["settings"][0]["metrics"][0] for saved in (10, 50)
    ]
    assert worth[0]["points_of_saved_patches"] < worth[1]["points_of_saved_patches"]
    assert worth[0]["seeds_for_saved_patches"] > worth[1]["seeds_for_saved_patches"]


@pytest.mark.parametrize("words", [("-difference", 0), ("-difference", 1, "nan"), ("-saved", 100), ("-saved", -3)])
def test_numbers_that_are_none(finished, capsys, words):
    with pytest.raises(SystemExit) as ending:
        bench.main([str(finished), "--seeds_needed", *map(str, words)])
    assert ending.value.code
    assert words[0] in capsys.readouterr().err


def refused(capsys, file: Path) -> str:
    with pytest.raises(SystemExit) as ending:
        bench.main([str(file), "--seeds_needed"])
    assert ending.value.code
    return capsys.readouterr().err


def test_nothing_finished_is_told_how_a_pilot_is_made(tiny, nnunet_folders, tmp_path, capsys):
    file = tmp_path / "small.toml"
    file.write_text(FILE.replace("[1, 2, 3, 4, 5]", "[1, 2]"))
    error = refused(capsys, file)
    assert f"at least 3 seeds, and run nnactive_bench {file}" in error
    assert not list(nnunet_folders.results.iterdir())


def test_too_few_common_seeds_are_refused_with_their_number(finished, nnunet_folders, capsys):
    for folder in nnunet_folders.results.glob("*seed[345]_clasp_pe"):
        shutil.rmtree(folder)
    for folder in nnunet_folders.results.glob("*seed[345]_bald"):
        shutil.rmtree(folder)
    assert "only 2 seeds are complete" in refused(capsys, finished)


@pytest.mark.parametrize("words", [["--json"], ["-difference", "2"], ["-saved", "30"]])
def test_options_of_the_answer_do_not_start_a_benchmark(tiny, nnunet_folders, tmp_path, capsys, words):
    (tmp_path / "small.toml").write_text(FILE)
    with pytest.raises(SystemExit) as ending:
        bench.main([str(tmp_path / "small.toml"), *words])
    assert ending.value.code
    assert "--seeds_needed" in capsys.readouterr().err
    assert not list(nnunet_folders.results.iterdir())
