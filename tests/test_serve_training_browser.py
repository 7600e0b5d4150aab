"""The queue in Chromium: it follows what others do without a reload, and one button leads to the next tasks."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from serving import client, person, serving
from test_serve_answers import packed, put

from nnactive_ext.experiment.result import read_results
from nnactive_ext.labelling.tasks import tasks_of


def answer(server, tasks, numbers, tmp_path: Path) -> None:
    for number in numbers:
        seen = tasks.seen[number]
        assert put(server, seen.id, packed(seen.answer(), seen.shown, tmp_path)).json()["taken"]


def training(one) -> str:
    return " ".join(one.page.locator("#training").inner_text().split())


def until(one, text: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while text not in training(one):
        assert time.monotonic() < end, training(one)
        assert "failed" not in training(one), training(one)
        one.page.wait_for_timeout(200)


@pytest.mark.slow
def test_the_queue_follows_what_others_do(tasks, browser, tmp_path):
    with serving(601) as served, person(browser, served, quiet=False) as one, client(601, "bert", served.site) as other:
        page = one.page
        page.evaluate("window.still = 'the same page'")
        page.fill("#wanted", "c000")
        assert page.locator("#training button.main").is_disabled()
        answer(other, tasks, [0], tmp_path)
        one.wait("document.querySelectorAll('[data-status=done]').length === 1")
        assert "answered by bert" in page.locator("[data-status=done]").inner_text()
        page.check("#hide-done")
        answer(other, tasks, range(1, 7), tmp_path)
        one.wait("document.querySelectorAll('[data-status=done]').length === 7")
        assert page.locator("[data-task]:visible").count() == 0, "what was chosen stays chosen"
        assert page.locator("#training button.main").is_enabled()
        assert page.evaluate("window.still") == "the same page"
        # The server goes away and comes back.
        page.context.set_offline(True)
        one.wait("document.getElementById('said').textContent.includes('does not answer')")
        page.context.set_offline(False)
        one.wait("document.getElementById('said').textContent === ''")


@pytest.mark.slow
def test_a_button_leads_to_the_next_tasks(tasks, browser, tmp_path, monkeypatch):
    """With real trainings, and nothing but the page."""
    for name, value in {"nnactive_iterations_per_epoch": "1", "nnactive_val_iterations_per_epoch": "1"}.items():
        monkeypatch.setenv(name, value)
    with client(601) as server:
        answer(server, tasks, range(7), tmp_path)
    with serving(601, blank=False) as served, person(browser, served) as one:
        one.page.evaluate("window.still = 'the same page'")
        one.page.click("#training button.main")
        until(one, "Started by anna", 120)
        until(one, "training 1 of 2: epoch", 300)
        until(one, "answers of cycle 1", 600)
        until(one, "Another cycle:", 60)
        assert one.page.evaluate("window.still") == "the same page"
        assert one.page.locator("h1").inner_text().endswith("cycle 1")
        asked = tasks_of(tasks.experiment, 1)
        one.wait(f"document.querySelectorAll('[data-task]').length === {len(asked)}")
        one.page.locator("a.annotate").first.click()
        one.wait("document.body.dataset.ready === 'yes'", 300)  # its start is predicted by real members
        one.do("done")
        one.wait("['good', 'error'].includes(document.getElementById('said').className)")
    assert [result.cycle for result in read_results(tasks.experiment.results)] == [0]
    (event,) = [event for event in tasks.events() if event["task"].startswith("c001")]
    assert event["task"] == asked[0].id
