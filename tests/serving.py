"""The server of a roll-out's pages in a thread of the test, and a person who uses them with a mouse."""

from __future__ import annotations

import asyncio
import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
import uvicorn
from PIL import Image
from starlette.testclient import TestClient

from nnactive_ext.serve.app import build
from nnactive_ext.serve.crops import Cache
from nnactive_ext.serve.make_crop import make
from nnactive_ext.serve.safety import Guard
from nnactive_ext.serve.site import Site

TOKEN = "a-token-of-a-test"


@dataclass
class Serving:
    """``address`` has no token; ``entry`` has."""

    site: Site
    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def entry(self) -> str:
        return f"{self.address}/?token={TOKEN}"


@contextmanager
def serving(
    number: int, who: str = "anna", crops: Any = None, interactive: Any = None, people: Any = None, **options: Any
) -> Iterator[Serving]:
    """Serve the experiment of a dataset's number until the block ends; ``crops`` instead of those of the experiment;
    ``people``: their processes with 3D Slicer's editor, which the caller closes."""
    site = Site(number, who, {"blank": True, **options}, patience=2.0, interactive=interactive)
    cache = crops or Cache(site)
    listening = socket.create_server(("127.0.0.1", 0))
    settings = uvicorn.Config(Guard(build(site, cache, people), TOKEN), log_level="error", lifespan="off")
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])), daemon=True)
    thread.start()
    try:
        yield Serving(site, listening.getsockname()[1])
    finally:
        server.should_exit = server.force_exit = True
        thread.join(20)
        cache.close()
        listening.close()


@dataclass
class Person:
    """Someone with a page of the server; ``said`` is what the browser complained about."""

    page: Any
    serving: Serving
    said: list[str]

    def open(self, task: str) -> None:
        """Open the editor of a task and wait until it can be painted in."""
        self.page.goto(f"{self.serving.address}/tasks/{task}")
        self.ready()

    def ready(self) -> None:
        self.wait("document.body.dataset.ready")
        assert self.page.evaluate("document.body.dataset.ready") == "yes", self.page.locator("#said").text_content()

    def wait(self, script: str, seconds: float = 120) -> None:
        """The policy of the pages keeps Playwright's own waiting from working."""
        end = time.monotonic() + seconds
        while not self.page.evaluate(script):
            assert time.monotonic() < end, (script, self.page.locator("#said").text_content(), self.said)
            self.page.wait_for_timeout(50)

    def spot(self, plane: str, voxel: list[int]) -> tuple[float, float]:
        """Where a voxel (x, y, z in RAS order) is on the screen in the tile of a plane, whose slice is moved there."""
        x, y = self.page.evaluate(
            """([plane, voxel]) => {
              const {editor} = window.annotation, dims = editor.dims;
              const frac = voxel.map((at, axis) => (at + 0.5) / dims[axis]);
              editor.look(frac);
              const tile = editor.nv.screenSlices.find(one => one.axCorSag === {axial: 0, coronal: 1, sagittal: 2}[plane]);
              const [x, y] = editor.place(tile, frac), {left, top} = editor.canvas.getBoundingClientRect();
              return [left + x, top + y];
            }""",
            [plane, voxel],
        )
        return x, y

    def drag(self, plane: str, *voxels: list[int]) -> None:
        """Press the mouse on the first voxel, move over the others, release; all lie in one slice of the plane."""
        places = [self.spot(plane, voxel) for voxel in voxels]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=3)
        self.page.mouse.up()

    def key(self, key: str) -> None:
        self.page.keyboard.press(key)

    def do(self, name: str) -> None:
        self.page.locator(f"button[data-do={name}]").click()

    def bitmap(self) -> np.ndarray:
        """What is painted, (z, y, x) in RAS order."""
        dims, values = self.page.evaluate("[window.annotation.editor.dims, Array.from(window.annotation.editor.nv.drawBitmap)]")
        return np.array(values, np.uint8).reshape(dims[::-1])

    def frame(self) -> list[list[int]]:
        """The first voxel and the one behind the last along x, y, z in RAS order."""
        return self.page.evaluate("window.annotation.editor.frame")

    def saved(self, words: str = "Saved") -> str:
        """Wait for the reply to an answer; returns its text."""
        self.wait(f"document.getElementById('said').textContent.startsWith({words!r})")
        return self.page.locator("#said").text_content()

    def seen(self) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(self.page.locator(".canvas").screenshot())).convert("RGB")).astype(int)


@contextmanager
def person(browser: Any, serving: Serving, width: int = 900, height: int = 640, quiet: bool = True) -> Iterator[Person]:
    """A browser of its own, which came in with the token; ``quiet``: in the end nothing has failed in it."""
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}") if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(serving.entry)
    page.wait_for_url(f"{serving.address}/")
    try:
        yield Person(page, serving, said)
        assert not quiet or said == [], said
    finally:
        context.close()


def serving_at(number: int, port: int) -> None:
    """Serve until the process is killed."""
    site = Site(number, "anna", {"blank": True})
    settings = uvicorn.Config(Guard(build(site, Cache(site, make)), TOKEN), port=port, log_level="error", lifespan="off")
    uvicorn.Server(settings).run()


class Client(TestClient):
    """Requests of somebody who came in, to an application in this process; ``site`` and ``made`` are the server's."""

    site: Site
    made: Any


@contextmanager
def client(
    number: int, who: str = "anna", site: Site | None = None, app: Any = None, inside: bool = True, **options: Any
) -> Iterator[Client]:
    """``site`` and ``app``: those of another client, of the same server; ``inside``: the token was given."""
    site = site or Site(number, who, {"blank": True, **options}, patience=2.0)
    cache = Cache(site, make)  # in this process, which is faster
    made = app or Guard(build(site, cache), TOKEN)
    asking = Client(made, base_url="http://127.0.0.1:8000", raise_server_exceptions=True)
    asking.site, asking.made = site, made
    asking.cookies.set("nnactive_who", quote(who))
    if inside:
        assert asking.get("/", params={"token": TOKEN}).status_code == 200
    try:
        yield asking
    finally:
        cache.close()
