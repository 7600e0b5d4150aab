"""The study's command: what it keeps, how it goes on, and what its report says of differences that are known."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_rel

from benchmarks import study, study_report
from benchmarks.study_report import MARKS, PAIRS, difference, holm, verdict
from nnactive_ext.bench.definition import read_benchmark
from nnactive_ext.files import read_json, write_json
from nnactive_ext.metrics.power import detectable

CLASSES = {"hippocampus": ["anterior", "posterior"], "phantom": ["organ"], "abdomen": ["liver"], "strangers": ["organ"]}


def arms(part: str, seed: int, noise: float = 1.0, start: str = "") -> list[dict]:
    """Of each method of a part: curves whose level differs by method, and whose noise is that of a seed and of a training."""
    benchmark = read_benchmark(study.PROTOCOLS / f"{part}.toml")
    budget = benchmark.datasets[0].regimes[0]
    classes = CLASSES[part.partition("_")[0]]
    found = []
    for i, method in enumerate(benchmark.methods):
        rng = np.random.default_rng([seed, i, len(part)])
        shared = 0.05 * np.random.default_rng(seed).normal()
        numbers = range(benchmark.settings.cycles)
        dice = [float(0.5 + 0.02 * i + 0.05 * c + shared + noise * 0.01 * rng.normal()) for c in numbers]
        cycles = [
            {
                "asked": budget.starting_budget + c * budget.query_size,
                "dice": value,
                "dice_per_class": dict.fromkeys(classes, value),
            }
            for c, value in enumerate(dice)
        ]
        found.append({"method": method, "start": start or f"{part[:5]}{seed}", "cycles": cycles, "seconds": {"train": 60.0}})
    return found


def kept(part: str, seed: int, **more) -> dict:
    machine = {"cores": 2, "cpu": "a processor"}
    return {
        "part": part, "seed": seed, "plan": study.digest(part), "date": "2026-11-30T00:00:00", "commit": "c0ffee",
        "machine": machine, "versions": {}, "arms": arms(part, seed, **more),
    }  # fmt: skip


def all_kept(folder: Path, without: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    for part in study.parts():
        for seed in study.planned(part)[1]:
            if seed != without:
                write_json(study.result_file(folder, part, seed), kept(part, seed))


def page(folder: Path, capsys) -> str:
    study.main(["nowhere", "-results", str(folder), "--finished"])
    return capsys.readouterr().out


def test_a_seed_is_run_once_and_a_killed_one_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(study, "arms", lambda folder: iter(arms(folder.name[:-7], int(folder.name[-2:]))))
    begun = []

    def run(file: Path, hippocampus: str, cores: int) -> None:
        begun.append(file.parent.name)
        benchmark = read_benchmark(file)
        assert len(benchmark.seeds) == 1
        (file.parent / "trained").touch()
        if len(begun) == 3:
            raise KeyboardInterrupt

    words = [str(tmp_path / "work"), "-results", str(tmp_path / "results"), "-np", "1", "-parts", "phantom", "abdomen"]
    with pytest.raises(KeyboardInterrupt):
        study.main(words, run)
    assert begun == ["abdomen_seed01", "phantom_seed01", "abdomen_seed02"]  # first seeds of all parts before the second ones
    assert sorted(file.name for file in (tmp_path / "results").iterdir()) == ["abdomen_seed01.json", "phantom_seed01.json"]
    assert [folder.name for folder in (tmp_path / "work").iterdir()] == ["abdomen_seed02"]  # what is done needs no room
    study.main([*words, "-hours", "1"], run)
    assert (len(begun), begun.count("abdomen_seed02"), len(set(begun))) == (1 + 16, 2, 16)  # 10 and 6
    assert len(list((tmp_path / "results").iterdir())) == 16


def test_no_seed_begins_when_the_time_is_over(tmp_path):
    with pytest.raises(SystemExit, match="no seed is finished"):
        study.main([str(tmp_path), "-results", str(tmp_path), "-hours", "0"], lambda *given: pytest.fail("begun"))


def test_a_seed_has_the_cores_that_are_named(tmp_path, monkeypatch):
    """Seeds that run at once share none; as many run at once as the cores hold."""
    monkeypatch.setattr(study, "arms", lambda folder: iter(arms(folder.name[:-7], int(folder.name[-2:]))))
    monkeypatch.setattr(study.os, "sched_getaffinity", lambda process: {2, 3, 5, 7, 8})
    given: list[tuple[int, ...]] = []
    monkeypatch.setattr(study.os, "sched_setaffinity", lambda process, cores: given.append(tuple(cores)))
    asked = []
    words = [str(tmp_path / "work"), "-results", str(tmp_path / "results"), "-parts", "phantom", "-np", "9"]
    study.main([*words, "-cores", "2"], lambda file, hippocampus, cores: asked.append(cores))
    assert sorted(given) == [(2, 3), (5, 7)]
    assert asked == [2] * 10
    with pytest.raises(SystemExit, match="-cores 6"):
        study.main([*words, "-cores", "6"], lambda *given: pytest.fail("begun"))


def test_real_images_that_are_not_there_are_an_error_before_any_work(tmp_path):
    words = [str(tmp_path / "work"), "-results", str(tmp_path), "-parts", "phantom", "-hippocampus", str(tmp_path / "nothing")]
    with pytest.raises(SystemExit, match=r"nothing.*-hippocampus"):
        study.main(words)
    assert not list((tmp_path / "work").glob("*/nnUNet_raw"))


def test_results_of_another_plan_are_refused(tmp_path, capsys):
    all_kept(tmp_path)
    file = study.result_file(tmp_path, "phantom", 3)
    write_json(file, {**read_json(file), "plan": "another"})
    with pytest.raises(SystemExit, match=re.escape(str(file))):
        page(tmp_path, capsys)


def test_the_plan_is_its_file_without_comments(tmp_path, monkeypatch):
    before = study.digest("phantom")
    text = (study.PROTOCOLS / "phantom.toml").read_text()
    monkeypatch.setattr(study, "PROTOCOLS", tmp_path)
    file = tmp_path / "phantom.toml"
    file.write_text("# more\n" + text.replace("cycles = 4", "cycles = 4 # four"))
    assert study.digest("phantom") == before
    file.write_text(re.sub(r"seeds = .*", "seeds = [1, 2]", text))
    assert study.planned("phantom")[1] == [1, 2]
    assert study.digest("phantom") != before  # fewer seeds than planned are another plan
    file.write_text(text.replace("cycles = 4", "cycles = 5"))
    assert study.digest("phantom") != before
    file.write_text(text)
    monkeypatch.setattr(study, "STRANGE_POOL", {**study.STRANGE_POOL, "phantoms": 3})
    assert study.digest("phantom") == before  # it has other images
    monkeypatch.setitem(study.DRAWN, 900, "-d 900 -n 31")
    assert study.digest("phantom") != before


def test_the_plan_compares_arms_that_are_run():
    rows = [kept(part, 1) for part in study.parts()]
    for dataset, pairs in PAIRS.items():
        assert set(study_report.arms_of(rows, dataset)) == {name for pair in pairs for name in pair}
    run = {arm["method"] + study_report.SETTINGS.get(row["part"], "") for row in rows for arm in row["arms"]}
    assert run == {name for pairs in PAIRS.values() for pair in pairs for name in pair}
    assert {part for several in study_report.PARTS.values() for part in several} == set(study.parts())


def test_an_arm_that_is_lacking_is_an_error(tmp_path, capsys):
    all_kept(tmp_path)
    for seed in range(1, 11):
        file = study.result_file(tmp_path, "phantom", seed)
        content = read_json(file)
        write_json(file, {**content, "arms": content["arms"][:2]})
    with pytest.raises(SystemExit, match="earned"):
        page(tmp_path, capsys)


def test_a_class_without_a_dice_is_left_out(tmp_path, capsys):
    all_kept(tmp_path)
    for seed in (1, 2):
        file = study.result_file(tmp_path, "strangers", seed)
        content = read_json(file)
        content["arms"][0]["cycles"][-1]["dice_per_class"]["organ"] = None
        write_json(file, content)
    found = study_report.arms_of([read_json(file) for file in tmp_path.iterdir()], "strangers")
    one, other = ({s: study_report._of_class("organ", arm) for s, arm in arms.items()} for arms in found.values())
    assert difference("a", "b", one, other).n == 8
    page(tmp_path, capsys)


def curves(*rows: list[float]) -> dict[int, dict]:
    return {s: {"cycles": [{"asked": 10 * (c + 1), "dice": v} for c, v in enumerate(row)]} for s, row in enumerate(rows)}


def test_patches_saved_are_read_where_both_arms_are():
    """By hand: the second one ends at .6; the first one is there after 20 patches, so 10 of 30 are saved, in each seed."""
    first, second = curves([0.5, 0.6, 0.7], [0.5, 0.6, 0.7]), curves([0.5, 0.55, 0.6], [0.5, 0.55, 0.6])
    assert study_report.saved(first, second) == pytest.approx((10, 10, 10))
    assert study_report.saved(second, first) == pytest.approx((-10, -10, -10))
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(40):  # equal arms: about 95 % of the intervals hold 0
        one, other = (curves(*(0.5 + 0.05 * np.arange(5) + 0.02 * rng.normal(size=(12, 5))).tolist()) for _ in range(2))
        _, low, high = study_report.saved(one, other)
        covered += low <= 0 <= high
    assert covered >= 34


def test_nothing_is_tested_before_all_seeds_are_there(tmp_path, capsys):
    all_kept(tmp_path, without=5)
    text = page(tmp_path, capsys)
    assert "p (Holm)" not in text
    assert "Still to be run: 1 of 8 seeds of `hippocampus`." in text
    assert "Still to be run: 1 of 10 seeds of `phantom`, 1 of 10 seeds of `phantom_folds`." in text
    assert "AUBC" not in text
    all_kept(tmp_path)
    assert page(tmp_path, capsys).count("p (Holm)") == 5


# The area under straight lines over equal steps, by hand; without cycle 0 where both arms have one of their own.
@pytest.mark.parametrize(
    ("dataset", "seeds", "weights"),
    [("hippocampus", 8, [1 / 8, 1 / 4, 1 / 4, 1 / 4, 1 / 8]), ("phantom, five folds", 10, [0, 1 / 4, 1 / 2, 1 / 4])],
)
def test_what_the_report_says_is_what_the_numbers_say(tmp_path, capsys, dataset, seeds, weights):
    all_kept(tmp_path)
    text = page(tmp_path, capsys)
    rows = [read_json(file) for file in sorted(tmp_path.iterdir())]
    found = study_report.arms_of(rows, dataset)
    ps = []
    for first, second in PAIRS[dataset]:
        numbers = sorted(found[first])
        one, other = (
            np.array([study_report.curve(found[name][seed])[1] for seed in numbers]) @ weights for name in (first, second)
        )
        expected = ttest_rel(one, other)
        low, high = expected.confidence_interval()
        told = f"{100 * (one - other).mean():+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
        assert f"| `{first}` − `{second}` | {seeds} | {told}" in text
        ps.append(expected.pvalue)
    for p in holm(ps):
        assert f"| {p:.3f} |" in text
    assert "`badge` is above" in text


def test_starts_that_differ_cannot_be_paired(tmp_path, capsys):
    all_kept(tmp_path)
    write_json(study.result_file(tmp_path, "phantom_folds", 2), kept("phantom_folds", 2, start="another"))
    with pytest.raises(SystemExit, match="seed 2"):
        page(tmp_path, capsys)


@pytest.mark.parametrize(
    ("values", "adjusted", "answer"),
    [
        ([0.03, 0.05, 0.04, 0.05], 0.01, "`a` is above"),
        ([-0.03, -0.05, -0.04, -0.05], 0.01, "`a` is below"),
        ([0.001, -0.001, 0.002, -0.003], 0.9, "less than 2 points apart"),
        ([0.001, -0.001, 0.002, -0.003], 0.04, "`a` is below"),  # a small difference that is one
        ([0.08, -0.05, 0.04, -0.05], 0.8, "undecided"),
        ([0.03, 0.05, 0.04, 0.05], 0.06, "undecided"),  # not after adjusting
    ],
)
def test_verdicts(values, adjusted, answer):
    found = difference("a", "b", dict(enumerate(values)), dict.fromkeys(range(4), 0.0))
    assert found is not None
    if adjusted == 0.04:
        assert found.mean < 0
    assert verdict(found, adjusted) == answer


def test_what_the_plan_can_detect_follows_from_the_pilot(tmp_path, capsys):
    """By a pilot whose noise is known: pairs 2 points apart, so of variance 2 within a starting budget."""
    pilot = [
        {
            "dataset": "phantom",
            "epochs": 12,
            "seed": seed,
            "dice": 0.5 + 0.1 * seed + 0.02 * repeat * patches,  # more noise with more patches than the study starts with
            "settings": {"patches": 16 * patches},
        }
        for seed in range(4)
        for repeat in range(2)
        for patches in (1, 4)
    ]
    write_json(tmp_path / "power.json", {"rows": pilot})
    study.main(["x", "--detectable", str(tmp_path / "power.json")])
    lines = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [line[0] for line in lines] == ["| phantom", "| phantom, five folds", "| strangers"]  # the others have no pilot here
    sd = 2.0  # of a difference of two trainings: the root of 2 + 2
    # Four cycles: weights 1/6, 1/3, 1/3, 1/6, of which the first cancels out; three cycles: 1/4, 1/2, 1/4.
    shared, own = (1 / 9 + 1 / 9 + 1 / 36) ** 0.5, (1 / 16 + 1 / 4 + 1 / 16) ** 0.5
    for line, weight, tests in zip(lines, [shared, own, own], [2, 1, 1], strict=True):
        expected = [detectable(10, sd * w, 0.05 / m) for w in (weight, 1) for m in (1, tests)]
        assert [cell.split()[0] for cell in line[3:]] == [f"{one:.1f}" for one in expected]


def test_no_difference_of_a_single_seed_and_none_of_other_seeds():
    assert difference("a", "b", {1: 0.5}, {1: 0.4}) is None
    assert difference("a", "b", {1: 0.5, 2: 0.6}, {3: 0.4, 4: 0.4}) is None
    same = difference("a", "b", {1: 0.5, 2: 0.5}, {1: 0.5, 2: 0.5})
    assert same is not None
    assert (same.p, same.mean) == (1.0, 0.0)


def test_holm_is_statsmodels_like():
    """Against the definition: the largest of (m - j + 1) p_(j) over the smaller ones, at most 1."""
    rng = np.random.default_rng(1)
    for _ in range(50):
        p = rng.random(6) ** 3
        order = np.argsort(p)
        slow = [min(1.0, max((6 - j) * p[order[j]] for j in range(k + 1))) for k in range(6)]
        assert np.allclose(np.array(holm(list(p)))[order], slow)


def test_the_pages_of_the_plan_can_be_written(tmp_path, capsys):
    all_kept(tmp_path / "results")
    copy = tmp_path / "study.md"
    copy.write_text((study.ROOT / "docs" / "benchmarks" / "study.md").read_text())
    study.main(["x", "-results", str(tmp_path / "results"), "--finished", "--markdown", str(copy)])
    assert "### Abdomen" in copy.read_text().partition(MARKS[0])[2]


def test_what_is_committed_belongs_to_the_plan():
    given = study.parser().parse_args(["x"])
    for content in study.done(given):
        benchmark = read_benchmark(study.PROTOCOLS / f"{content['part']}.toml")
        assert len(content["arms"]) == len(benchmark.methods)
        for arm in content["arms"]:
            assert len(arm["cycles"]) == benchmark.settings.cycles
            assert all(math.isfinite(cycle["dice"]) for cycle in arm["cycles"])
    assert {parts[0] for parts in study_report.PARTS.values()} == CLASSES.keys()
