"""From the mouse to the labels that are trained on: unchanged saves, strokes along the border, the wheel, two people."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from serving import person, serving
from test_serve_browser import in_ras as shown_in_ras
from test_serve_browser import middle
from test_serve_editor import BOX, GEOMETRIES, IGNORE, OneCrop, check_saved, in_ras, saved

from nnactive_ext.labelling.tasks import Task


class CropOfEach:
    """Instead of the server's cache: each task has a crop in another geometry, with labels to start with."""

    def __init__(self, folder: Path, tasks: list[str]):
        self.crops = {}
        for number, (task, geometry) in enumerate(zip(tasks, GEOMETRIES, strict=True)):
            (folder / task).mkdir(parents=True)
            crop = OneCrop.of(folder / task, geometry)
            image = sitk.ReadImage(str(crop.folder / "start.nii.gz"))
            labels = sitk.GetArrayFromImage(image)
            labels[BOX.slices] = np.random.default_rng(number).integers(0, IGNORE + 1, BOX.size)
            started = sitk.GetImageFromArray(labels)
            started.CopyInformation(image)
            sitk.WriteImage(started, str(crop.folder / "start.nii.gz"))
            self.crops[task] = crop

    def task(self, experiment: Any, task: Task) -> tuple[Path, dict[str, Any]]:
        return self.crops[task.id].task(experiment, task)

    def has(self, task: Task) -> bool:
        return False

    def ahead(self, experiment: Any, tasks: Any) -> None:
        pass

    def close(self) -> None:
        pass


def test_an_unchanged_save_is_equal_in_every_voxel(tasks, browser, tmp_path):
    names = [task.id for task in tasks.seen]
    crops = CropOfEach(tmp_path, names)
    with serving(601, crops=crops) as served, person(browser, served, 640, 480) as one:
        for task in names:
            one.open(task)
            start = nibabel.load(crops.crops[task].folder / "start.nii.gz")
            found = saved(one, tmp_path)
            assert found.get_data_dtype() == np.uint8
            assert len(np.unique(np.asarray(start.dataobj))) == IGNORE + 1
            np.testing.assert_allclose(found.affine, start.affine, atol=1e-4)
            np.testing.assert_array_equal(np.asarray(found.dataobj), np.asarray(start.dataobj), err_msg=task)


def ring(frame: list[list[int]], axes: tuple[int, int], out: int) -> list[list[int]]:
    """The corners of the frame's border in the middle slice across the other axis, ``out`` voxels outside of it."""
    corners = []
    for near in ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0)):
        voxel = middle(frame)
        for axis, side in zip(axes, near, strict=True):
            voxel[axis] = frame[axis][1] - 1 + out if side else frame[axis][0] - out
        corners.append(voxel)
    return corners


PLANES = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}


@pytest.mark.slow
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_strokes_along_the_border_stay_in_the_patch(tasks, browser, tmp_path, geometry):
    """A wide pen on the border's own voxels, outlines around it, the wand on a structure that it cuts, the eraser, undo."""
    crop = OneCrop.of(tmp_path, geometry)
    start = nibabel.load(crop.folder / "start.nii.gz")
    inside = in_ras((np.asarray(start.dataobj) == 0).astype(np.uint8), start.affine).T == 1
    image = nibabel.load(crop.folder / "image_0.nii.gz")
    cut = (in_ras((np.asarray(image.dataobj) > 300).astype(np.uint8), image.affine).T == 1) & inside
    with serving(601, crops=crop) as served, person(browser, served, 720, 560) as one:
        one.open(tasks.seen[0].id)
        frame = one.frame()
        states = [one.bitmap()]

        def step() -> np.ndarray:
            states.append(one.bitmap())
            assert not states[-1][~inside].any(), "something is painted outside of the frame"
            assert (states[-1] != states[-2]).any()
            return states[-1]

        def border(plane: str, out: int = 0) -> np.ndarray:
            """The voxels of the frame's border in the middle slice of a plane."""
            found = np.zeros(states[0].shape, bool)
            corners = ring(frame, PLANES[plane], out)
            for a, b in pairwise(corners):
                low, high = np.minimum(a, b), np.maximum(a, b)
                found[tuple(slice(max(0, lo), hi + 1) for lo, hi in zip(low[::-1], high[::-1], strict=True))] = True
            return found

        one.key("]")
        one.key("]")  # 5 voxels: 2 of them beyond the border
        for number, plane in enumerate(PLANES):
            label = 1 + number % 2
            one.key(str(label))
            one.key("p")
            one.drag(plane, *ring(frame, PLANES[plane], 0))
            assert (step()[border(plane)] == label).all()
        one.key("o")
        one.key("2")
        for plane, (a, b) in PLANES.items():
            one.drag(plane, *ring(frame, (a, b), 1))
            z, y, x = (slice(*frame[2]), slice(*frame[1]), slice(*frame[0]))
            whole: list[Any] = [z, y, x]
            through = ({0, 1, 2} - {a, b}).pop()
            whole[2 - through] = middle(frame)[through]
            assert (step()[tuple(whole)] == 2).all()
        one.key("x")
        one.drag("axial", *ring(frame, PLANES["axial"], 0))
        assert not step()[border("axial")].any()
        one.key("i")
        one.drag("sagittal", *ring(frame, PLANES["sagittal"], 0))
        assert (step()[border("sagittal")] == IGNORE).all()
        check_saved(one, crop, states[-1])
        one.do("clear")
        assert not step().any()
        one.key("1")
        one.key("w")
        edge = np.argwhere(cut & ~np.roll(inside, 1, 0) | cut & ~np.roll(inside, 1, 1) | cut & ~np.roll(inside, 1, 2))
        edge = edge if len(edge) else np.argwhere(cut)
        z, y, x = edge[0].tolist()
        one.page.mouse.click(*one.spot("axial", [x, y, z]))
        np.testing.assert_array_equal(step()[z] == 1, cut[z])
        for before in states[-2::-1]:
            one.key("z")
            np.testing.assert_array_equal(one.bitmap(), before)


