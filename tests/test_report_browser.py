"""The report opened from disk in Chromium: nothing asks for anything, nothing fails, the viewer draws, it fits and prints."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report_facts
from PIL import Image

from nnactive_ext.report.page import write_report

WIDTHS = (1280, 400)


@dataclass
class Seen:
    """A page with all that it said and asked for."""

    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(report_facts.facts(notes=("Look at </script> & <b>this</b>.",)), path)
    return path


@pytest.fixture
def opened(browser, file) -> Iterator[Any]:
    """Opens the report in a window of some width; in the end nothing has failed and nothing was asked for but the file."""
    seen: list[Seen] = []

    def show(width: int, before: str = "", **more: Any) -> Any:
        page = browser.new_page(viewport={"width": width, "height": 900}, **more)
        page.add_init_script(before)
        one = Seen(page)
        page.on("console", lambda message: one.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: one.said.append(str(error)))
        page.on("request", lambda request: one.asked.append(request.url))
        page.goto(file.as_uri())
        seen.append(one)
        return page

    yield show
    for one in seen:
        one.page.close()
        assert one.said == []
        assert [url for url in one.asked if not url.startswith("data:")] == [file.as_uri()]


def shown(page: Any, words: str) -> None:
    """Wait until the viewer shows a box; the page's policy keeps Playwright's own waiting from working."""
    end = time.monotonic() + 30
    while words not in (page.locator("#viewer output").text_content() or ""):
        assert time.monotonic() < end, page.locator("#viewer output").text_content()
        page.wait_for_timeout(50)
    page.wait_for_timeout(100)


def drawn(page: Any) -> np.ndarray:
    picture = page.locator("#viewer canvas").screenshot()
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def coloured(pixels: np.ndarray) -> int:
    """Pixels that are not grey: those of classes, of uncertainty and of the frame."""
    return int((pixels.max(axis=2) - pixels.min(axis=2) > 40).sum())


@pytest.mark.slow
def test_the_viewer_starts_when_it_is_looked_at_and_draws(opened):
    page = opened(700)
    assert page.evaluate("typeof window.niivue") == "undefined"
    page.locator("#viewer canvas").scroll_into_view_if_needed()
    shown(page, "Shown: case_0, cycle 2, liver")
    first = drawn(page)
    assert len(np.unique(first.reshape(-1, 3), axis=0)) > 50
    assert coloured(first) > 1000  # the prediction
    page.locator("#viewer input[name=prediction]").fill("0")
    page.wait_for_timeout(100)
    without = drawn(page)
    assert coloured(without) < coloured(first) / 3  # the frame is left
    page.locator("#viewer input[name=uncertainty]").fill("90")
    page.wait_for_timeout(100)
    assert coloured(drawn(page)) > 2 * coloured(without)
    page.locator("#viewer button", has_text="case_1, cycle 2").click()
    shown(page, "Shown: case_1, cycle 2, tumour")
    assert page.locator("#viewer button[aria-pressed=true]").count() == 1


def test_without_webgl_it_says_so(opened):
    page = opened(400, before="HTMLCanvasElement.prototype.getContext = () => null")
    page.locator("#viewer h2").scroll_into_view_if_needed()
    assert page.locator("#viewer .unable").is_visible()
    assert page.locator("#viewer canvas").is_hidden()
    assert page.locator("#viewer button").first.is_hidden()


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window(opened, width):
    page = opened(width)
    page.evaluate("document.querySelectorAll('details').forEach(element => { element.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wider = page.evaluate(
        "[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, dialog, svg, script')"
        " && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    )
    assert wider == []


def test_a_picture_can_be_enlarged(opened):
    page = opened(400)
    small = page.locator("#queries details[open] img").first
    small.click()
    large = page.locator("dialog img")
    assert large.is_visible()
    assert large.bounding_box()["width"] > 1.5 * small.bounding_box()["width"]
    large.click()
    assert large.is_hidden()


def test_it_prints_on_several_pages_with_everything_unfolded(opened):
    page = opened(1280)
    folded = page.locator("details:not([open])").count()
    assert folded > 3
    page.evaluate(
        "addEventListener('beforeprint', () => setTimeout(() => 0)); window.unfolded = 0;"
        "addEventListener('beforeprint', () => { unfolded = document.querySelectorAll('details:not([open])').length; })"
    )
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) > 3
    assert page.evaluate("window.unfolded") == 0
    assert page.locator("details:not([open])").count() == folded  # as it was
    page.emulate_media(media="print")
    assert page.locator("nav").is_hidden()
    assert not page.locator("#viewer canvas").is_visible()


def test_without_a_script_everything_but_the_viewer_is_there(opened):
    page = opened(1280, java_script_enabled=False)
    assert page.locator("#viewer .viewer").is_hidden()
    assert page.locator("#queries img").first.is_visible()
