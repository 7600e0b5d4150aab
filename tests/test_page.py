"""The index page read back by a parser: what it says, where it leads, and that nobody's text becomes markup."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from html_page import Page
from PIL import Image

from nnactive_ext.exchange.page import Card, card, write_page
from nnactive_ext.exchange.view import View
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.geometry.space import Space
from nnactive_ext.labelling.tasks import Task
from nnactive_ext.members.reasons import reason
from nnactive_ext.pages.templates import render
from nnactive_ext.words import share

NAMES = {"background": 0, "liver": 1, "tumour": 2, "ignore": 3}
STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
EVIL = """<script>alert('1')</script>"&'><img src=x onerror=alert(2)>"""


def a_view(
    shape=(10, 20, 20), spacing=(1.5, 1.0, 4.0), names=NAMES, predicted=True, folder="c001_003_liver_12", case="liver_12"
):
    box = Patch(case, (2, 5, 5), (5, 10, 10))
    task = Task(folder, 1, 3, box, "tumour", 0.3149, "clasp_pe")
    labels = np.full(shape, max(names.values()), np.uint8)
    labels[box.slices] = 0
    if predicted:
        labels[3:5, 5:10, 5:10] = 1
        labels[3, 6, 6] = 2
    space = Space(shape, spacing, (0.0, 0.0, 0.0), STRAIGHT)
    place = Path("tasks") / folder
    image = place / "image_CT.nii.gz"
    return View(task, place, (image,), place / f"{folder}.nii.gz", labels, space, box, names, ("CT",), predicted)


def an_image(view: View) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(len(view.channels), *view.space.shape)).astype(np.float32)


def a_card(view: View, *more) -> Card:
    return card(view, an_image(view), *more)


def shown(made: Card) -> str:
    return render("exchange", "card.html", card=made)


def a_page(folder: Path, cards, names=NAMES, title="Liver, cycle 1", facts=(("cycle", "1"),)) -> str:
    file = folder / "index.html"
    write_page(file, cards, title, facts, names, 511)
    return file.read_text(encoding="utf-8")


def test_a_card_says_what_and_why():
    page = Page(shown(a_card(a_view())))
    for words in (
        "c001_003_liver_12",
        "○ open",
        "case liver_12",
        "Among the most uncertain about tumour (clasp_pe, score 0.315)",
        "Model predicts liver 10 %, tumour 0.2 %",
        "10 × 10 × 5 voxels, 15 × 10 × 20 mm",
        "voxels 1.5 × 1 × 4 mm",
        "Acquisition plane (4 mm slices), axial at H 16 mm patch 15 × 10 mm",
        "Across the slices, coronal at P 10 mm patch 15 × 20 mm",
        "Across the slices, sagittal at L 15 mm patch 10 × 20 mm",
        "Slicer --python-script c001_003_liver_12/open_in_slicer.py",
    ):
        assert words in page.text, words
    assert [json.loads(a["data-classes"]) for a in page.all("article")] == [["liver", "tumour"]]
    assert [a["href"] for a in page.all("a")] == ["c001_003_liver_12/", "c001_003_liver_12/c001_003_liver_12.nii.gz"]


def test_pictures_are_inside_and_described():
    planes = "Acquisition plane (4 mm slices), axial", "Across the slices, coronal", "Across the slices, sagittal"
    for image, plane in zip(Page(shown(a_card(a_view()))).all("img"), planes, strict=True):
        kind, data = image["src"].split(",")
        assert kind == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (int(image["width"]), int(image["height"]))
        assert (
            image["alt"] == f"{plane}: slice of liver_12 through the middle of the patch; outlined in the patch: liver, tumour"
        )


def test_without_a_prediction():
    blank, labelled = a_view(predicted=False), replace(a_view(), predicted=False)
    assert "Model predicts no prediction: the task starts blank" in Page(shown(a_card(blank))).text
    assert "Labelled so far background only" in Page(shown(a_card(blank, "done"))).text
    assert "Labelled so far liver 10 %, tumour 0.2 %" in Page(shown(a_card(labelled, "partial", "3 voxels are unsure."))).text
    nothing = replace(blank, predicted=True)
    assert "Model predicts background only" in Page(shown(a_card(nothing))).text


def test_what_is_unsure_is_told_but_no_class():
    view = a_view(predicted=False)
    view.labels[2:7, 5:15, 5:10] = NAMES["ignore"]
    page = Page(shown(a_card(view, "partial")))
    assert "Labelled so far ignore 50 %" in page.text
    assert page.all("article")[0]["data-classes"] == "[]"


def test_microscopes_have_micrometres():
    view = a_view(spacing=(0.0002, 0.0002, 0.0005))
    text = Page(shown(a_card(view))).text
    assert "10 × 10 × 5 voxels, 2 × 2 × 2.5 µm" in text
    assert "Acquisition plane (0.5 µm slices), axial at H 2 µm" in text


def test_nobodys_text_becomes_markup(tmp_path):
    names = {"background": 0, EVIL: 1, "ignore": 2}
    view = replace(a_view(names=names, folder=EVIL.replace("/", "_"), case=EVIL), channels=(EVIL,))
    view = replace(view, task=replace(view.task, id=EVIL, stratum=EVIL, method=EVIL))
    text = a_page(tmp_path, [card(view, an_image(view), EVIL, EVIL)], names, EVIL, [(EVIL, EVIL)])
    page = Page(text)
    assert len(page.all("script")) == 2  # ours: the filters, and the ticks for what does not belong
    assert len(page.all("img")) == 3
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert page.all("article")[0]["data-case"] == EVIL
    assert json.loads(page.all("article")[0]["data-classes"]) == [EVIL]
    assert page.text.count("<script>alert('1')</script>") >= 9
    links = [a["href"] for a in page.all("a") if not a["href"].startswith("#")]
    assert unquote(links[1]) == view.folder.name + "/"
    assert not set("<>\"'& :") & set(links[1])