def test_the_wheel_turns_slices_with_every_tool(tasks, browser, tmp_path):
    crop = OneCrop.of(tmp_path, "LPS")
    with serving(601, crops=crop) as served, person(browser, served, 720, 560) as one:
        one.open(tasks.seen[0].id)
        place = one.spot("axial", middle(one.frame()))
        slice_ = "Math.floor(window.annotation.editor.nv.scene.crosshairPos[2] * window.annotation.editor.dims[2])"
        for tool in "poxwv":
            one.key(tool)
            before = one.page.evaluate(slice_)
            one.page.mouse.move(*place)
            one.page.mouse.wheel(0, 100)
            one.wait(f"{slice_} !== {before}", 5)
            one.page.mouse.wheel(0, -100)
            one.wait(f"{slice_} === {before}", 5)
            assert not one.bitmap().any()


@pytest.mark.slow
def test_what_the_wand_would_paint_is_shown_under_the_mouse_only(tasks, browser, tmp_path):
    """Nothing is shown as painted that is not."""
    crop = OneCrop.of(tmp_path, "LPS")
    with serving(601, crops=crop) as served, person(browser, served, 720, 560) as one:
        one.open(tasks.seen[0].id)
        x, y = one.spot("axial", middle(one.frame()))
        one.key("w")
        one.key("c")
        one.page.mouse.move(700, 500)
        before = one.seen()

        def hover() -> None:
            one.page.mouse.move(x, y)
            one.page.mouse.move(x + 2, y)
            assert (one.seen() != before).any()

        def outside() -> None:
            one.page.mouse.move(700, 500)

        def turned() -> None:
            slice_ = "window.annotation.editor.nv.scene.crosshairPos[2]"
            at = one.page.evaluate(slice_)
            one.page.mouse.wheel(0, 100)
            one.wait(f"{slice_} !== {at}", 5)
            one.page.mouse.move(x, 2)  # the header, straight away
            one.key("c")

        def another_tool() -> None:
            one.key("v")

        for leave in (outside, turned, another_tool):
            hover()
            leave()
            one.page.wait_for_timeout(200)
            np.testing.assert_array_equal(one.seen(), before, err_msg=leave.__name__)


def test_what_was_drawn_is_what_is_trained_on(tasks, browser):
    """Voxel for voxel in ``labelsTr``, once the cycle is closed."""
    seen = next(task for task in tasks.seen if not any(other_overlaps(tasks, task)))
    case = tasks.patch(seen).case
    with serving(601) as served, person(browser, served, 720, 560) as one:
        one.open(seen.id)
        frame = one.frame()
        low, high = [first for first, _ in frame], [last - 1 for _, last in frame]
        for _ in range(2):
            one.key("[")
        one.key("1")
        one.drag("axial", [low[0], low[1], low[2]], [high[0], high[1], low[2]])
        one.key("2")
        one.drag("coronal", [low[0], high[1], high[2]], [high[0], high[1], high[2]])
        painted = one.bitmap()
        assert set(np.unique(painted)) == {0, 1, 2}
        one.do("done")
        one.saved()
    others = [task for task in tasks.seen if task.id != seen.id]
    for task in others:
        import_ = task.answer()
        task.write(import_)
    tasks.hand_in(*(task.label for task in others), who="ben", more="--accept_unchanged")
    tasks.annotate("close --disable_progress_bar")
    patch = tasks.patch(seen)
    answer = np.zeros(seen.truth.shape, np.uint8)
    answer[seen.box] = tasks.labels(case)[patch.slices]
    np.testing.assert_array_equal(shown_in_ras(answer, seen.shown), painted)


