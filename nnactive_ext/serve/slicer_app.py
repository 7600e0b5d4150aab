"""The process in which one person paints in 3D Slicer's segment editor: trame_slicer's own tools around one task.

The server starts it as ``-m nnactive_ext.serve.slicer_app`` and asks it for things, one line of JSON each, on its standard
input; it answers on its standard output. When the input ends, the server has ended: work that was not kept becomes a draft.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.patch import Patch, triple

SECRET = "x-nnactive-secret"
"""The header without which the process answers nobody."""
READY = "ready"


class Editor:
    """The person's process: what it does when the server asks."""

    def __init__(self) -> None:
        from trame.app import get_server
        from trame_slicer import module
        from trame_slicer.core import SlicerApp

        from nnactive_ext.serve.slicer_ui import Page, Tools

        self.server = get_server(client_type="vue3")
        self.server.enable_module(module)
        self.app = SlicerApp()
        self.tools = Tools(self.server, self.app)
        self.tools.connect(Page(self.server, self.tools.layout))
        self.scene: Any = None
        self.keep: Mapping[str, Any] = {}

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Do what a line of the server asks; returns what to tell it.

        Raises:
            NnActiveError: what cannot be done, for the person.
        """
        with self.server.state:
            return getattr(self, f"_{asked['do']}")(asked)

    def ended(self) -> None:
        """The server is gone: keep what it has not asked for as a draft, as it would have."""
        from nnactive_ext.serve.drafts import Draft, Drafts, Overtaken
        from nnactive_ext.serve.labels import packed

        if self.scene is None or not self.scene.changed():
            return
        kept, drafts = self.keep, Drafts(Path(self.keep["folder"]))
        before = drafts.read(kept["task"], kept["who"])
        labels = packed(Path(kept["start"]), self.scene.facts.box, self.scene.inside())
        seconds = before.seconds if before else 0.0
        facts = (kept["task"], kept["who"], "slicer", 0, seconds, kept["answers"], kept["label_version"], labels)
        with suppress(Overtaken):  # by work in another editor, which is newer
            drafts.write(Draft(*facts), kept["revision"])

    def _open(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        from nnactive_ext.serve.slicer_scene import Facts, Scene

        if self.scene is not None:
            self.scene.close()
            self.scene = None
        box = Patch("", triple(asked["box"]["start"]), triple(asked["box"]["size"]))
        windows = tuple((low, high) for low, high in asked["windows"])
        colours = {name: (red, green, blue) for name, (red, green, blue) in asked["colours"].items()}
        facts = Facts(asked["task"], tuple(asked["channels"]), windows, asked["labels"], box, asked["names"], colours)
        if not self.keep:  # the first scene of a process shows labels as if nothing lay beneath them
            first = Scene(self.app, facts)
            self.tools.show(first, asked["plane"])
            first.close()
        self.scene, self.keep = Scene(self.app, facts), asked["keep"]
        self.tools.show(self.scene, asked["plane"])
        return {}

    def _labels(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Write the labels of the patch to a file; only of the task that is meant."""
        self._check(asked)
        inside = self.scene.inside()
        np.save(asked["to"], inside)
        return {"changed": self.scene.changed(), "outside": self.scene.outside()}

    def _kept(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What ``_labels`` wrote is safe."""
        self._check(asked)
        self.scene.given = np.load(asked["from"])
        self.keep = {**self.keep, "answers": asked["answers"], "revision": asked["revision"]}
        return {}

    def _channel(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        self._check(asked)
        self.scene.show(asked["number"])
        return {}

    def _lock(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        self._check(asked)
        self.scene.lock(asked["values"])
        return {}

    def _check(self, asked: Mapping[str, Any]) -> None:
        if self.scene is None or self.scene.facts.task != asked["task"]:
            raise NnActiveError(
                f"{asked['task']} is no longer open in 3D Slicer's editor, which shows one task at a time. Reload this page "
                "to open it again."
            )


async def run(secret: str) -> None:
    """Serve the page to whoever has ``secret``, and the server's lines, until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries print to the standard output
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    editor = Editor()

    def bound(web: Any) -> None:
        web.app.middlewares.append(_only_with(secret))

    def do(line: str) -> None:
        try:
            said = editor.answer(json.loads(line))
        except NnActiveError as error:
            said = {"error": str(error)}
        except Exception as error:  # the person learns of it, and their work in the process stays
            import traceback

            traceback.print_exc()
            said = {"error": f"3D Slicer's editor failed ({type(error).__name__}: {error})."}
        with suppress(OSError):
            answers.write(json.dumps(said) + "\n")

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(do, line)
        loop.call_soon_threadsafe(ended.set)

    def ready(**_: Any) -> None:
        answers.write(json.dumps({READY: editor.server.port}) + "\n")
        threading.Thread(target=read, daemon=True).start()

    editor.server.controller.on_server_bind.add(bound)
    editor.server.controller.on_server_ready.add(ready)
    started = editor.server.start(
        exec_mode="task", port=0, host="127.0.0.1", open_browser=False, show_connection_info=False, timeout=0
    )
    await ended.wait()
    started.cancel()
    editor.ended()


def _only_with(secret: str) -> Any:
    from aiohttp import web

    @web.middleware
    async def check(request: Any, handler: Any) -> Any:
        if not hmac.compare_digest(request.headers.get(SECRET, "").encode(), secret.encode()):
            return web.Response(status=403)
        return await handler(request)

    return check


def main() -> None:
    """Run until the server ends; the first line of the input is the secret."""
    os.environ["WSLINK_READY_MSG"] = ""
    secret = sys.stdin.readline().strip()
    sys.argv[1:] = []
    asyncio.run(run(secret))
    sys.stderr.flush()
    os._exit(0)  # VTK's own tidying up may take long or crash, and everything is kept


if __name__ == "__main__":
    main()
