"""What methods save and when that pays, from results folders: in a comparison, and in the report of one experiment."""

from __future__ import annotations

import csv
import json
import shutil
from importlib import import_module
from pathlib import Path

import pytest
from results import edit, write_experiment

from nnactive_ext.cli import compare as command
from nnactive_ext.compare.compare import compare
from nnactive_ext.compare.economics import economies, hours_until
from nnactive_ext.compare.settings import group
from nnactive_ext.compare.trajectories import read_trajectories
from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import read_json
from nnactive_ext.metrics.prices import Prices
from nnactive_ext.planning.cost import PAYS, estimate, rows
from nnactive_ext.report.economics import economics
from nnactive_ext.report.facts import gather
from nnactive_ext.report.section_history import history
from nnactive_ext.report.section_now import now

RANDOM, METHOD = (0.5, 0.6, 0.7), (0.6, 0.7, 0.75)
BUDGETS = {"starting_budget": 20, "query_size": 20}
PRICES = Prices(minutes_per_patch=5, expert_rate=100, machine_rate=2)


@pytest.fixture(autouse=True)
def without_figures(monkeypatch):
    monkeypatch.setattr(import_module("nnactive_ext.compare.compare"), "_draw", lambda *_: {})


def times(folder: Path, hours: float, queried: float = 0.0, members: int = 2) -> None:
    """Of every cycle: each training ``hours``, each query ``queried`` hours."""
    (folder / "times").mkdir()
    lines = [{"cycle": c, "step": "train", "seconds": 3600 * hours} for c in range(3) for _ in range(members)]
    lines += [{"cycle": c, "step": s, "seconds": 900 * queried} for c in range(3) for s in ("load", "predict", "score")]
    lines += [{"cycle": c, "step": "statistics", "seconds": 900 * queried} for c in range(3)]
    text = "".join(json.dumps(line) + "\n" for line in [*lines, {"cycle": 0, "step": "evaluate", "seconds": 1e6}])
    (folder / "times" / "host_1.jsonl").write_text(text, encoding="utf-8")


def pair(root: Path, seed: int = 1, number: int = 501, random=RANDOM, method=METHOD) -> list[Path]:
    folders = [
        write_experiment(root, number, random, "random", seed, **BUDGETS),
        write_experiment(root, number + 1, method, "bald", seed, **BUDGETS),
    ]
    for folder in folders:
        times(folder, hours=0.2, queried=0.1)
    return folders


def economy_of(folders):
    (setting,) = group(read_trajectories(folders)).settings
    (found,) = economies(setting)
    return found


def test_the_specification_from_results_folders(tmp_path):
    """Random's final Dice, .7, is reached with 40 patches instead of 60; the method's own, .75, random never reaches."""
    found = economy_of(pair(tmp_path))
    assert (found.method, found.base) == ("bald", "random")
    assert found.saved[:3] == pytest.approx((20, float("nan"), 1), nan_ok=True)
    assert (found.saved.bound, found.own.mean, found.own.bound) == ("", 0, "at least")
    hours = found.hours  # cycles 0 and 1, and the query between them
    assert (hours.trained, hours.queried, hours.trainings) == pytest.approx((0.8, 0.1, 4))
    assert PRICES.difference(hours.trained + hours.queried, found.saved.mean) == pytest.approx(2 * 0.9 - 20 * 8.33333)


def test_over_seeds_and_where_the_method_never_gets_there(tmp_path):
    folders = pair(tmp_path) + pair(tmp_path, 2, 503, method=(0.5, 0.65, 0.72))
    found = economy_of(folders)
    second = 60 - (40 + 20 * (0.7 - 0.65) / 0.07)
    assert found.saved.mean == pytest.approx((20 + second) / 2)
    assert found.saved.pays is None
    worse = pair(tmp_path, 3, 505, method=(0.5, 0.55, 0.58))
    assert economy_of(worse).saved[:1] == (0,)
    assert economy_of(worse).saved.bound == "at most"
    assert economy_of([*folders, *worse]).saved.bound == "at most"