def other_overlaps(tasks: Any, task: Any) -> list[bool]:
    return [other.id != task.id and tasks.patch(other).overlaps(tasks.patch(task)) for other in tasks.seen]


@pytest.mark.slow
def test_what_is_painted_while_an_answer_is_saved_is_kept(tasks, browser):
    """It is not in the answer, and not lost: it is a draft."""
    seen = tasks.seen[3]
    with serving(601) as served, person(browser, served, 720, 560) as one:
        served.site.patience = 30.0
        one.open(seen.id)
        low, high = [first for first, _ in one.frame()], [last - 1 for _, last in one.frame()]
        one.key("1")
        one.drag("axial", low, low)
        first = one.bitmap()
        with served.site.experiment.lock():  # another command is at work: the answer waits
            one.do("done")
            one.key("2")
            one.drag("axial", high, high)
            assert one.page.locator("#said").text_content().startswith("Saving")
        one.saved()
        later = one.bitmap()
        assert set(np.unique(later)) == {0, 1, 2}
        answer = np.zeros(seen.truth.shape, np.uint8)
        answer[seen.box] = tasks.counted(seen)
        np.testing.assert_array_equal(shown_in_ras(answer, seen.shown), first)
        one.page.evaluate("window.annotation.draft()")
        one.wait("document.getElementById('kept').textContent.startsWith('Draft kept')")
        one.page.reload()
        one.ready()
        np.testing.assert_array_equal(one.bitmap(), later)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 1024])
def test_the_page_for_points_fits(tasks, browser, width):
    with serving(601) as served, person(browser, served, width, 768) as one:
        one.page.goto(f"{served.address}/points")
        one.wait("document.body.dataset.ready === 'yes'")
        assert one.page.evaluate("document.documentElement.scrollWidth") <= width
        assert one.page.evaluate("document.querySelector('aside').scrollWidth <= document.querySelector('aside').clientWidth")
        box = one.page.locator("#add").bounding_box()
        assert box["x"] + box["width"] <= width
        assert one.page.evaluate("document.getElementById('add').scrollWidth <= document.getElementById('add').clientWidth")


@pytest.mark.slow
def test_two_people_paint_one_task(tasks, browser):
    """Each sees that the other is there; both answers are kept, and the rule says which counts."""
    seen = tasks.seen[1]
    with serving(601) as served, person(browser, served, 720, 560) as anna, person(browser, served, 720, 560) as ben:
        ben.page.locator("input[name=who]").fill("ben")
        ben.page.locator("form.who button").click()
        anna.open(seen.id)
        ben.open(seen.id)
        assert "anna" in ben.page.locator("#others").text_content()
        place = middle(anna.frame())
        for one, label in ((anna, "1"), (ben, "2")):
            one.key(label)
            one.drag("axial", place, place)
        assert set(np.unique(anna.bitmap())) == {0, 1}, "nobody sees what the other paints"
        assert set(np.unique(ben.bitmap())) == {0, 2}
        ben.do("done")
        ben.saved()
        anna.page.evaluate("window.annotation.draft()")
        anna.wait("document.getElementById('others').textContent.includes('ben')")
        anna.do("done")
        anna.saved()
        painted = {"ben": ben.bitmap(), "anna": anna.bitmap()}
    assert [event["who"] for event in tasks.events()] == ["ben", "anna"]
    for who in ("ben", "anna"):
        tasks.annotate(f"rule {who}")
        answer = np.zeros(seen.truth.shape, np.uint8)
        answer[seen.box] = tasks.counted(seen)
        np.testing.assert_array_equal(shown_in_ras(answer, seen.shown), painted[who])


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["mine", "reload"])
def test_a_second_tab_asks_before_it_replaces_a_draft(tasks, browser, choice):
    seen = tasks.seen[2]
    with (
        serving(601) as served,
        person(browser, served, 720, 560, quiet=False) as one,
        person(browser, served, 720, 560) as two,
    ):
        one.open(seen.id)
        two.open(seen.id)
        place = middle(one.frame())
        two.key("2")
        two.drag("axial", place, place)
        two.page.evaluate("window.annotation.draft()")
        two.wait("document.getElementById('kept').textContent.startsWith('Draft kept')")
        one.key("1")
        one.drag("axial", place, place)
        one.page.evaluate("window.annotation.draft()")
        one.wait("!document.getElementById('overtaken').hidden")
        assert (one.bitmap() == 1).any(), "the drawing is still there"
        wanted = {"mine": one, "reload": two}[choice].bitmap()
        one.do(choice)
        if choice == "mine":
            one.wait("document.getElementById('kept').textContent.startsWith('Draft kept')")
        else:
            one.page.wait_for_timeout(500)
            one.ready()
        np.testing.assert_array_equal(one.bitmap(), wanted)
        with person(browser, served, 720, 560) as later:
            later.open(seen.id)
            np.testing.assert_array_equal(later.bitmap(), wanted)
