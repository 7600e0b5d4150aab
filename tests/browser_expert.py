"""An expert at the pages of a server: moves the mouse, reads what the pages show, and knows the anatomy by places in mm.

The expert knows no voxel of an experiment and opens none of its files. What a page shows is read once per slice
(:class:`Sight`): where its voxels are on the screen and in the patient, and which labels are painted there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from skimage import measure

Place = tuple[int, int]
"""A voxel of the slice that is seen, (row, column)."""
SLICER = "/slicer"
"""The end of the address of a task in 3D Slicer's editor."""
SIGHT = """
([what, plane]) => {
  const viewer = what === "points" ? window.marking.viewer : window.annotation.editor;
  const {nv, dims} = viewer, mine = plane === null ? viewer.large : plane;
  const [a, b] = [[0, 1], [0, 2], [1, 2]][mine], through = 2 - mine, cross = [...nv.scene.crosshairPos];
  const tile = nv.screenSlices.find(one => one.axCorSag === mine), {left, top} = viewer.canvas.getBoundingClientRect();
  const slice = Math.min(dims[through] - 1, Math.floor(cross[through] * dims[through]));
  const voxel = (column, row) => { const at = [0, 0, 0]; at[a] = column; at[b] = row; at[through] = slice; return at; };
  const corners = [voxel(0, 0), voxel(1, 0), voxel(0, 1)];
  const spots = corners.map(at => viewer.place(tile, at.map((v, axis) => (v + 0.5) / dims[axis])));
  const bounds = viewer.bounds(tile), labels = [];
  if (nv.drawBitmap) for (let row = 0; row < dims[b]; row++) for (let column = 0; column < dims[a]; column++) {
    const [x, y, z] = voxel(column, row);
    labels.push(nv.drawBitmap[x + dims[0] * (y + dims[1] * z)]);
  }
  return {
    plane: mine, slice, shape: [dims[b], dims[a]], labels,
    spots: spots.map(([x, y]) => [left + x, top + y]),
    mm: corners.map(at => Array.from(nv.vox2mm(at, nv.back.matRAS)).slice(0, 3)),
    tile: [left + bounds[0], top + bounds[1], bounds[2], bounds[3]],
    frame: viewer.frame && {columns: viewer.frame[a], rows: viewer.frame[b], slices: viewer.frame[through]},
  };
}
"""


@dataclass
class Sight:
    """One slice in one tile of a page. ``labels``: (rows, columns) as painted, empty where nothing can be painted."""

    plane: int
    slice: int
    labels: np.ndarray
    shape: tuple[int, int]
    spots: np.ndarray
    mm: np.ndarray
    tile: Sequence[float]
    frame: dict[str, list[int]] | None

    @classmethod
    def of(cls, page: Any, what: str = "task", plane: int | None = None) -> Sight:
        """``plane``: 0 axial, 1 coronal, 2 sagittal; default: the largest tile."""
        seen = page.evaluate(SIGHT, [what, plane])
        shape = tuple(seen["shape"])
        labels = np.array(seen["labels"], np.uint8).reshape(shape if seen["labels"] else (0, 0))
        spots, mm = np.array(seen["spots"]), np.array(seen["mm"])
        return cls(seen["plane"], seen["slice"], labels, shape, spots, mm, seen["tile"], seen["frame"])

    def on_screen(self, place: Place) -> tuple[float, float]:
        row, column = place
        x, y = self.spots[0] + column * (self.spots[1] - self.spots[0]) + row * (self.spots[2] - self.spots[0])
        return float(x), float(y)

    def visible(self, place: Place) -> bool:
        (x, y), (left, top, width, height) = self.on_screen(place), self.tile
        return left + 2 < x < left + width - 2 and top + 2 < y < top + height - 2

    def places_mm(self) -> np.ndarray:
        """Of every voxel of the slice: its place in the patient, (rows, columns, 3), RAS in mm."""
        rows, columns = np.indices(self.shape)
        return self.mm[0] + columns[..., None] * (self.mm[1] - self.mm[0]) + rows[..., None] * (self.mm[2] - self.mm[0])

    def inside(self) -> np.ndarray:
        """(rows, columns): whether a voxel lies in the orange frame."""
        within = np.zeros(self.shape, bool)
        if self.frame and self.frame["slices"][0] <= self.slice < self.frame["slices"][1]:
            within[slice(*self.frame["rows"]), slice(*self.frame["columns"])] = True
        return within


