"""A person with a page from disk: what the browser asks for, what it complains about, and what it downloads."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from serving import Person

NO_STORAGE = "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError'); }})"
"""As browsers do that keep nothing of pages from disk."""


@dataclass
class Reader(Person):
    """``asked``: the addresses of all requests; ``downloads``: a folder in which a second file of one name is renamed."""

    downloads: Path = Path()
    asked: list[str] = field(default_factory=list)

    def read(self, file: Path) -> None:
        """Open the page of a task and wait until it can be painted in."""
        self.page.goto(file.absolute().as_uri())
        self.ready()

    def save(self, button: str = "done") -> Path:
        """Press a button; the file that the browser then downloads, under the name that it gives it."""
        with self.page.expect_download() as waiting:
            self.do(button)
        name, number = waiting.value.suggested_filename, 0
        stem, _, ending = name.partition(".nii")
        while (file := self.downloads / (f"{stem} ({number}).nii{ending}" if number else name)).exists():
            number += 1
        waiting.value.save_as(file)
        self.saved()
        return file


def noted(file: Path, note: str) -> Path:
    """With what a page writes into the header."""
    content = bytearray(gzip.decompress(file.read_bytes()))
    content[148:228] = note.encode().ljust(80, b"\0")
    file.write_bytes(gzip.compress(bytes(content)))
    return file


@contextmanager
def reader(browser: Any, downloads: Path, script: str = "", quiet: bool = True, **size: int) -> Iterator[Reader]:
    """A browser of its own; ``script`` runs before those of pages. ``quiet``: in the end nothing has failed in it."""
    context = browser.new_context(viewport={"width": 900, "height": 640, **size}, accept_downloads=True)
    if script:
        context.add_init_script(script)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}") if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    downloads.mkdir(exist_ok=True)
    try:
        yield Reader(page, None, said, downloads, asked)  # type: ignore[arg-type]
        assert not quiet or said == [], said
    finally:
        context.close()


def paint(one: Reader) -> np.ndarray:
    """Two classes and ``ignore`` in three planes, the first with a pen that reaches over the border of the patch; returns what
    the page then shows, (z, y, x) in RAS order."""
    frame = one.frame()
    low, middle, last = ([f(side) for side in frame] for f in (min, lambda side: sum(side) // 2, lambda side: side[1] - 1))
    one.key("1")
    one.drag("axial", [low[0], middle[1], middle[2]], middle, [middle[0], last[1], middle[2]])
    one.key("[")
    one.key("[")
    one.key("2")
    one.drag("sagittal", [middle[0], low[1], low[2]], [middle[0], middle[1], low[2]])
    one.key("i")
    one.drag("coronal", [low[0], middle[1], last[2]], [low[0], middle[1], middle[2]])
    return one.bitmap()


def painted_in(task: Path, bitmap: np.ndarray, frame: list[list[int]], labels: Path) -> tuple[np.ndarray, np.ndarray]:
    """What the page of ``task`` showed in the patch, and what a label map of the whole image holds at the same places in mm."""
    image = nibabel.as_closest_canonical(nibabel.load(task / f"{task.name}.nii.gz"))
    whole = nibabel.load(labels)
    places = np.stack(np.meshgrid(*(np.arange(*side) for side in frame), indexing="ij"), -1).reshape(-1, 3)
    there = nibabel.affines.apply_affine(np.linalg.inv(whole.affine) @ image.affine, places)
    assert np.abs(there - np.rint(there)).max() < 0.01
    found = np.asarray(whole.dataobj)[tuple(np.rint(there).astype(int).T)]
    return bitmap.transpose(2, 1, 0)[tuple(places.T)], found
