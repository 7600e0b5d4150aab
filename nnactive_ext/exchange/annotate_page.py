"""annotate.html in a task's folder: the editor of ``nnactive_annotate serve`` with its crop, for people without the server."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from nnactive_ext.exchange.crop_facts import crop_facts
from nnactive_ext.exchange.page import Card
from nnactive_ext.exchange.view import View
from nnactive_ext.experiment.commands import hand_in
from nnactive_ext.files import replacing, write_text
from nnactive_ext.images.writing import write_image
from nnactive_ext.pages.colours import IGNORE, colours
from nnactive_ext.pages.slices import CT_WINDOWS
from nnactive_ext.pages.templates import asset, render
from nnactive_ext.pages.vendored import NIIVUE

NAME = "annotate.html"
VIEWER = "niivue.js"
"""Beside the index page: the viewer that the pages of all tasks load."""
LARGEST = 192 << 20
"""Bytes of a crop's files from which no page is made: base64 makes them a third longer, and texts of browsers end at 512 MB."""
MOST_LABELS = 255
"""The editor paints single bytes."""
_SCRIPTS = ("pages/editor.js", "disk.js", "pages/clock.js", "pages/task.js", "pages/verdict.js")


@dataclass(frozen=True)
class PageWriter:
    """Writes the pages of one export.

    ``ids``: the tasks as they are called in it, in the order of the index page. ``number``: the dataset's. ``blank``: the
    classes that start blank although members predict, and why. ``single``: each page holds the viewer, too, and leads to no
    other file.
    """

    ids: Sequence[str]
    number: int
    blank: str = ""
    single: bool = False

    @cached_property
    def _places(self) -> dict[str, int]:
        return {task: place for place, task in enumerate(self.ids)}

    def write(self, view: View, voxels: np.ndarray, shown: Card) -> bool:
        """Write the page of a task whose images are in its folder already; a page that can no longer be made is removed.

        Args:
            view: the task.
            voxels: its crop (channel, z, y, x).
            shown: its card.

        Returns:
            Whether there is a page: not with more labels than the editor paints, nor of a crop that a page cannot hold.
        """
        file = view.folder / NAME
        if view.names[IGNORE] > MOST_LABELS or sum(image.stat().st_size for image in view.images) > LARGEST:
            file.unlink(missing_ok=True)
            return False
        write_text(file, self._page(view, voxels, shown))
        return True

    def finish(self, folder: Path) -> None:
        """Write the viewer beside the index page in ``folder``, where pages load it from there."""
        if not self.single:
            with replacing(folder / VIEWER) as temporary:
                shutil.copyfile(NIIVUE, temporary)

    def _page(self, view: View, voxels: np.ndarray, shown: Card) -> str:
        place = self._places[view.task.id]
        after = self.ids[place + 1] if place + 1 < len(self.ids) and not self.single else ""
        shades = colours(view.names)
        images = [image.read_bytes() for image in view.images]
        offline = {
            "single": self.single,
            "index": "" if self.single else "../index.html",
            "hand_in": hand_in(self.number, "FILES", "YOUR_NAME"),
        }
        settings = {
            "id": view.task.id,
            "case": view.task.patch.case,
            "who": "",
            "names": dict(view.names),
            "colours": shades,
            "ignore": view.names[IGNORE],
            "ct_windows": CT_WINDOWS,
            "number": self.number,
            "key": _key(view, images),
            "next": f"../{quote(after, safe='')}/{NAME}" if after else "",
            "index": offline["index"],
        }
        crop = {
            **crop_facts(view, voxels, shown, self.blank if view.blank else ""),
            "status": shown.status,
            "images": [_text(image) for image in images],
            "labels": _text(_labels(view)),
        }
        scripts = [asset("exchange", name) for name in _SCRIPTS]
        if self.single:
            scripts = [Markup(NIIVUE.read_text(encoding="utf-8")), *scripts]
        return render(
            "exchange",
            "pages/task.html",
            offline=offline,
            task=view.task,
            who="",
            why=shown.why,
            badge=shown.badge,
            place=place + 1,
            total=len(self.ids),
            classes=[(name, value, shades[name]) for name, value in view.names.items()],
            ignore=view.names[IGNORE],
            settings=settings,
            crop=crop,
            scripts=scripts,
            verdict="",
            whole=False,
        )


def _key(view: View, images: Sequence[bytes]) -> str:
    """Under which a browser keeps work on this crop: pages of all experiments share one storage."""
    found = hashlib.sha256(json.dumps([view.task.id, view.box.start, view.box.size]).encode())
    for image in images:
        found.update(image)
    return found.hexdigest()[:32]


def _labels(view: View) -> bytes:
    """The label map that the task starts with. The one in the folder may be somebody's, edited since an earlier export."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "labels.nii.gz"
        write_image(file, view.space.image(view.labels))
        return file.read_bytes()


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
