"""Measured times: per patch and class, in the status, the report and the economics; else nothing changes."""

from __future__ import annotations

import json
from statistics import median, quantiles

import pytest
import scripted_expert as expert
from html_page import Page
from report_facts import facts as report_facts

from nnactive_ext.cli import status
from nnactive_ext.experiment.timing import Timing, read_times, seconds_per_step
from nnactive_ext.labelling.answers import CountingAnswers
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.minutes import Measured, Minutes, measured, spent
from nnactive_ext.planning.cost import estimate, rows
from nnactive_ext.planning.remaining import remaining
from nnactive_ext.report.page import Effort, _Drawn, page


def answered(ledger: Ledger, task: str, who: str, **facts) -> int:
    told = {"file": "f", "sha256": "0" * 64, "place": "p", "voxels": 8, "unsure": 0}
    return ledger.add("answer", who, task=task, **told, **facts)["event"]


def times(ledger: Ledger) -> dict[tuple[str, str], float]:
    return {(answer.task, answer.who): seconds for answer, seconds in spent(CountingAnswers.of(ledger))}


def test_the_time_of_a_patch_is_all_that_its_annotator_spent_on_it(tmp_path):
    ledger = Ledger(tmp_path)
    answered(ledger, "a", "anna", seconds=60)
    answered(ledger, "a", "bert", seconds=45.5)
    answered(ledger, "b", "anna", seconds=10)
    assert times(ledger) == {("a", "anna"): 60, ("a", "bert"): 45.5, ("b", "anna"): 10}
    answered(ledger, "a", "anna", seconds=30)
    last = answered(ledger, "b", "anna", seconds=7)
    assert times(ledger) == {("a", "anna"): 90, ("a", "bert"): 45.5, ("b", "anna"): 17}
    ledger.add("withdraw", "anna", task="b", withdrawn=last)
    assert times(ledger)["b", "anna"] == 10


def test_time_may_be_told_by_an_event_of_its_own(tmp_path):
    ledger = Ledger(tmp_path)
    first, second = answered(ledger, "a", "anna"), answered(ledger, "b", "anna", seconds=5)
    ledger.add("time", "anna", task="a", seconds=12.5, answer=first)
    ledger.add("time", "anna", task="b", seconds=2)
    assert times(ledger) == {("a", "anna"): 12.5, ("b", "anna"): 5}, "time that led to no answer is of none"
    ledger.add("time", "anna", task="b", seconds=2, answer=second)
    ledger.add("time", "anna", task="a", seconds=-1, answer=first)
    assert times(ledger) == {("a", "anna"): 12.5, ("b", "anna"): 7}
    answered(ledger, "a", "anna")
    assert times(ledger) == {("b", "anna"): 7}


@pytest.mark.parametrize("seconds", [None, 0, -3, float("nan"), float("inf"), "12", True])
def test_an_answer_without_a_time_makes_the_time_of_its_patch_unknown(tmp_path, seconds):
    ledger = Ledger(tmp_path)
    told = {} if seconds is None else {"seconds": seconds}
    answered(ledger, "a", "anna", **told)
    assert times(ledger) == {}
    answered(ledger, "b", "anna", seconds=20)
    answered(ledger, "b", "anna", **told)
    answered(ledger, "c", "anna", seconds=30)
    assert times(ledger) == {("c", "anna"): 30}


def timed(monkeypatch, seconds: dict[str, float]) -> None:
    """Answers to these tasks come with a time, as those of the browser do."""
    add = Ledger.add

    def adding(ledger, what, who, **facts):
        more = {"seconds": seconds[facts["task"]]} if what == "answer" and facts["task"] in seconds else {}
        return add(ledger, what, who, **facts, **more)

    monkeypatch.setattr(Ledger, "add", adding)


