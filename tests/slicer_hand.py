"""The expert's hand in 3D Slicer's editor: draws closed outlines with the mouse in the largest plane, slice by slice."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from browser_expert import Anatomy, LightHand, Place, Sight, until
from PIL import Image
from scipy import ndimage

WINDOW = {"width": 1280, "height": 800}
"""Pixels of the page: in a smaller one voxels are too small for the mouse."""
DRAWER = 390
"""Pixels: width of the tools on the left of the largest view."""
CHANGED = 30
"""From this difference on, summed over red, green and blue, a place in the view was painted."""
UP, DOWN = -100, 100
"""Turns of the wheel: towards the head, towards the feet."""
PATIENCE = 180_000
"""Milliseconds that the hand waits for a picture: a machine that is busy takes long."""
LISTEN = """() => {
  const editor = document.querySelector("iframe").contentWindow, {prototype} = editor.WebSocket, {send} = prototype;
  const session = editor.trame?.client?.getConnection()?.getSession();
  if (!session) return false;
  const heard = editor.heard = {sent: 0, asked: new Set(), views: {}, since: performance.now()}, sockets = new WeakSet();
  const named = data => {
    const bytes = new Uint8Array(data.buffer || data, data.byteOffset || 0, Math.min(200, data.byteLength));
    return /rpc:[^:]*:[0-9]+/.exec(String.fromCharCode(...bytes))?.[0];
  };
  const answered = data => { if (heard.asked.delete(named(data))) heard.since = performance.now(); };
  const hear = ({data}) => data.arrayBuffer ? data.arrayBuffer().then(answered) : answered(data);
  prototype.send = function (data) {
    const name = named(data);
    if (!sockets.has(this)) { sockets.add(this); this.addEventListener("message", hear); }
    if (name) { heard.sent++; heard.asked.add(name); }
    return send.call(this, data);
  };
  session.subscribe("trame.rca.topic.stream", ([{name, meta}]) => {
    heard.views[name] = meta.quality;
    heard.since = performance.now();
  });
  return true;
}"""
"""Count, in the page, what the process has not answered yet, and hear of each picture: fast ones of a low quality while
something moves, and one of a high quality when it has ended."""
SENT = """() => document.querySelector("iframe").contentWindow.heard.sent"""
TAKEN = """before => { const {heard} = document.querySelector("iframe").contentWindow;
  return heard.sent > before && !heard.asked.size; }"""
STILL = """([quiet, long, high]) => { const {heard} = document.querySelector("iframe").contentWindow;
  const last = performance.now() - heard.since, best = Object.values(heard.views).every(one => one >= high);
  return !heard.asked.size && last > (best ? quiet : long); }"""
"""Pictures are left out where the network is slow, also the last one."""
HIGH = 90
"""Quality of the last picture of a movement (of 100)."""


@dataclass(frozen=True)
class Ground:
    """Where the voxels of the patch are in the patient: ``places`` (z, y, x, 3), RAS in mm, along axes of the patient."""

    places: np.ndarray

    @classmethod
    def of(cls, page: Any) -> Ground:
        """Read in the light page, from an axial and a coronal plane."""
        axial, coronal = Sight.of(page, plane=0), Sight.of(page, plane=1)
        assert axial.frame
        up, slices = coronal.mm[2] - coronal.mm[0], np.arange(*axial.frame["slices"]) - axial.slice
        whole = axial.places_mm()[slice(*axial.frame["rows"]), slice(*axial.frame["columns"])]
        return cls(whole + slices[:, None, None, None] * up)

    @property
    def steps(self) -> np.ndarray:
        """Of a voxel in mm, along x, y, z."""
        corner, far = self.places[0, 0, 0], self.places[-1, -1, -1]
        steps = (far - corner) / (np.array(self.places.shape[2::-1]) - 1)
        assert (steps > 0).all()
        return steps


@dataclass(frozen=True)
class Spots:
    """Where the corners of the patch's voxels are in an axial view, in which the patient's left is on the right and the back
    is below: ``frame`` is left, right, top and bottom in pixels of the page; ``shape`` is (rows, columns)."""

    frame: tuple[float, float, float, float]
    shape: tuple[int, int]

    def of(self, corner: tuple[float, float]) -> tuple[float, float]:
        """``corner``: (row, column), rows from the back to the front, columns from the left to the right of the patient."""
        left, right, top, bottom = self.frame
        (rows, columns), (row, column) = self.shape, corner
        return right - (right - left) * column / columns, bottom - (bottom - top) * row / rows


def border(mask: np.ndarray) -> list[Place]:
    """The corners of the closed path along the outer sides of the voxels of ``mask``, which is connected along rows and
    columns and has no hole: the lower corner of a voxel has its own row and column."""
    padded, after = np.pad(mask, 1), {}
    for row, column in np.argwhere(mask).tolist():
        around = [(row, column), (row, column + 1), (row + 1, column + 1), (row + 1, column)]
        beside = [(row, column + 1), (row + 1, column + 2), (row + 2, column + 1), (row + 1, column)]
        for side, other in enumerate(beside):
            if not padded[other]:
                after[around[side]] = around[(side + 1) % 4]
    path = [next(iter(after))]
    while (following := after[path[-1]]) != path[0]:
        path.append(following)
    assert len(path) == len(after), "not one piece without a hole"
    ring = zip(path[-1:] + path[:-1], path, path[1:] + path[:1], strict=True)
    return [here for before, here, then in ring if before[0] != then[0] and before[1] != then[1]]


def pieces(mask: np.ndarray, nothing: np.ndarray) -> Iterator[np.ndarray]:
    """Parts of ``mask`` that an outline can go round: each with its holes filled, none of which holds ``nothing``."""
    parts, number = ndimage.label(mask)
    for part in range(1, number + 1):
        one = parts == part
        whole = ndimage.binary_fill_holes(one)
        empty = np.argwhere(whole & nothing)
        if not len(empty):
            yield whole
            continue
        upper = np.zeros(mask.shape, bool)
        upper[: int(empty[0, 0]) + 1] = True
        yield from pieces(one & upper, nothing)
        yield from pieces(one & ~upper, nothing)


@dataclass
class SlicerHand:
    """Works with the tool *Draw*; a start that is not blank is cleared first. ``light`` looks over it in the light page."""

    light: LightHand
    used: dict[str, int] = field(default_factory=dict)

    def open(self, page: Any) -> None:
        self.light.open(page)
        self.ground = Ground.of(page)
        self.enter(page)

    def enter(self, page: Any) -> None:
        """From the light page to the editor, until the patch is seen."""
        page.set_viewport_size(WINDOW)
        page.locator("#other-editor").click()
        page.wait_for_url(lambda url: url.endswith("/slicer"))
        until(page, "document.body.dataset.ready")
        assert page.evaluate("document.body.dataset.ready") == "yes", page.locator("#said").text_content()
        self.slicer = page.frame_locator("iframe")
        self.slicer.locator(".mdi-draw").first.wait_for(timeout=PATIENCE)
        self.listen(page)
        self.wait(page, lambda: self.framed(page), "the frame of the patch is not seen")

    def paint(self, page: Any, anatomy: Anatomy, half: bool = False) -> dict[int, int]:
        page.set_viewport_size(WINDOW)
        wanted = anatomy.at(self.ground.places)
        quarter = len(wanted) // 4 if half else 0
        if half:
            wanted[:quarter] = wanted[len(wanted) - quarter :] = 0
        if "starts blank" not in page.locator("#start").text_content():
            self.clear(page)
        self.slicer.locator(".mdi-draw").first.click()
        self.to_the_top(page)
        spots = Spots(self.frame(page), wanted.shape[1:])
        for number in reversed(range(len(wanted))):
            if not self.framed(page):
                break  # what is left is seen in the light page
            self.slice(page, spots, wanted[number])
            self.turn(page, DOWN)
            if number == len(wanted) // 2:
                self.light.look(page, "drawn")
                page.set_viewport_size(WINDOW)
        if half:
            values, numbers = np.unique(wanted, return_counts=True)
            return dict(zip(values.tolist(), numbers.tolist(), strict=True))
        return self.look_over(page, anatomy)

    def look_over(self, page: Any, anatomy: Anatomy) -> dict[int, int]:
        """Go to the light page, correct single voxels there if need be, and come back with what is painted then."""
        until(page, "window.annotation !== undefined")
        page.evaluate("window.annotation.draft()")
        self.light.open(page)
        labels = self.light.paint(page, anatomy)
        page.evaluate("window.annotation.draft()")
        self.enter(page)
        return labels

    def hand_in(self, page: Any, unsure: bool) -> str:
        return self.light.hand_in(page, unsure)

    def go_on(self, page: Any) -> None:
        page.locator("button[data-do=next]").click()

    def slice(self, page: Any, spots: Spots, wanted: np.ndarray) -> None:
        """Draw what is ``wanted`` in the slice that is shown, large pieces first, smaller ones over them."""
        classes = sorted(set(np.unique(wanted).tolist()) - {0})
        drawn = [(value, piece) for value in classes for piece in pieces(wanted == value, wanted == 0)]
        for value, piece in sorted(drawn, key=lambda one: -np.count_nonzero(one[1])):
            self.choose(page, value)
            self.draw(page, spots, piece)

    def draw(self, page: Any, spots: Spots, piece: np.ndarray) -> None:
        """Draw round the voxels of ``piece``; undo it and draw again where the view shows no change at one of them. What is
        wrong after all is seen in the light page."""
        middles = [spots.of((row + 0.5, column + 0.5)) for row, column in np.argwhere(piece).tolist()]
        before = self.shades(page, middles)
        for _ in range(3):
            self.stroke(page, [spots.of(corner) for corner in border(piece)])
            if (abs(self.shades(page, middles) - before).sum(1) > CHANGED).all():
                return
            self.slicer.locator(".mdi-undo").first.click()
            self.settled(page)
            self.used["undo"] = self.used.get("undo", 0) + 1

    def shades(self, page: Any, places: list[tuple[float, float]]) -> np.ndarray:
        """The colours at places of the page."""
        left, top, _, _ = self.view(page)
        seen = self.seen(page)
        return np.array([seen[round(y - top), round(x - left)] for x, y in places])

    def stroke(self, page: Any, path: list[tuple[float, float]]) -> None:
        """Press the button at the first place, move over the others, release, and wait until the view stays as it is."""
        page.mouse.move(*path[0])
        self.settled(page)
        self.act(page, page.mouse.down)
        for x, y in [*path[1:], path[0]]:
            self.act(page, lambda x=x, y=y: page.mouse.move(x, y))
        self.act(page, page.mouse.up)
        self.settled(page)
        self.used["draw"] = self.used.get("draw", 0) + 1

    def clear(self, page: Any) -> None:
        """Every label, with the tool for logical operators."""
        self.slicer.locator(".mdi-vector-intersection").first.click()
        self.slicer.locator(".v-select").first.click()
        self.slicer.locator(".v-overlay .v-list-item", has_text="Clear").click()
        for value in range(1, self.slicer.locator(".v-list-item:has(.mdi-circle)").count() + 1):
            self.choose(page, value)
            self.slicer.get_by_role("button", name="Apply").click()
            self.settled(page)
        self.used["clear"] = self.used.get("clear", 0) + 1

    def choose(self, page: Any, value: int) -> None:
        """The label, which are listed in the order of their values."""
        self.slicer.locator(".v-list-item:has(.mdi-circle)").nth(value - 1).click()
        self.settled(page)

    def to_the_top(self, page: Any) -> None:
        """Turn the wheel to the uppermost slice of the patch."""
        for _ in range(200):
            self.turn(page, UP)
            if not self.framed(page):
                for _ in range(3):  # a turn may be lost on a machine that is busy
                    self.turn(page, DOWN)
                    if self.framed(page):
                        return
        raise AssertionError("the wheel does not leave the patch")

    def turn(self, page: Any, way: int) -> None:
        """One slice further."""
        left, top, width, height = self.view(page)
        page.mouse.move(left + width / 2, top + height / 2)
        self.settled(page)
        self.act(page, lambda: page.mouse.wheel(0, way))
        self.settled(page)

    def listen(self, page: Any) -> None:
        """Hear from now on, in the page, what goes to and fro."""
        page.wait_for_function(LISTEN, timeout=PATIENCE)

    def act(self, page: Any, action: Callable[[], None]) -> None:
        """Do something that the process is told of, and wait until it has taken it: the page passes over moves that follow
        each other faster than that."""
        before = page.evaluate(SENT)
        action()
        page.wait_for_function(TAKEN, arg=before, timeout=PATIENCE, polling=10)

    def settled(self, page: Any) -> None:
        """Wait until the process has taken all that the mouse did and has sent its last pictures, and they are shown."""
        seen = [np.zeros(0)]

        def stays() -> bool:
            page.wait_for_function(STILL, arg=[250, 5000, HIGH], timeout=PATIENCE, polling=50)
            seen.append(self.seen(page))
            return np.array_equal(*seen[-2:])

        self.wait(page, stays, "the view changes all the time")

    def wait(self, page: Any, reached: Callable[[], bool], otherwise: str) -> None:
        """Look again and again, for some minutes, whether it is ``reached``."""
        latest = time.monotonic() + PATIENCE / 1000
        while not reached():
            assert time.monotonic() < latest, otherwise
            page.wait_for_timeout(50)

    def framed(self, page: Any) -> bool:
        """Whether the orange frame of the patch is in the slice."""
        return np.count_nonzero(orange(self.seen(page))) > 100

    def frame(self, page: Any) -> tuple[float, float, float, float]:
        """Left, right, top and bottom of the frame; its line is two pixels wide, and the sides are in the middle."""
        places = np.argwhere(orange(self.seen(page)))
        (top, left), (bottom, right) = places.min(0).tolist(), places.max(0).tolist()
        x, y, _, _ = self.view(page)
        return x + left + 1, x + right, y + top + 1, y + bottom

    def seen(self, page: Any) -> np.ndarray:
        """The largest view, (rows, columns, RGB)."""
        left, top, width, height = self.view(page)
        picture = page.screenshot(clip={"x": left, "y": top, "width": width, "height": height})
        return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)

    def view(self, page: Any) -> tuple[float, float, float, float]:
        """Left, top, width and height of the largest view, without what lies at its sides."""
        around = page.locator("iframe").bounding_box()
        width = (around["width"] - DRAWER) / 2
        return around["x"] + DRAWER + 10, around["y"], width - 18, around["height"]


def orange(picture: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(picture, -1, 0)
    return (red > 200) & (abs(green - 128) < 40) & (blue < 60)
