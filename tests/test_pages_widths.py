"""Pages with 13 classes and more in wide and narrow windows: nothing is wider than the window, and pictures use it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import phantoms
import pytest
import report_facts
from test_page import a_view

from nnactive_ext.exchange.page import card, write_page
from nnactive_ext.report.page import write_report

LONG = (*(f"vertebra_T{i}" for i in range(1, 13)), "left_posterior_cruciate_ligament_tibial_insertion", "os")
CLASSES = {"organs": phantoms.ORGANS, "bones": LONG}
WIDTHS = (400, pytest.param(1000, marks=pytest.mark.slow), 1600)


@pytest.fixture(scope="module", params=list(CLASSES))
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    classes = CLASSES[request.param]
    dice = [{name: (0.9 - 0.05 * i) * cycle / 2 for i, name in enumerate(classes)} for cycle in (1, 2)]
    results = [report_facts.measured(cycle, values) for cycle, values in enumerate(dice)]
    cases = tuple(f"a_patient_of_some_hospital_{i}" for i in range(len(classes) + 1))
    file = tmp_path_factory.mktemp("report") / "report.html"
    facts = report_facts.facts(cases, classes, results=results)
    write_report(replace(facts, crops={2: facts.crops[2][:2]}), file)  # drawing more takes long
    return file


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = {"background": 0, **{name: i for i, name in enumerate(LONG, start=1)}, "ignore": len(LONG) + 1}
    file = tmp_path_factory.mktemp("tasks") / "index.html"
    # Flat, cubic and tall crops.
    views = [
        a_view(shape, names=names, folder=f"c001_{i:03}") for i, shape in enumerate([(8, 60, 60), (30, 30, 30), (90, 16, 16)])
    ]
    cards = [card(view, np.random.default_rng(0).normal(size=(1, *view.space.shape)).astype(np.float32)) for view in views]
    write_page(file, cards, "Bones, cycle 1", (("cycle", "1"),), names, 511)
    return file


def opened(browser: Any, file: Path, width: int) -> Any:
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(file.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(element => { element.open = true; })")
    return page


def boxes(page: Any, selector: str) -> list[dict[str, float]]:
    return page.evaluate(f"[...document.querySelectorAll('{selector}')].map(e => e.getBoundingClientRect().toJSON())")


def fits(page: Any, width: int) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wider = page.evaluate(
        "[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, dialog, svg, script')"
        " && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    )
    assert wider == []


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_reports(browser, report, width):
    page = opened(browser, report, width)
    fits(page, width)
    pictures, charts = boxes(page, ".gallery img"), boxes(page, ".chart > svg")
    assert min(box["width"] for box in pictures) > min(0.8 * width, 440)
    assert min(box["width"] for box in charts[:3]) > min(0.8 * width, 420)
    # A class is a row of each table about classes, in the order of their values, and the chart's legend has all of them.
    classes = CLASSES["organs"] if "spleen" in page.locator("#now").text_content() else LONG
    for section in ("#now", "#history"):
        rows = page.evaluate(f"[...document.querySelectorAll('{section} tbody th')].map(e => e.textContent.trim())")
        assert [row for row in rows if row in classes] == list(classes)
    legend = page.evaluate("[...document.querySelectorAll('.chart.many .legend li')].map(e => e.textContent.trim())")
    assert legend == list(classes), "as the lines end, from top to bottom"
    page.close()


def test_names_stay_while_a_table_is_scrolled(browser, report):
    page = opened(browser, report, 400)
    moved = page.evaluate(
        "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 60).map(e => {"
        " e.scrollLeft = 50; const name = e.querySelector('tbody th');"
        " return name.getBoundingClientRect().left - e.getBoundingClientRect().left; })"
    )
    assert moved
    assert max(map(abs, moved)) <= 1
    page.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_tasks(browser, tasks, width):
    page = opened(browser, tasks, width)
    fits(page, width)
    for number in (1, 2, 3):
        pictures = boxes(page, f"article:nth-of-type({number}) .pictures img")
        natural = page.evaluate(
            f"[...document.querySelectorAll('article:nth-of-type({number}) .pictures img')].map(e => e.naturalWidth)"
        )
        scales = [box["width"] / pixels for box, pixels in zip(pictures, natural, strict=True)]
        if width > 640:
            assert max(scales) < 1.05 * min(scales), "one scale in pixels per mm"
            assert max(scales) <= 1.51
            used = sum(box["width"] for box in pictures)
            assert used > 0.5 * width or min(scales) > 1.4, "as large as the page, or as the picture allows"
        else:
            assert pictures[0]["width"] > 0.8 * width
    page.close()
