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


@pytest.mark.parametrize("single", [False, True])
def test_the_dialog_of_a_page_from_disk_saves_a_file(tasks, browser, tmp_path, single):
    out = tasks.out
    if single:
        out = tmp_path / "single"
        tasks.annotate(f"export -o {out} --blank --single --disable_progress_bar")
    first, second = tasks.seen[:2]
    case = tasks.patch(second).case

    def judge(one, verdict: str, why: str = "", about: str = "patch"):
        one.page.locator("#ask-verdict").click()
        if about:
            one.page.locator(f"#verdict [value={about}]").check()
        one.page.locator("#verdict [name=why]").fill(why)
        with one.page.expect_download() as waiting:
            one.page.locator(f"[data-verdict={verdict}]").click()
        file = one.downloads / waiting.value.suggested_filename
        waiting.value.save_as(file)
        assert one.page.locator("#status").text_content() == ("● saved" if verdict == "irrelevant" else "○ open")
        tasks.hand_in(file)
        return {one.task or one.case: (one.irrelevant, one.why) for one in verdicts(tasks.experiment)}

    with reader(browser, tmp_path / "Downloads", width=1200, height=800) as one:
        one.read(out / first.id / "annotate.html")
        why = 'motion, "ghosts"'
        assert judge(one, "irrelevant", why) == {first.id: (True, why)}
        look(one.page, f"disk_{'single' if single else 'folder'}")
        one.read(out / first.id / "annotate.html")
        assert why in one.page.locator("#start").text_content(), "this browser knows it after a reload"
        one.page.wait_for_timeout(1100)  # the name has the time in seconds
        assert judge(one, "relevant") == {first.id: (False, "")}
        one.read(out / second.id / "annotate.html")
        assert judge(one, "irrelevant", about="case")[case] == (True, "")
        one.read(out / second.id / "annotate.html")
        one.page.wait_for_timeout(1100)
        assert judge(one, "relevant", about="")[case] == (False, ""), "this browser knows what the verdict was about"


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