def test_names_that_are_no_utf8(tmp_path):
    odd = "liver_\udcff"
    view = a_view(folder=odd, case=odd)
    assert "liver_\\udcff" in a_page(tmp_path, [a_card(view)])
    assert Page(shown(a_card(view))).all("a")[0]["href"] == "liver_%FF/"


def test_the_page_needs_nothing_else_and_runs_no_other_script(tmp_path):
    text = a_page(tmp_path, [a_card(a_view())])
    page = Page(text)
    assert text.isascii() or 'charset="utf-8"' in text
    assert not page.all("link")
    assert all(image["src"].startswith("data:") for image in page.all("img"))
    assert "http:" not in text
    assert "https:" not in text
    scripts = [part.split("</script>")[0] for part in text.split("<script>")[1:]]
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}"


def test_counts_legend_and_what_is_next(tmp_path):
    views = [replace(a_view(), task=replace(a_view().task, number=number)) for number in (1, 2, 3)]
    states = ("done", "partial", "open")
    page = Page(a_page(tmp_path, [a_card(view, status) for view, status in zip(views, states, strict=True)]))
    assert "3 tasks: 1 open, 1 partly done, 1 done" in page.text
    assert [a["href"] for a in page.all("a") if a.get("class") == "next"] == ["#task-1-2"]
    assert [a["id"] for a in page.all("article")] == ["task-1-1", "task-1-2", "task-1-3"]
    assert "background (unpainted) 0" in page.text
    assert "ignore (unsure) 3" in page.text
    assert f"nnactive_annotate import -d 511 {tmp_path.name} -who YOUR_NAME" in page.text
    done = Page(a_page(tmp_path, [a_card(views[0], "done")]))
    assert "1 task: 0 open" in done.text
    assert not [a for a in done.all("a") if a.get("class") == "next"]
    assert "There are no tasks." in Page(a_page(tmp_path, [])).text
    assert [file.name for file in tmp_path.iterdir()] == ["index.html"]


def test_a_hundred_noisy_tasks_stay_small():
    rng = np.random.default_rng(0)
    view = a_view(shape=(96, 96, 96), spacing=(0.8, 0.8, 1.5))
    image = rng.normal(40, 25, (1, 96, 96, 96)).astype(np.float32)
    image[:, :, :20] = -1000
    assert 100 * len(shown(card(view, image))) < 20e6


@pytest.mark.parametrize(
    ("stratum", "score", "method", "words"),
    [
        ("random", 0.0, "random", "drawn at random"),
        ("foreground", 0.0, "random_fg_33", "drawn at random around a structure (random_fg_33)"),
        ("border", 0.0, "random_fg_33", "drawn at random around the border of a structure (random_fg_33)"),
        ("all", 0.5, "bald", "among the most uncertain, all classes together (bald, score 0.5)"),
        ("liver", 0.0, "starting_budget", "for the start, around liver (starting budget)"),
        ("random", None, "starting_budget", "drawn at random (starting budget)"),
        ("marked: tumour", None, "points", "around a point marked as tumour (points)"),
        ("marked", None, "", "around a marked point"),
        ("", None, "given", "given by hand (given)"),
        ("given", None, "starting_budget", "given by hand (starting budget)"),
        ("", 2.0, "mine.py:best", "chosen by the query method (mine.py:best, score 2)"),
        # A class may be called like one of our strata ...
        ("border", 0.3, "clasp_pe", "among the most uncertain about border (clasp_pe, score 0.3)"),
        ("foreground", 0.3, "power_bald", "among the most uncertain about foreground (power_bald, score 0.3)"),
        ("random", 0.3, "clasp_pe", "among the most uncertain about random (clasp_pe, score 0.3)"),
        ("random", 0.0, "clasp_pe", "drawn at random (clasp_pe)"),
        ("given", 0.2, "clasp_pe", "among the most uncertain about given (clasp_pe, score 0.2)"),
        ("marked: x", 0.2, "clasp_pe", "among the most uncertain about marked: x (clasp_pe, score 0.2)"),
        # ... and of somebody's own method we do not know what its strata mean: docs/methods.md prints this one.
        ("evenly", 0.0, "/a/my_methods.py:evenly", "chosen in the stratum evenly (/a/my_methods.py:evenly, score 0)"),
        ("border", 0.5, "random_walk", "chosen in the stratum border (random_walk, score 0.5)"),
        ("precomputed", 0.0, "precomputed", "chosen by another experiment's query (precomputed)"),
        ("all", 0.5, "", "chosen in the stratum all (score 0.5)"),
        ("", None, "", "no reason is recorded"),
    ],
)
def test_reasons(stratum, score, method, words):
    assert reason(Task("id", 1, 1, Patch("case", (0, 0, 0), (1, 1, 1)), stratum, score, method)) == words


def test_percent():
    assert [share(part) for part in (0.314, 0.0042, 0.0001, 0.9996, 1)] == ["31 %", "0.4 %", "< 0.1 %", "> 99 %", "100 %"]