@dataclass(frozen=True)
class Anatomy:
    """What the expert knows of a patient: the class at a place. ``labels`` is a label map on any grid."""

    labels: sitk.Image

    @classmethod
    def of(cls, file: Path) -> Anatomy:
        return cls(sitk.ReadImage(str(file), sitk.sitkUInt8))

    def at(self, places: np.ndarray) -> np.ndarray:
        """Classes at ``places``, (..., 3) RAS in mm; 0 outside the image."""
        known = sitk.GetArrayViewFromImage(self.labels)
        axes = np.reshape(self.labels.GetDirection(), (3, 3)) * np.asarray(self.labels.GetSpacing())
        lps = places * [-1, -1, 1] - np.asarray(self.labels.GetOrigin())
        index = np.rint(lps @ np.linalg.inv(axes).T).astype(int)[..., ::-1]
        within = ((index >= 0) & (index < known.shape)).all(-1)
        z, y, x = np.moveaxis(np.where(within[..., None], index, 0), -1, 0)
        return np.where(within, known[z, y, x], 0).astype(np.uint8)


def outline(mask: np.ndarray) -> list[Place]:
    """The corners of the closed path through the border voxels of ``mask``, which is connected along rows and columns."""
    (path, *_) = sorted(measure.find_contours(np.pad(mask, 1).astype(float), 0.5), key=len, reverse=True)
    places: list[Place] = []
    for row, column in path - 1:  # each lies half way between a voxel of the mask and one outside
        near = {(int(np.floor(row)), int(np.floor(column))), (int(np.ceil(row)), int(np.ceil(column)))}
        (place,) = [(r, c) for r, c in near if 0 <= r < mask.shape[0] and 0 <= c < mask.shape[1] and mask[r, c]]
        if not places or places[-1] != place:
            places.append(place)
    kept = places[:1]
    for before, here, after in zip(places, places[1:], places[2:], strict=False):
        if (here[0] - before[0], here[1] - before[1]) != (after[0] - here[0], after[1] - here[1]):
            kept.append(here)
    return kept if len(places) < 2 else [*kept, places[-1]]


def runs(mask: np.ndarray) -> Iterator[tuple[Place, Place]]:
    """The first and the last voxel of each run along the rows of ``mask``."""
    for row in np.flatnonzero(mask.any(1)).tolist():
        edges = np.flatnonzero(np.diff(np.pad(mask[row], 1).astype(int))).reshape(-1, 2).tolist()
        yield from (((row, first), (row, behind - 1)) for first, behind in edges)


class Hand(Protocol):
    """How the expert works in one editor, whose page of a task is open."""

    used: dict[str, int]
    """How many strokes each tool made."""

    def open(self, page: Any) -> None:
        """Go from the page of a task, in any editor, to the editor of this hand, and wait until it can be painted in."""

    def paint(self, page: Any, anatomy: Anatomy, half: bool = False) -> dict[int, int]:
        """Paint what is in the frame; ``half``: in the middle slices only, on nothing. How many voxels show each label then."""

    def hand_in(self, page: Any, unsure: bool) -> str:
        """Press the button, wait for the reply and give its text."""

    def go_on(self, page: Any) -> None:
        """To the next task."""