def test_a_patch_counts_for_each_class_that_its_answer_holds(tasks, monkeypatch, capsys):
    seen = tasks.seen
    seconds = {task.id: 30.0 + 45 * number for number, task in enumerate(seen[:-1])}
    timed(monkeypatch, seconds)
    tasks.hand_in(*map(expert.in_place, seen), more="--accept_unchanged")
    found = measured(tasks.experiment)
    assert found is not None
    assert found.patches.patches == len(seconds) == 6
    minutes = [value / 60 for value in seconds.values()]
    lower, middle, upper = quantiles(minutes, n=4, method="inclusive")
    assert (found.patches.lower, found.patches.median, found.patches.upper) == pytest.approx((lower, middle, upper))
    for name, value in (("organ", 1), ("lesion", 2)):
        of_class = [seconds[task.id] / 60 for task in seen[:-1] if (task.truth[task.box] == value).any()]
        assert 0 < len(of_class) < 6 or name == "organ"
        assert found.per_class[name].patches == len(of_class)
        assert found.per_class[name].median == pytest.approx(median(of_class))

    capsys.readouterr()
    status.main(["-d", "601", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["minutes"]["median"] == pytest.approx(middle)
    assert told["minutes"]["classes"]["lesion"]["patches"] == found.per_class["lesion"].patches
    # All tasks of cycle 0 are done; two queries of 4 patches are left.
    assert told["remaining"]["patches"] == 8
    assert told["remaining"]["hours"] == pytest.approx(8 * middle / 60)
    assert "6 measured patches" in told["remaining"]["why"]
    status.main(["-d", "601"])
    said = capsys.readouterr().out
    assert "Minutes per patch, measured on 6 patches" in said
    assert "Still to annotate: 8 patches" in said


def test_where_nobody_measured_the_status_says_nothing(tasks, capsys):
    tasks.hand_in(*map(expert.in_place, tasks.seen), more="--accept_unchanged")
    assert measured(tasks.experiment) is None
    capsys.readouterr()
    status.main(["-d", "601", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert "minutes" not in told
    assert "remaining" not in told
    status.main(["-d", "601"])
    assert "Minutes per patch" not in capsys.readouterr().out


def test_the_rest_of_the_plan_costs_what_earlier_cycles_took(tasks, monkeypatch):
    """7 tasks of cycle 0 and 2 queries of 4: 15 patches. 2 members in 3 cycles."""
    experiment = tasks.experiment
    before = remaining(experiment, measured(experiment))
    assert (before.patches, before.minutes_per_patch, before.cycles, before.folds) == (15, 3.0, 3, 2)
    assert rows(before)[0][2] == "3 min per patch assumed (-minutes_per_patch)"
    timed(monkeypatch, {task.id: seconds for task, seconds in zip(tasks.seen, (60, 120, 600), strict=False)})
    tasks.hand_in(*map(expert.in_place, tasks.seen[:3]), more="--accept_unchanged")
    with Timing(experiment, 0).of("train"):
        pass
    Timing(experiment, 0).note({"train": 1800.0})
    Timing(experiment, 0).note({"train": 3600.0})
    Timing(experiment, 0).note({"predict": 9999.0})
    after = remaining(experiment, measured(experiment))
    assert (after.patches, after.minutes_per_patch) == (12, 2.0)
    assert after.annotation_hours == pytest.approx(12 * 2 / 60)
    assert after.member_hours == pytest.approx(0.5)
    assert rows(after)[0][2] == "median 2 min of 3 measured patches"
    assert "median of 3 trainings" in rows(after)[2][2]
    assert after.query_hours == pytest.approx(2 * 9999 / 3600)
    # A patch costs 2 / 60 x 100; 3 x 2 x 0.5 h and two queries of 9999 s at 2 are 17.1: 5.1 patches.
    assert after.patches_to_save == 6


def test_minutes_that_were_asked_for_hold_until_something_is_measured(rollout):
    from rollouts import OPTIONS

    experiment = rollout.plan(f"{OPTIONS} -minutes_per_patch 7 -expert_rate 60 -machine_rate 5 -training_hours 4")
    cost = remaining(experiment, None)
    assert (cost.minutes_per_patch, cost.expert_rate, cost.machine_rate, cost.member_hours) == (7, 60, 5, 4)


def test_nothing_is_left_when_all_is_annotated(rollout, monkeypatch, tmp_path):
    from rollouts import OPTIONS

    rollout.plan(OPTIONS.replace("-cycles 3", "-cycles 1"))
    seen = rollout.export(tmp_path / "out")
    timed(monkeypatch, {task.id: 60.0 for task in seen})
    for task in seen:
        expert.in_place(task)
    rollout.annotate(f"import {tmp_path / 'out'} -who anna --disable_progress_bar --accept_unchanged")
    assert remaining(rollout.experiment, measured(rollout.experiment)) is None


def test_the_report_has_a_table_of_minutes_and_what_is_left():
    made = report_facts()
    text = Page(page(made, Effort(0), _Drawn(made), "")).text
    assert "lower quartile" not in text
    assert "rest of the plan" not in text
    minutes = Measured(Minutes(42, 1.25, 1.75, 3.5), {"tumour": Minutes(9, 2.0, 4.25, 6.0)})
    cost = estimate(12, 1000, 10**6, 2, 5, 1.75, 0.5, 100, 2, "median of 5 trainings", "median 1.8 min of 42 measured patches")
    from dataclasses import replace

    made = replace(made, minutes=minutes, remaining=cost)
    text = " ".join(Page(page(made, Effort(0), _Drawn(made), "")).text.split())
    assert "all patches 42 1.2 1.8 3.5" in text
    assert "tumour 9 2.0 4.2 6.0" in text
    assert "median 1.8 min of 42 measured patches" in text


def test_times_of_several_processes_and_of_earlier_versions_are_read(planned, monkeypatch):
    """A process writes a file of its own; a line that a kill cut short is passed over."""
    planned.results.mkdir(parents=True, exist_ok=True)
    (planned.results / "times.jsonl").write_text('{"cycle": 0, "step": "train", "seconds": 5}\n{"cycle": 0, "st')
    Timing(planned, 0).note({"train": 7.0})
    monkeypatch.setattr("socket.gethostname", lambda: "node 2/gpu")
    Timing(planned, 0).note({"train": 9.0})
    assert len(list((planned.results / "times").iterdir())) == 2
    assert next(line["seconds"] for line in read_times(planned) if line["step"] == "train") == 5
    assert seconds_per_step(planned, 0)["train"] == 5 + 7 + 9
