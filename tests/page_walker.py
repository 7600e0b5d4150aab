"""Sends what the scripts of our pages send, without a browser, and answers tasks from a label map that only it knows."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import numpy as np
import SimpleITK as sitk
from html_page import Page


@dataclass
class Walker:
    """Someone who came in at the printed address. ``anatomy``: the label map of a case; ``folder``: for files on the way."""

    asking: httpx.Client
    anatomy: Callable[[str], Path]
    folder: Path

    @classmethod
    def enter(cls, address: str, anatomy: Callable[[str], Path], folder: Path) -> Walker:
        """As a browser that opens ``address``, which holds the token."""
        origin = address.partition("/?")[0]
        headers = {"origin": origin, "sec-fetch-site": "same-origin"}
        asking = httpx.Client(base_url=origin, headers=headers, timeout=1200)
        entered = asking.get(address)
        assert entered.status_code == 200, entered.text
        return cls(asking, anatomy, folder)

    def page(self, address: str) -> Page:
        """A page with every script and style that it asks for."""
        shown = Page(self._get(address).text)
        for tag, facts in shown.elements:
            if needed := facts.get("src") if tag == "script" else facts.get("href") if tag == "link" else None:
                assert self._get(urljoin(address, needed)).content
        return shown

    def mark(self, classes: Sequence[str], each: int) -> None:
        """Mark ``each`` structures of all ``classes``, in the first cases that have one; the classes are 1, 2, ..."""
        settings = json.loads(self.page("/points").scripts["application/json"][0])
        points = []
        for value, name in enumerate(classes, 1):
            assert name in settings["colours"]
            having = [case for case in settings["cases"] if (_voxels(self.anatomy(case)) == value).any()]
            points += [{"case": case, "class": name, "ras": self._place(case, value)} for case in having[:each]]
        reply = self.asking.post("/points", content=json.dumps(points))
        assert reply.status_code == 200, reply.text
        assert "added" in reply.json()["text"]

    def answer(self) -> list[str]:
        """Go through all open tasks, from *Annotate the next task* on; returns their ids."""
        links = self.page("/").elements
        after = next(facts["href"] for _, facts in links if facts.get("href", "").startswith("/tasks/"))
        done = []
        while after:
            self.page(after)
            crop = self._get(f"{after}/crop").json()
            assert self._get(f"{after}/image/0").content
            labels = self._truth(crop, self._get(f"{after}/label").content)
            query = {"label_version": crop["label_version"], "seconds": 12.5}
            kept = self.asking.put(f"{after}/draft", params={**query, "revision": 0, "tab": "a"}, content=labels)
            assert kept.status_code == 200, kept.text
            reply = self.asking.put(after, params=query, content=labels)
            assert reply.status_code == 200, reply.text
            assert reply.json()["taken"]
            done.append(crop["id"])
            after = reply.json()["next"]
        assert "All tasks are done" in self._get("/").text
        return done

    def train(self, over: str, seconds: float = 1500) -> None:
        """Press *Train now* once nothing is at work, and follow the page until it says ``over``."""
        shown = self._until("Train now", seconds)
        sent = {facts["name"]: facts["value"] for tag, facts in shown.elements if tag == "input"}
        assert self.asking.post("/train", data=sent).status_code == 200
        self._until(over, seconds)

    def _until(self, words: str, seconds: float) -> Page:
        """The training part of the queue, once it or the title of the queue holds ``words``."""
        end = time.monotonic() + seconds
        while True:
            now = self._get("/now").json()
            shown = Page(now["parts"]["training"])
            if words in now["title"] + shown.text:
                return shown
            assert "failed" not in shown.text, shown.text
            assert time.monotonic() < end, shown.text
            time.sleep(0.5)

    def _get(self, address: str) -> httpx.Response:
        reply = self.asking.get(address)
        assert reply.status_code == 200, (address, reply.text)
        return reply

    def _place(self, case: str, value: int) -> list[float]:
        """Of the middle voxel of a class, in RAS; the page shows the case then."""
        assert self._get(f"/points/{case}/facts").json()["case"] == case
        assert self._get(f"/points/{case}/image").content
        image = sitk.ReadImage(str(self.anatomy(case)))
        found = np.argwhere(sitk.GetArrayViewFromImage(image) == value)
        x, y, z = image.TransformIndexToPhysicalPoint(found[len(found) // 2][::-1].tolist())
        return [-x, -y, z]

    def _truth(self, crop: dict[str, Any], start: bytes) -> bytes:
        """The label map ``start`` with the truth in the frame and ignore around it, as the editor packs it."""
        file = self.folder / "labels.nii.gz"
        file.write_bytes(start)
        shown = sitk.ReadImage(str(file))
        known = sitk.ReadImage(str(self.anatomy(crop["case"])), sitk.sitkUInt8)
        truth = sitk.GetArrayFromImage(sitk.Resample(known, shown, sitk.Transform(), sitk.sitkNearestNeighbor, 0))
        box = tuple(slice(a, a + n) for a, n in zip(crop["box"]["start"], crop["box"]["size"], strict=True))
        labels = sitk.GetArrayFromImage(shown)
        labels[box] = truth[box]
        painted = sitk.GetImageFromArray(labels)
        painted.CopyInformation(shown)
        sitk.WriteImage(painted, str(file), True)
        return file.read_bytes()


def _voxels(file: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