@dataclass
class LightHand:
    """Works in the light page with pen, filled outline, eraser and undo."""

    rng: np.random.Generator
    look: Callable[[Any, str], None] = lambda page, what: None
    used: dict[str, int] = field(default_factory=dict)
    """How many strokes each tool made."""

    def open(self, page: Any) -> None:
        if in_slicer(page):  # whoever used it last is led there
            page.locator("#other-editor").click()
            page.wait_for_url(lambda url: not url.endswith(SLICER))
        until(page, "document.body.dataset.ready")
        assert page.evaluate("document.body.dataset.ready") == "yes", page.locator("#said").text_content()

    def paint(self, page: Any, anatomy: Anatomy, half: bool = False) -> dict[int, int]:
        for _ in range(2):
            page.keyboard.press("[")  # a pen of one voxel
        assert page.locator("#size-now").text_content() == "1"
        sight = Sight.of(page)
        assert sight.frame
        first, behind = sight.frame["slices"]
        quarter = (behind - first) // 4 if half else 0
        if half:
            page.locator("button[data-do=clear]").click()
        for number in range(first + quarter, behind - quarter):
            self.scroll(page, number)
            self.slice(page, anatomy)
            if number == (first + behind) // 2:
                self.look(page, "painted")
        return self.counts(page)

    def hand_in(self, page: Any, unsure: bool) -> str:
        page.locator(f"button[data-do={'unsure' if unsure else 'done'}]").click()
        until(page, "['good', 'error'].includes(document.getElementById('said').className)")
        said = page.locator("#said").text_content()
        assert page.locator("#said").get_attribute("class") == "good", said
        return said

    def go_on(self, page: Any) -> None:
        page.keyboard.press(" ")

    def counts(self, page: Any) -> dict[int, int]:
        """How many voxels in the frame show each label, as the editor counts them."""
        counted = page.evaluate("Array.from(window.annotation.editor.count().counts)")
        return {int(value): int(number) for value, number in counted}

    def scroll(self, page: Any, number: int) -> None:
        """Turn the wheel over the largest plane until it shows slice ``number``."""
        sight, way = Sight.of(page), 100
        for _ in range(200):
            if sight.slice == number:
                return
            now = wheel(page, sight, way)
            if abs(now.slice - number) > abs(sight.slice - number):
                way = -way
            sight = now
        raise AssertionError(f"the wheel does not reach slice {number}; it shows {sight.slice}")

    def slice(self, page: Any, anatomy: Anatomy) -> None:
        """Make the slice that is shown equal to the anatomy inside the frame."""
        sight = Sight.of(page)
        inside, truth = sight.inside(), anatomy.at(sight.places_mm())
        assert inside.any()
        assert not sight.labels[~inside].any(), "something is painted outside the frame"
        wanted = np.where(inside, truth, 0)
        for value in sorted(set(np.unique(wanted).tolist()) - {0}):
            parts, number = ndimage.label(wanted == value)
            for part in range(1, number + 1):
                whole = ndimage.binary_fill_holes(parts == part)
                if np.count_nonzero(whole & (sight.labels != value)) > 8:
                    self.stroke(page, sight, "o", value, [*outline(whole)])
        if self.rng.random() < 0.1:
            self.slip(page)
        for _ in range(3):
            sight = Sight.of(page)
            wrong = (sight.labels != wanted) & inside
            if not wrong.any():
                return
            for value in np.unique(wanted[wrong]).tolist():
                for run in runs(wrong & (wanted == value)):
                    self.stroke(page, sight, "p" if value else "x", value, run)
        left = np.argwhere(wrong).tolist()
        raise AssertionError(f"slice {sight.slice}: {left} are not as painted: {sight.labels[wrong]}, {wanted[wrong]}")

    def slip(self, page: Any) -> None:
        """A stroke across the frame by mistake, and undo."""
        before = Sight.of(page)
        frame = before.frame
        assert frame
        row = sum(frame["rows"]) // 2
        self.stroke(page, before, "p", 1, [(row, frame["columns"][0]), (row, frame["columns"][1] - 1)])
        changed = (Sight.of(page).labels != before.labels).any()
        if changed:
            page.keyboard.press("z")
        np.testing.assert_array_equal(Sight.of(page).labels, before.labels)
        self.used["undo"] = self.used.get("undo", 0) + int(changed)

    def stroke(self, page: Any, sight: Sight, tool: str, value: int, places: Sequence[Place]) -> None:
        """Press the button at the first of the places, move over the others, release."""
        if value:
            page.keyboard.press(str(value))
        page.keyboard.press(tool)
        assert all(sight.visible(place) for place in places), f"{places} are not on the screen: {sight}"
        page.mouse.move(*sight.on_screen(places[0]))
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*sight.on_screen(place))
        page.mouse.up()
        self.used[tool] = self.used.get(tool, 0) + 1


def wheel(page: Any, sight: Sight, way: int, what: str = "task") -> Sight:
    """Turn the wheel over the tile by one step; what is seen then, which is the same slice where it is the last one."""
    left, top, width, height = sight.tile
    page.mouse.move(left + width / 2, top + height / 2)
    page.mouse.wheel(0, way)
    for _ in range(30):
        now = Sight.of(page, what, sight.plane)
        if now.slice != sight.slice:
            break
        page.wait_for_timeout(10)
    return now


def in_slicer(page: Any) -> bool:
    """Whether the page of a task is that of 3D Slicer's editor."""
    return page.url.endswith(SLICER)


