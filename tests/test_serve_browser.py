"""A person at the pages of the server in Chromium: from the mouse to the ledger, drafts, refusals, points."""

from __future__ import annotations

import io

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from serving import person, serving

from nnactive_ext.experiment.spaces import space_and_properties
from nnactive_ext.labelling.labels import blank
from nnactive_ext.labelling.tasks import tasks_of


def in_ras(labels: np.ndarray, like: sitk.Image) -> np.ndarray:
    """(z, y, x) on the grid of ``like``, in RAS order, by nibabel."""
    direction = np.reshape(like.GetDirection(), (3, 3)) * np.asarray(like.GetSpacing())
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.block([[direction, np.zeros((3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]])
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(labels.T.astype(np.uint8), affine))
    return np.asarray(image.dataobj).T


def middle(frame: list[list[int]]) -> list[int]:
    return [(first + last - 1) // 2 for first, last in frame]


def test_what_the_mouse_painted_is_what_the_ledger_holds(tasks, browser):
    seen = tasks.seen[0]
    with serving(601) as served, person(browser, served) as one:
        one.page.locator("a.annotate").first.click()
        one.ready()
        frame = one.frame()
        left, right = middle(frame), middle(frame)
        left[0], right[0] = frame[0][0], frame[0][1] - 1
        for _ in range(2):
            one.key("[")  # one voxel
        one.key("2")
        one.drag("axial", left, right)
        painted = one.bitmap()
        assert np.count_nonzero(painted) == frame[0][1] - frame[0][0]
        assert tasks.events() == []
        one.do("done")
        assert "lesion" in one.saved()
        assert one.page.locator("#status").text_content() == "● done"
        one.key(" ")
        one.page.wait_for_url(lambda url: url.endswith(tasks.seen[1].id))
        one.ready()
        one.page.goto(served.address)
        assert one.page.locator("[data-status=done]").count() == 1
    (event,) = tasks.events()
    assert event["task"] == seen.id
    answer = np.zeros(seen.truth.shape, np.uint8)
    answer[seen.box] = tasks.counted(seen)
    np.testing.assert_array_equal(in_ras(answer, seen.shown), painted)
    (worked,) = tasks.events("time")
    assert 0 < worked["seconds"] < 600


@pytest.mark.slow
def test_a_reload_goes_on_from_the_draft(tasks, browser):
    seen = tasks.seen[3]
    with serving(601) as served, person(browser, served) as one:
        one.open(seen.id)
        place = middle(one.frame())
        one.key("1")
        one.drag("axial", place, place)
        painted = one.bitmap()
        assert painted.any()
        one.page.evaluate("window.annotation.draft()")
        one.wait("document.getElementById('kept').textContent.startsWith('Draft kept')")
        one.page.reload()
        one.ready()
        np.testing.assert_array_equal(one.bitmap(), painted)
        assert "unfinished work" in one.page.locator("#start").text_content()
        assert tasks.events() == []
        with person(browser, served) as other:  # the same person on another machine
            other.open(seen.id)
            np.testing.assert_array_equal(other.bitmap(), painted)


@pytest.mark.slow
def test_what_is_undecided_stays_open(tasks, browser):
    seen = tasks.seen[1]
    with serving(601) as served, person(browser, served, quiet=False) as one:
        one.open(seen.id)
        one.do("unsure")  # nothing is painted: nothing would be said
        one.wait("document.getElementById('said').className === 'error'")
        assert "the whole patch is ignore" in one.page.locator("#said").text_content()
        assert tasks.events() == []
        place = middle(one.frame())
        one.key("1")
        one.drag("axial", place, place)
        count = np.count_nonzero(one.bitmap())
        one.do("unsure")
        assert "left as ignore" in one.saved()
    answer = tasks.counted(seen)
    assert np.count_nonzero(answer == 1) == count
    assert np.count_nonzero(answer == seen.names["ignore"]) == answer.size - count


@pytest.mark.slow
def test_the_server_is_gone_and_the_drawing_is_not(tasks, browser):
    seen = tasks.seen[2]
    with serving(601) as served, person(browser, served, quiet=False) as one:
        one.open(seen.id)
        place = middle(one.frame())
        one.key("2")
        one.drag("axial", place, place)
        painted = one.bitmap()
        one.page.context.set_offline(True)
        one.do("done")
        one.wait("document.getElementById('said').className === 'error'")
        assert "does not answer" in one.page.locator("#said").text_content()
        np.testing.assert_array_equal(one.bitmap(), painted)
        one.page.context.set_offline(False)
        one.do("done")
        one.saved()
    assert len(tasks.events()) == 1


@pytest.mark.slow
def test_a_structure_is_marked_with_a_click(rollout, browser):
    """In an image that is tilted: the patch lies around the voxel that was clicked."""
    experiment = rollout.plan()
    before = len(tasks_of(experiment, 0))
    case = sorted(experiment.plan.pool)[0]
    reference = sitk.ReadImage(str(rollout.label(case)))
    labels = sitk.GetArrayFromImage(reference)
    lesion = in_ras(labels == 2, reference)
    z, y, x = np.argwhere(lesion)[len(np.argwhere(lesion)) // 2].tolist()
    with serving(601) as served, person(browser, served) as one:
        one.page.goto(f"{served.address}/points")
        one.wait("document.body.dataset.ready === 'yes'")
        one.page.evaluate("window.annotation = {editor: window.marking.viewer}")
        one.page.mouse.click(*one.spot("axial", [x, y, z]))
        one.key("2")
        one.key("m")
        one.page.locator("#add").click()
        one.wait("document.getElementById('said').className === 'good'")
        assert "1 patch added" in one.page.locator("#said").text_content()
    (task,) = tasks_of(rollout.experiment, 0)[before:]
    assert (task.patch.case, task.stratum) == (case, "marked: lesion")
    space, _ = space_and_properties(rollout.experiment, case)
    marked = blank(space.shape, 0)
    marked[task.patch.slices] = 1
    on_file = sitk.Resample(space.image(marked), reference, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    assert in_ras(sitk.GetArrayFromImage(on_file), reference)[z, y, x] == 1
    assert (labels[sitk.GetArrayFromImage(on_file) == 1] == 2).any()


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 1024])
def test_the_editor_fits_and_is_dark(tasks, browser, width):
    with serving(601) as served, person(browser, served, width, 800) as one:
        one.open(tasks.seen[0].id)
        assert one.page.evaluate("document.documentElement.scrollWidth") <= width
        assert one.page.evaluate("document.documentElement.scrollHeight") <= 800
        for name in ("done", "unsure", "next", "undo"):
            box = one.page.locator(f"button[data-do={name}]").bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
            assert box["y"] + box["height"] <= 800
        corner = np.asarray(Image.open(io.BytesIO(one.page.screenshot())).convert("L"))[-5:, -5:]
        assert corner.mean() < 60
        one.key("?")
        assert one.page.locator("#help").is_visible()
