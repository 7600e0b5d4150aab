"""Prompts for nnInteractive in Chromium with a real mouse: what the stand-in computed is what the patch shows, and no more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from nninteractive_server import StandIn, grown, stand_in, until
from serving import Person, person, serving
from test_serve_editor import GEOMETRIES, OneCrop, check_saved, in_ras, once

from nnactive_ext.serve.interactive import Interactive

GREY = {"A": 500, "B": 800}
"""Of the two structures, which lie in the patch and go on outside of it."""


@dataclass
class Prompting:
    """A person at a task with prompts; arrays are (z, y, x) in RAS order."""

    one: Person
    server: StandIn
    crop: OneCrop
    interactive: Interactive

    def __post_init__(self) -> None:
        file = nibabel.load(self.crop.folder / "image_0.nii.gz")
        start = nibabel.load(self.crop.folder / "start.nii.gz")
        self.image = in_ras(np.asarray(file.dataobj), file.affine).T
        self.inside = in_ras((np.asarray(start.dataobj) == 0).astype(np.uint8), start.affine).T == 1
        self.affine = file.affine

    def structure(self, name: str) -> np.ndarray:
        return np.abs(self.image - GREY[name]) < 30

    def within(self, name: str) -> list[int]:
        """A voxel (x, y, z) in the middle of what the patch holds of a structure."""
        places = np.argwhere(self.structure(name) & self.inside)
        return places[len(places) // 2][::-1].tolist()

    def click(self, plane: str, voxel: list[int]) -> None:
        self.one.page.mouse.click(*self.one.spot(plane, voxel))

    def answered(self, words: str = "added") -> str:
        said = f"document.getElementById('said').textContent.includes({words!r})"
        self.one.wait(f"{said} && !document.body.dataset.prompting")
        return self.one.page.locator("#said").text_content()

    def asked(self, kind: str) -> list[Any]:
        return [what for name, what in self.server.calls if name == kind]

    def sent(self, mask: np.ndarray) -> np.ndarray:
        """A mask as the server got it, in RAS order."""
        return in_ras(mask.T.astype(np.uint8), self.affine).T == 1


def two_structures(folder: Path, geometry: str) -> OneCrop:
    crop = OneCrop.of(folder, geometry)
    image = sitk.ReadImage(str(folder / "image_0.nii.gz"))
    array = np.random.default_rng(3).normal(100, 2, image.GetSize()[::-1]).astype(np.float32)
    array[7:10, 9:13, 4:13] += GREY["A"] - 100
    array[6:11, 8:14, 15:22] += GREY["B"] - 100
    made = sitk.GetImageFromArray(array)
    made.CopyInformation(image)
    sitk.WriteImage(made, str(folder / "image_0.nii.gz"))
    return crop


@contextmanager
def prompting(
    tasks, browser, folder: Path, geometry: str = "oblique", patience: float = 10.0, quiet: bool = True, **server: Any
) -> Iterator[Prompting]:
    crop = two_structures(folder, geometry)
    with stand_in(**server) as other:
        interactive = Interactive(other.url, patience)
        interactive.greeting()
        until(lambda: not other.sessions)
        other.calls.clear()
        with serving(601, crops=crop, interactive=interactive) as served, person(browser, served, quiet=quiet) as one:
            one.open(tasks.seen[0].id)
            yield Prompting(one, other, crop, interactive)
        interactive.close()


@pytest.mark.parametrize("geometry", [once(name) for name in GEOMETRIES])
def test_a_point_paints_what_the_server_computed_in_the_patch_only(tasks, browser, tmp_path, geometry):
    with prompting(tasks, browser, tmp_path, geometry) as here:
        place = here.within("A")
        here.one.key("2")
        here.one.key("a")
        here.click("axial", place)
        assert "left out" in here.answered()
        point = np.zeros(here.image.shape, bool)
        point[tuple(place[::-1])] = True
        expected = grown(here.image, point)
        np.testing.assert_array_equal(expected, here.structure("A"))
        assert (expected & ~here.inside).any()
        np.testing.assert_array_equal(here.one.bitmap(), np.where(expected & here.inside, 2, 0))
        ((coordinates, include),) = here.asked("point")
        mask = np.zeros(here.server.images[0].shape[1:], bool)
        mask[coordinates] = True
        np.testing.assert_array_equal(here.sent(mask), point)
        assert include
        file = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "image_0.nii.gz")))
        np.testing.assert_array_equal(here.server.images[0], file[None])
        check_saved(here.one, here.crop, here.one.bitmap())
        here.one.key("z")
        assert not here.one.bitmap().any()
        here.one.key("z")  # nothing is left to undo
        assert not here.one.bitmap().any()


def test_prompts_work_where_their_script_comes_late(tasks, browser, tmp_path):
    with prompting(tasks, browser, tmp_path) as here:

        def late(route: Any) -> None:
            time.sleep(3)
            route.continue_()

        here.one.page.route("**/assets/interactive.js", late)
        here.one.open(tasks.seen[0].id)
        here.one.key("a")
        here.click("axial", here.within("A"))
        here.answered()


@pytest.mark.slow
@pytest.mark.parametrize("geometry", ["oblique", "sagittal slices", "thick"])
def test_scribbles_and_lassos_in_each_plane(tasks, browser, tmp_path, geometry):
    with prompting(tasks, browser, tmp_path, geometry) as here:
        one, planes = here.one, {"sagittal": 0, "coronal": 1, "axial": 2}
        middle = here.within("B")
        structure = here.structure("B") & here.inside
        for key, kind in (("s", "scribble"), ("d", "lasso")):
            for plane, normal in planes.items():
                a, b = [axis for axis in range(3) if axis != normal]
                places = np.argwhere(structure)[:, ::-1]
                low, high = places.min(0), places.max(0)
                first, last = list(middle), list(middle)
                first[a], last[a] = int(low[a]), int(high[a])
                corner = [list(first), list(last), list(last), list(first)]
                if kind == "lasso":
                    for voxel, at in zip(corner, (low[b], low[b], high[b], high[b]), strict=True):
                        voxel[b] = int(at)
                one.key(key)
                one.page.evaluate("document.getElementById('said').textContent = ''")
                one.drag(plane, *(corner if kind == "lasso" else (first, last)))
                here.answered()
                drawn, include = here.asked(kind)[-1]
                assert include
                expected = np.zeros(structure.shape, bool)
                edges = [slice(int(low), int(high) + 1) for low, high in zip(low, high, strict=True)]
                edges[normal] = slice(middle[normal], middle[normal] + 1)
                if kind == "scribble":
                    edges[b] = slice(middle[b], middle[b] + 1)
                expected[tuple(edges[::-1])] = True
                np.testing.assert_array_equal(here.sent(drawn), expected)
                np.testing.assert_array_equal(one.bitmap() == 1, grown(here.image, expected) & here.inside)
                one.key("z")
                assert not one.bitmap().any()
        assert here.server.names().count("set_image") == 1
        assert here.server.names().count("claim") == 1


def test_what_is_outside_is_taken_back_and_prompts_add_up(tasks, browser, tmp_path):
    with prompting(tasks, browser, tmp_path) as here:
        one, a, b = here.one, here.structure("A") & here.inside, here.structure("B") & here.inside
        one.key("2")  # painted over by the next, and back when that is taken back
        one.drag("axial", here.within("B"), here.within("B"))
        painted = one.bitmap()
        assert painted.any()
        one.key("1")
        one.key("a")
        for name in "AB":
            here.click("axial", here.within(name))
            here.answered()
        np.testing.assert_array_equal(one.bitmap(), np.where(a | b, 1, painted))
        both = one.bitmap()
        one.key("f")
        here.click("axial", here.within("B"))
        here.answered("0 voxels added")
        np.testing.assert_array_equal(one.bitmap(), np.where(a, 1, painted))
        assert [include for _, include in here.asked("point")] == [True, True, False]
        assert here.server.names().count("reset") == 1  # one object all along
        one.key("z")
        np.testing.assert_array_equal(one.bitmap(), both)
        one.key("s")
        one.drag("axial", here.within("B"), here.within("B"))
        here.answered("0 voxels added")
        np.testing.assert_array_equal(one.bitmap(), np.where(a, 1, painted))
        assert here.server.names()[-2:] == ["undo", "scribble"]  # the earlier prompts were kept


@pytest.mark.slow
def test_each_class_is_an_object_and_so_is_what_is_painted(tasks, browser, tmp_path):
    with prompting(tasks, browser, tmp_path) as here:
        one, a, b = here.one, here.structure("A") & here.inside, here.structure("B") & here.inside
        one.key("a")
        here.click("axial", here.within("A"))
        here.answered()
        one.key("2")
        here.click("axial", here.within("B"))
        here.answered("lesion")
        np.testing.assert_array_equal(one.bitmap(), np.where(a, 1, np.where(b, 2, 0)))
        assert here.server.names().count("reset") == 2
        # Of what is painted by hand the object goes on: it is in the result, which region growing alone would not give.
        one.key("x")
        one.drag("axial", here.within("A"), here.within("A"))
        one.key("1")
        before = one.bitmap()
        one.key("a")
        one.key("f")
        corner = [edge[0] for edge in one.frame()]
        here.click("axial", corner)
        here.answered("nothing changed")
        (start,) = here.asked("initial")
        np.testing.assert_array_equal(here.sent(start), before == 1)
        np.testing.assert_array_equal(one.bitmap(), before)
        # A new object of the class leaves the others alone, whatever the server thinks of it.
        one.key("f")
        one.key("n")
        here.click("axial", here.within("B"))
        here.answered()
        np.testing.assert_array_equal(one.bitmap(), np.where((before == 1) | b, 1, before))
        assert len(here.asked("initial")) == 1
        one.key("f")
        here.click("axial", here.within("B"))
        here.answered("0 voxels added")
        np.testing.assert_array_equal(one.bitmap(), before)


@pytest.mark.slow
def test_what_is_locked_stays(tasks, browser, tmp_path):
    with prompting(tasks, browser, tmp_path) as here:
        one = here.one
        one.key("1")
        one.drag("axial", here.within("A"), here.within("A"))
        painted = one.bitmap()
        one.page.locator("input[name=lock][value='1']").check()
        one.key("2")
        one.key("a")
        here.click("coronal", here.within("A"))
        assert "locked" in here.answered()
        expected = np.where(here.structure("A") & here.inside, 2, 0)
        np.testing.assert_array_equal(one.bitmap(), np.where(painted == 1, 1, expected))
        one.page.locator("input[name=lock][value='2']").check()
        one.key("f")
        here.click("coronal", here.within("A"))
        here.answered("0 removed")
        np.testing.assert_array_equal(one.bitmap() == 2, (expected == 2) & (painted != 1))


@pytest.mark.slow
def test_a_slow_server_leaves_the_page_usable(tasks, browser, tmp_path):
    with prompting(tasks, browser, tmp_path, patience=1.5, quiet=False, delay=30.0) as here:
        one = here.one
        one.key("a")
        here.click("axial", here.within("A"))
        one.wait("document.body.dataset.prompting")
        one.do("done")
        assert "still computes" in one.page.locator("#said").text_content()
        assert tasks.events() == []
        one.key("p")
        place = here.within("B")
        one.drag("axial", place, place)
        painted = one.bitmap()
        assert painted.any()
        here.answered("did not answer within 1.5 s")
        np.testing.assert_array_equal(one.bitmap(), painted)
        here.server.delay = 0.0
        one.key("n")
        one.key("a")
        here.click("axial", here.within("A"))
        here.answered()
        np.testing.assert_array_equal(one.bitmap() == 1, (here.structure("A") & here.inside) | (painted == 1))


@pytest.mark.slow
def test_waiting_can_be_given_up_and_what_was_painted_meanwhile_stays(tasks, browser, tmp_path):
    with prompting(tasks, browser, tmp_path, delay=1.0) as here:
        one, a = here.one, here.structure("A") & here.inside
        one.key("2")
        one.key("a")
        here.click("axial", here.within("A"))
        one.wait("document.body.dataset.prompting")
        one.key("1")
        one.key("p")
        place = here.within("B")
        one.drag("axial", place, place)
        painted = one.bitmap()
        here.answered()
        np.testing.assert_array_equal(one.bitmap(), np.where(a, 2, painted))
        shown = one.bitmap()
        one.key("2")
        one.key("a")
        here.click("axial", here.within("B"))
        one.wait("document.body.dataset.prompting")
        one.key("Escape")
        here.answered("Stopped waiting")
        np.testing.assert_array_equal(one.bitmap(), shown)
        here.server.delay = 0.0
        one.key("f")
        here.click("axial", here.within("A"))
        here.answered("0 voxels added")
        # The given up prompt is in no result.
        np.testing.assert_array_equal(one.bitmap(), np.where(a, 0, painted))


@pytest.mark.slow
def test_the_page_says_what_is_wrong_and_goes_on(tasks, browser, tmp_path):
    with prompting(tasks, browser, tmp_path, quiet=False, wrong="shape") as here:
        one = here.one
        one.key("a")
        here.click("axial", here.within("A"))
        here.answered("of a crop of")
        assert not one.bitmap().any()
        here.server.wrong = ""
        here.server.sessions.clear()  # restarted
        here.click("axial", here.within("A"))
        here.answered()
        assert one.bitmap().any()
        here.server.sessions.clear()
        here.click("axial", here.within("B"))
        here.answered("added")
        both = (here.structure("A") | here.structure("B")) & here.inside
        np.testing.assert_array_equal(one.bitmap() == 1, both)


@pytest.mark.slow
def test_the_session_ends_when_the_task_is_left(tasks, browser, tmp_path):
    with prompting(tasks, browser, tmp_path) as here:
        one = here.one
        assert here.server.sessions == {}  # nothing is sent before the first prompt
        one.key("a")
        here.click("axial", here.within("A"))
        here.answered()
        assert len(here.server.sessions) == 1
        one.page.evaluate("window.annotation.draft()")
        one.wait("document.getElementById('kept').textContent.startsWith('Draft kept')")
        one.page.goto(one.serving.address)
        until(lambda: here.server.sessions == {})


@pytest.mark.slow
def test_from_the_click_to_the_ledger(tasks, browser):
    """On the task's own crop, with both channels of the image: what was prompted is what the ledger holds."""
    seen = tasks.seen[0]
    with stand_in() as server:
        interactive = Interactive(server.url, 10.0)
        with serving(601, interactive=interactive) as served, person(browser, served) as one:
            one.open(seen.id)
            here = [(first + last - 1) // 2 for first, last in one.frame()]
            one.key("2")
            one.key("a")
            one.page.mouse.click(*one.spot("axial", here))
            one.wait("document.getElementById('said').textContent.includes('added')")
            painted = one.bitmap()
            assert (painted == 2).any()
            one.page.locator("#channel").select_option("1")
            one.page.mouse.click(*one.spot("axial", here))
            one.wait("document.getElementById('said').textContent.includes('added')")
            one.do("done")
            one.saved()
        assert [len(image) for image in server.images] == [1, 1]
        first, second = server.images
        assert first.shape == second.shape
        assert (first != second).any()
        interactive.close()
    (event,) = tasks.events()
    assert event["task"] == seen.id
    assert np.count_nonzero(tasks.counted(seen) == 2) >= np.count_nonzero(painted == 2)