def until(page: Any, script: str, seconds: float = 600) -> None:
    """The policy of the pages keeps Playwright's own waiting from working."""
    end = time.monotonic() + seconds
    while not page.evaluate(script):
        assert time.monotonic() < end, (script, page.locator("#said").text_content())
        page.wait_for_timeout(50)


@dataclass
class Worked:
    """What the expert did with one task: ``labels`` is how many voxels showed each label when it was handed in, ``start``
    what the page says it started with."""

    task: str
    unsure: bool
    start: str
    labels: dict[int, int]
    said: str


@dataclass
class BrowserExpert:
    """``anatomy``: of a case, as its name is shown; ``hands``: used in turn; ``look`` is called at each step."""

    page: Any
    address: str
    anatomy: Callable[[str], Anatomy]
    hands: Sequence[Hand]
    look: Callable[[Any, str], None] = lambda page, what: None

    def mark(self, cases: int, classes: Sequence[int]) -> list[tuple[str, str, np.ndarray]]:
        """Click a structure of each of the ``classes`` in the first ``cases`` images; (case, class, RAS in mm) of each."""
        page, marked = self.page, []
        page.goto(f"{self.address}/")
        page.locator("a[href='/points']").click()
        until(page, "document.body.dataset.ready === 'yes'")
        self.look(page, "points")
        names = page.locator("#case option").all_text_contents()[:cases]
        called = page.locator("input[name=label]").evaluate_all("all => all.map(one => one.value)")
        for case in names:
            page.locator("#case").select_option(case)
            until(
                page,
                f"document.getElementById('said').textContent === 'Click a structure.' && window.marking.viewer.nv.back"
                f" && document.getElementById('case').value === {case!r}",
            )
            for value in classes:
                marked.append((case, called[value - 1], self.click(case, value)))
        self.look(page, "marks")
        page.locator("#add").click()
        until(page, "['good', 'error'].includes(document.getElementById('said').className)")
        assert page.locator("#said").get_attribute("class") == "good", page.locator("#said").text_content()
        self.look(page, "points-added")
        return marked

    def click(self, case: str, value: int) -> np.ndarray:
        """Scroll to a slice that shows the class, click in the middle of it, and mark it."""
        page, known, way = self.page, self.anatomy(case), 100
        for _ in range(200):
            sight = Sight.of(page, "points")
            truth = known.at(sight.places_mm()) == value
            if np.count_nonzero(truth) > 6:
                break
            if wheel(page, sight, way, "points").slice == sight.slice:  # the last one: back to the other end
                way = -way
        else:
            raise AssertionError(f"{case}: class {value} is nowhere to be seen")
        deep = ndimage.distance_transform_cdt(np.pad(truth, 1))[1:-1, 1:-1]
        row, column = (int(v) for v in np.unravel_index(deep.argmax(), deep.shape))
        page.mouse.click(*sight.on_screen((row, column)))
        page.keyboard.press(str(value))
        page.keyboard.press("m")
        assert f"in {case}" in page.locator("#said").text_content()
        return sight.places_mm()[row, column]

    def answer(self, unsure: int = 0) -> list[Worked]:
        """Go through all tasks of the queue; ``unsure`` of them, the first that show something, are half done and left so."""
        page, done = self.page, []
        page.goto(f"{self.address}/")
        self.look(page, "queue")
        page.get_by_role("link", name="Annotate the next task").click()
        while True:
            task = page.locator("h1").text_content()
            if task in {one.task for one in done}:
                break
            number = len(done)
            hand = self.hands[number % len(self.hands)]
            case = page.locator("header .hint").first.text_content().split("case ")[1].split(";")[0]
            hand.open(page)
            start = page.locator("#start").text_content()
            self.look(page, f"task-{number}")
            leave = sum(one.unsure for one in done) < unsure
            labels = hand.paint(page, self.anatomy(case), leave)
            if leave and set(labels) == {0}:  # nothing that could be handed in as it is
                leave, labels = False, hand.paint(page, self.anatomy(case))
            said = hand.hand_in(page, leave)
            self.look(page, f"done-{number}")
            done.append(Worked(task, leave, start, labels, said))
            hand.go_on(page)
            page.wait_for_url(lambda url, left=task: not url.removesuffix(SLICER).endswith(left))
            if page.url.rstrip("/") == self.address:
                break
        page.goto(f"{self.address}/")
        self.look(page, "queue-after")
        return done
