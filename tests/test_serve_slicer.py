"""3D Slicer's editor in Chromium with a real mouse: only the patch is painted, and what was painted is what is handed in."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from browser_expert import Anatomy, LightHand
from PIL import Image
from scipy import ndimage
from serving import Person, person, serving
from slicer_hand import PATIENCE, SlicerHand
from test_serve_browser import in_ras as image_in_ras
from test_serve_editor import BOX, SHAPE, OneCrop, in_ras
from test_verdicts_browser import look

from nnactive_ext.labelling.verdicts import verdicts
from nnactive_ext.serve.slicer_people import People
from nnactive_ext.serve.slicer_process import SlicerProcess, installed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not installed(), reason="the extra slicer is not installed"),
]
FIVE = ("RAS", "LPS", "oblique", "sagittal slices", "coronal slices, flipped", "thick")


@pytest.fixture(scope="module")
def one_process(tmp_path_factory) -> Iterator[People]:
    """Of anna, for all tests: it takes long to start."""
    people = People(lambda: SlicerProcess(tmp_path_factory.mktemp("slicer") / "log"))
    people.process("anna")
    yield people
    people.close()


@pytest.fixture
def people(one_process) -> People:
    one_process.process("anna").shown = None  # of another test's experiment
    return one_process


class Painter:
    """Someone at the page, who sees the frame of the patch in the largest plane."""

    def __init__(self, one: Person, people: People):
        self.one, self.page, self.process = one, one.page, people.process("anna")

    def open(self, task: str) -> None:
        self.page.goto(f"{self.one.serving.address}/tasks/{task}/slicer")
        self.one.wait("document.body.dataset.ready", PATIENCE / 1000)
        assert self.page.evaluate("document.body.dataset.ready") == "yes", self.page.locator("#said").text_content()
        self.task = task
        self.slicer = self.page.frame_locator("iframe")
        self.slicer.locator(".mdi-brush").first.wait_for(timeout=PATIENCE)
        self.hand = SlicerHand(LightHand(np.random.default_rng(0)))
        self.hand.listen(self.page)
        self.hand.wait(self.page, lambda: len(self._orange()) > 100, "the frame of the patch is not seen")
        self.hand.settled(self.page)

    def _orange(self) -> np.ndarray:
        """Places (y, x) of the patch's frame in the largest view, in the page."""
        picture = np.asarray(Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")).astype(int)
        red, green, blue = np.moveaxis(picture, -1, 0)
        found = np.argwhere((red > 200) & (abs(green - 128) < 40) & (blue < 60))
        # The drawer with the tools is 390 wide; the largest view is the left half of what is right of it.
        middle = 390 + (picture.shape[1] - 390) / 2
        return found[(found[:, 1] > 400) & (found[:, 1] < middle - 8)]

    def frame(self) -> tuple[float, float, float, float]:
        """Left, right, top, bottom of the patch's frame."""
        places = self._orange()
        top, left = places.min(0).tolist()
        bottom, right = places.max(0).tolist()
        return left, right, top, bottom

    def paint(self, x: float, y: float, to: Any) -> np.ndarray:
        """Click with the brush; returns the labels in the patch (z, y, x), of which none is outside."""
        before, _ = self.labels(to)
        self.click(x, y)
        return self.changed(before, to)

    def click(self, x: float, y: float) -> None:
        """Click with the tool, whatever comes of it."""
        self.page.mouse.move(x, y)
        self.hand.settled(self.page)
        self.hand.act(self.page, self.page.mouse.down)
        self.hand.act(self.page, lambda: self.page.mouse.move(x + 1, y))
        self.hand.act(self.page, self.page.mouse.up)

    def changed(self, before: np.ndarray, to: Any) -> np.ndarray:
        """Wait until the labels are others; returns them."""
        found = [before]

        def changed() -> bool:
            labels, outside = self.labels(to)
            assert outside == 0
            found.append(labels)
            return bool((labels != before).any())

        self.hand.wait(self.page, changed, "Nothing has changed.")
        return found[-1]

    def choose(self, label: str) -> None:
        self.slicer.locator(".v-list-item", has=self.slicer.locator(f"input[value='{label}']")).first.click()
        self.hand.settled(self.page)

    def labels(self, to: Any) -> tuple[np.ndarray, int]:
        """In the patch (z, y, x), and how many voxels outside are labelled."""
        said = self.process.ask(do="labels", task=self.task, to=str(to))
        return np.load(to), said["outside"]


@pytest.mark.parametrize("geometry", FIVE)
def test_the_sphere_brush_stays_in_the_patch_and_the_draft_goes_to_the_light_page(tasks, browser, people, tmp_path, geometry):
    crop, first = OneCrop.of(tmp_path, geometry), tasks.seen[0].id
    with serving(601, crops=crop, people=people) as served, person(browser, served, 1280, 800, quiet=False) as one:
        painter = Painter(one, people)
        painter.open(first)
        left, _, top, bottom = painter.frame()
        now = tmp_path / "now.npy"
        painted = painter.paint(left, (top + bottom) / 2, now)  # half outside
        assert set(np.unique(painted)) == {0, 1}
        painter.slicer.locator(".mdi-undo").click()
        blank = painter.changed(painted, now)
        assert not blank.any()
        painter.slicer.locator(".mdi-redo").click()
        np.testing.assert_array_equal(painter.changed(blank, now), painted)
        one.page.evaluate("window.annotation.draft()")
        one.wait("document.getElementById('kept').textContent.startsWith('Draft kept')", 60)
        one.page.locator("#other-editor").click()
        one.ready()
        whole = np.zeros(crop.page["shape"], np.uint8)
        whole[BOX.slices] = painted
        affine = nibabel.load(crop.folder / "start.nii.gz").affine
        np.testing.assert_array_equal(one.bitmap().T, in_ras(whole.T, affine))


def test_what_was_painted_in_slicer_is_what_the_ledger_holds(tasks, browser, people, tmp_path):
    seen, other = tasks.seen[0], tasks.seen[3]
    with serving(601, people=people) as served, person(browser, served, 1280, 800, quiet=False) as one:
        painter = Painter(one, people)
        painter.open(seen.id)
        one.do("unsure")  # nothing is painted
        one.wait("document.getElementById('said').className === 'error'", 60)
        assert "the whole patch is ignore" in one.page.locator("#said").text_content()
        painter.choose("lesion")
        left, right, top, bottom = painter.frame()
        painted = painter.paint((left + right) / 2, (top + bottom) / 2, tmp_path / "now.npy")
        assert set(np.unique(painted)) == {0, 2}
        one.do("done")
        assert "lesion" in one.saved()
        following = one.page.evaluate("document.body.dataset.status")
        assert following == "done"
        np.testing.assert_array_equal(painted_in_file_order(seen, painted), tasks.counted(seen))
        (worked,) = tasks.events("time")
        assert 0 < worked["seconds"] < 600
        painter.open(other.id)  # the same process
        assert not painter.labels(tmp_path / "now.npy")[0].any()
        one.page.goto(served.address)
        assert one.page.locator("a.annotate").first.get_attribute("href").endswith("/slicer")
        one.page.goto(f"{served.address}/tasks/{seen.id}")
        one.ready()
        answer = np.zeros(seen.truth.shape, np.uint8)
        answer[seen.box] = tasks.counted(seen)
        np.testing.assert_array_equal(image_in_ras(answer, seen.shown), one.bitmap())


def test_a_verdict_is_given_beside_slicer_and_taken_back(tasks, browser, people):
    first, second = tasks.seen[:2]
    with serving(601, people=people) as served, person(browser, served, 1280, 800, quiet=False) as one:
        painter = Painter(one, people)
        painter.open(first.id)
        one.page.locator("#ask-verdict").click()
        one.page.locator("#verdict [name=why]").fill("a knee")
        look(one.page, "slicer_dialog")
        one.page.locator("[data-verdict=irrelevant]").click()
        one.wait("document.getElementById('said').textContent.startsWith('The patch is irrelevant')")
        assert one.page.locator("#status").text_content() == "● done"
        look(one.page, "slicer_irrelevant")
        assert [(vote.task, vote.irrelevant, vote.why) for vote in verdicts(tasks.experiment)] == [(first.id, True, "a knee")]
        one.do("next")
        one.page.wait_for_url(lambda url: url.endswith(f"{second.id}/slicer"))
        painter.open(first.id)
        assert "The patch is irrelevant, says anna: a knee" in one.page.locator("#start").text_content()
        one.page.locator("#ask-verdict").click()
        one.page.locator("[data-verdict=relevant]").click()
        one.wait("document.getElementById('said').textContent.startsWith('The patch is relevant')")
        assert one.page.locator("#status").text_content() == "○ open"
    assert [(vote.task, vote.irrelevant) for vote in verdicts(tasks.experiment)] == [(first.id, False)]


def test_a_locked_label_is_not_painted_over(tasks, browser, people, tmp_path):
    first, now = tasks.seen[0].id, tmp_path / "now.npy"
    with serving(601, people=people) as served, person(browser, served, 1280, 800, quiet=False) as one:
        painter = Painter(one, people)
        painter.open(first)
        left, right, top, bottom = painter.frame()
        middle, height, beside = (left + right) / 2, (top + bottom) / 2, left + 0.8 * (right - left)
        painter.choose("organ")
        organ = painter.paint(middle, height, now) == 1
        lock = one.page.locator("input[name=lock][value=organ]")
        with one.page.expect_response(lambda reply: "/lock" in reply.url, timeout=180_000) as locked:
            lock.check()
        assert locked.value.ok
        painter.choose("lesion")
        painter.click(middle, height)
        both = painter.paint(beside, height, now)
        np.testing.assert_array_equal(both == 1, organ)
        with one.page.expect_response(lambda reply: "/lock" in reply.url, timeout=180_000):
            lock.uncheck()
        over = painter.paint(middle, height, now)
        assert ((over == 2) & organ).any()
        assert people.process("anna").ask(do="labels", task=first, to=str(now))["outside"] == 0


def painted_in_file_order(seen: Any, painted: np.ndarray) -> np.ndarray:
    """What counts is in the order of the crop's file, as the editor's labels are."""
    assert painted.shape == tuple(part.stop - part.start for part in seen.box)
    return painted


def test_the_expert_draws_each_voxel(tasks, browser, people, tmp_path):
    """Pieces with holes, diagonal neighbours, labels in labels; the planes begin in the middle of a voxel."""
    crop, first = OneCrop.of(tmp_path, "RAS"), tasks.seen[0].id
    start = sitk.ReadImage(str(crop.folder / "start.nii.gz"))
    rng = np.random.default_rng(3)
    blobs = ndimage.gaussian_filter(rng.normal(0, 1, (2, *SHAPE)), (0, 1, 1, 1))
    truth = np.where(blobs[0] > 0, 1 + (blobs[1] > 0.05), 0).astype(np.uint8)
    labels = sitk.GetImageFromArray(truth)
    labels.CopyInformation(start)
    with serving(601, crops=crop, people=people) as served, person(browser, served, 1280, 800, quiet=False) as one:
        one.open(first)
        hand = SlicerHand(LightHand(rng))
        hand.open(one.page)
        counts = hand.paint(one.page, Anatomy(labels))
        said = people.process("anna").ask(do="labels", task=first, to=str(tmp_path / "now.npy"))
    assert said["outside"] == 0
    found = np.load(tmp_path / "now.npy")
    np.testing.assert_array_equal(found, truth[BOX.slices])
    assert counts == dict(zip(*(part.tolist() for part in np.unique(found, return_counts=True)), strict=True))
