"""The line on another cycle: its verdict, what it rests on, whose rule that is; and that all places show the same one."""

from __future__ import annotations

import json

import pytest
from fake_members import fake_tools
from test_report_advice import FALLING, FLAT, RISING, ROLLOUT, TESTED, cross_validated, pool

from nnactive_ext.cli import status
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.loop.cycles import run_cycles
from nnactive_ext.planning.cost import estimate
from nnactive_ext.report import worth as module
from nnactive_ext.report.advice import advice
from nnactive_ext.report.facts import gather
from nnactive_ext.report.page import Effort, _Drawn, page
from nnactive_ext.report.verdict import EARLY, FELL, GO_ON, STOP
from nnactive_ext.report.worth import worth, worth_line


@pytest.mark.parametrize(("results", "headline"), [(RISING, GO_ON), (FLAT, STOP), (FALLING, FELL), (RISING[:1], EARLY)])
def test_a_simulation_rests_on_the_test_set(results, headline):
    said = worth_line(advice(results, TESTED, None), None)
    assert said.startswith(f"Another cycle: {headline} (")
    assert "test set" in said
    assert "cross-validated" not in said
    assert "our own" in said
    for result in results[-3:]:
        assert f"{100 * result.mean_dice:.1f}" in said
    assert ("95 % interval" in said) == (len(results) > 1)
    assert "\n" not in said


@pytest.mark.parametrize(("means", "left", "headline"), [((0.8, 0.81, 0.8), pool(0.4, 0.15), STOP), ((0.5, 0.6), None, GO_ON)])
def test_a_rollout_rests_on_annotated_voxels_and_says_so(means, left, headline):
    said = worth_line(advice([cross_validated(i, mean) for i, mean in enumerate(means)], ROLLOUT, left), None)
    assert said.startswith(f"Another cycle: {headline} (")
    assert "cross-validated mean Dice on annotated voxels" in said
    assert "test" not in said, "a roll-out has no test set"
    assert ("unsure about the rest of the pool" in said) == (headline == STOP)
    assert f"{100 * means[-1]:.1f} %" in said


def test_facts_are_no_rule_of_ours():
    for made in (
        advice([], TESTED, None),
        advice(RISING, TESTED, None, missing=3),
        advice(RISING, TESTED, None, nothing="None."),
    ):
        said = worth_line(made, None)
        assert "our own" not in said
        assert "rests on" not in said


def test_what_is_left_of_a_rollout_is_said_with_what_it_has_to_save():
    left = estimate(40, 8000, 10_000_000, 2, 5, 3.0, 2.0, 100.0, 2.0)
    said = worth_line(advice([cross_validated(0, 0.5)], ROLLOUT, None), left)
    assert said.endswith(f"Of the 40 patches left, active learning pays if it saves {left.patches_to_save} patches or more.")


def test_status_report_and_browser_say_the_same(planned: Experiment, capsys):
    assert worth(planned) == "", "nothing is trained"
    with planned.lock():
        run_cycles(planned, fake_tools(classes=3), progress=False, say=lambda text: None)
    experiment = planned.anew()
    expected = worth(experiment)
    assert expected.startswith("Another cycle: ")
    capsys.readouterr()
    status.main(["-d", "101", "--json"])
    assert json.loads(capsys.readouterr().out)["another_cycle"] == expected
    status.main(["-d", "101"])
    assert expected in " ".join(capsys.readouterr().out.split())
    facts = gather(experiment, None, 0, progress=False)
    text = page(facts, Effort(0, 120, 0), _Drawn(facts), "")
    assert expected in " ".join(text.replace("&#39;", "'").split())


def test_the_scores_of_the_pool_are_read_only_where_the_verdict_hangs_on_them(monkeypatch):
    """They are in a file for each case and cycle, and a status is asked for often."""
    asked = []
    monkeypatch.setattr(module, "disagreement", lambda experiment: asked.append(experiment) or pool(0.4, 0.15))
    monkeypatch.setattr(module, "nothing_predicted", lambda *arguments: "")
    monkeypatch.setattr(module, "measured", lambda experiment: None)
    monkeypatch.setattr(module, "remaining", lambda *arguments: None)
    monkeypatch.setattr(module, "advice_on", lambda experiment, results, asked, *others: advice(results, ROLLOUT, asked))
    for means, headline, times in (((0.5, 0.6), GO_ON, 0), ((0.8, 0.7), EARLY, 0), ((0.8, 0.81, 0.8), STOP, 1)):
        results = [cross_validated(i, mean) for i, mean in enumerate(means)]
        monkeypatch.setattr(module, "read_results", lambda folder, results=results: results)
        assert worth(_Named()).startswith(f"Another cycle: {headline} (")
        assert len(asked) == times


class _Named:
    """An experiment as far as :func:`worth` looks at it here."""

    results = None
    plan = ROLLOUT
