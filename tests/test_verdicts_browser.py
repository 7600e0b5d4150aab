"""Verdicts by the mouse: ticks of the index page that are downloaded and handed in, and the dialog of the light editor."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from disk_pages import reader
from serving import person, serving

from nnactive_ext.labelling.verdicts import verdicts

pytestmark = pytest.mark.slow


def look(page, name: str) -> None:
    """Keep a picture of a page where ``NNACTIVE_PICTURES`` names a folder."""
    if folder := os.environ.get("NNACTIVE_PICTURES"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def test_ticks_of_the_index_page_are_handed_in(tasks, browser, tmp_path):
    first, second = tasks.seen[:2]
    case = tasks.patch(second).case
    with reader(browser, tmp_path / "Downloads", width=1200, height=900) as one:
        page = one.page
        page.goto((tasks.out / "index.html").as_uri())
        save = page.locator("#save-verdicts")
        assert save.is_disabled()
        box = page.locator(f'.verdict[data-task="{first.id}"]')
        box.locator("[name=patch]").check()
        box.locator("[name=why]").fill('motion, "ghosts"')
        page.locator(f'.verdict[data-task="{second.id}"] [name=case]').check()
        box.scroll_into_view_if_needed()
        look(page, "index")
        for again in range(2):
            with page.expect_download() as waiting:
                save.click()
            file = one.downloads / waiting.value.suggested_filename
            waiting.value.save_as(file)
            tasks.hand_in(file)
            found = {one.task or one.case: (one.irrelevant, one.why) for one in verdicts(tasks.experiment)}
            if not again:
                assert found == {first.id: (True, 'motion, "ghosts"'), case: (True, "")}
                box.locator("[name=patch]").uncheck()
                page.wait_for_timeout(1100)  # the name has the time in seconds
        assert found == {first.id: (False, ""), case: (True, "")}, "what is unticked is relevant again"
        look(page, "index_saved")


def test_the_dialog_of_the_editor_and_the_queue(tasks, browser):
    first, second = tasks.seen[:2]
    with serving(601) as served, person(browser, served, 1200, 900) as one:
        one.open(first.id)
        one.page.locator("#ask-verdict").click()
        one.page.locator("#verdict [name=why]").fill("x is a key of the editor")
        look(one.page, "dialog")
        one.page.locator("[data-verdict=irrelevant]").click()
        one.wait("document.getElementById('said').textContent.startsWith('The patch is irrelevant')")
        assert one.page.locator("#status").text_content() == "● done"
        look(one.page, "editor")
        one.key(" ")
        one.page.wait_for_url(lambda url: url.endswith(second.id))
        one.page.goto(served.address)
        row = one.page.locator(f'[data-task="{first.id}"]')
        assert "says anna: x is a key of the editor" in row.text_content()
        look(one.page, "queue")
        row.locator("a.judge").click()
        one.page.locator("[data-verdict=relevant]").click()
        one.ready()
    assert [(one.task, one.irrelevant) for one in verdicts(tasks.experiment)] == [(first.id, False)]