def test_without_times_there_is_no_price_but_what_is_saved(tmp_path):
    folders = pair(tmp_path)
    (folders[1] / "times" / "host_1.jsonl").unlink()
    assert economy_of(folders).hours is None
    assert economy_of(folders).saved.mean == 20
    (trajectory,) = read_trajectories(folders[1:])
    assert hours_until(trajectory, 40) is None


def test_the_page_the_table_and_typed_prices(tmp_path, monkeypatch):
    folders = pair(tmp_path)
    words = ["-d", *map(str, folders), "-o", str(tmp_path / "out")]
    command.main([*words, "-minutes_per_patch", "5", "-expert_rate", "100", "-machine_rate", "2"])
    page = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert "5 min per patch, as asked for; expert 100 and machine 2 per hour" in page
    (row,) = [line for line in page.splitlines() if line.startswith("| bald | random | 20.0 (1)")]
    assert "one seed" in row
    assert "at least 0.0 (1) at 75.0 %" in row
    assert "54 min 0 s (6 min 0 s)" in row
    assert "-164.87" in row
    with open(tmp_path / "out" / "tables" / "economics.csv", encoding="utf-8") as file:
        (found,) = csv.DictReader(file)
    assert (found["patches_needed"], found["bound_at_own_dice"]) == ("40.0", "at least")
    with pytest.raises(NnActiveError, match="-minutes_per_patch 0"):
        compare(folders, tmp_path / "none", minutes=0)
    assert not (tmp_path / "none").exists()


def test_minutes_that_were_measured_count_unless_others_are_typed(tmp_path):
    folders = pair(tmp_path)
    for folder in folders:
        edit(folder / "cycle_002.json", minutes_per_patch=4.5)
    for minutes, words in ((None, "4.5 min per patch, the median of what experts took"), (6.0, "6 min per patch, as asked")):
        page = compare(folders, tmp_path / "out", lambda text: None, minutes=minutes).read_text(encoding="utf-8")
        assert words in page


def test_a_comparison_without_a_random_method_says_so(tmp_path):
    folders = pair(tmp_path)[1:]
    page = compare(folders, tmp_path / "out", lambda text: None).read_text(encoding="utf-8")
    assert "No setting has a random method" in page


def test_the_report_finds_the_random_experiment_of_its_setting(finished, nnunet_folders):
    """And passes over one with another starting budget, and its own copy under another name."""
    record, last = read_json(finished.results / "experiment.json"), read_json(finished.results / "cycle_002.json")
    assert economics(finished) is None
    for number, start in ((201, record["start"]), (202, record["start"][::-1][1:])):
        other = nnunet_folders.results / f"Dataset{number}_Random" / "nnactive"
        shutil.copytree(finished.results, other)
        plan = {**record["plan"], "method": "random", "method_options": {}}
        queries = [{**one, "method": "random", "options": {}} for one in record["queries"]]
        edit(other / "experiment.json", name=f"Dataset{number}_Random", plan=plan, start=start, queries=queries)
        edit(other / "cycle_002.json", mean_dice=last["mean_dice"] / 2)
    found = economics(finished)
    assert found.others == ["Dataset201_Random"]
    ((method, base, *cells),) = found.rows
    assert (method, base) == ("clasp_pe", "random")
    assert "(1)" in cells[0]
    assert any("3 min per patch, assumed" in note for note in found.notes)
    text = render_history(finished)
    assert "What it saved against random patches" in text
    assert "Dataset201_Random" in text


def render_history(experiment) -> str:
    from nnactive_ext.pages.templates import render

    facts = gather(experiment, None, 0, progress=False)
    return render("report", "history.html", history=history(facts), now=now(facts))


def test_what_is_left_of_a_rollout_counts_the_time_of_queries():
    words = {"minutes_per_patch": 5, "training_hours": 0.5, "expert_rate": 100, "machine_rate": 2}
    without = estimate(20, 100, 100_000, 2, 1, **words)
    counted = estimate(20, 100, 100_000, 2, 1, **words, query_hours=1.0)
    assert without.break_even == pytest.approx(0.24)
    assert counted.break_even == pytest.approx(0.48)
    assert [row[0] for row in rows(counted)] == [*(row[0] for row in rows(without)[:3]), "queries", PAYS]
