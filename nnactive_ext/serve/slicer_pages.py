"""A task in 3D Slicer's editor: the page around it, and what goes from there to drafts and answers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.geometry.patch import Patch, triple
from nnactive_ext.labelling.tasks import Task, find_task
from nnactive_ext.pages.colours import IGNORE, colours
from nnactive_ext.pages.templates import render
from nnactive_ext.serve.answers import number_of_answers
from nnactive_ext.serve.drafts import Draft
from nnactive_ext.serve.labels import array_of, packed
from nnactive_ext.serve.make_crop import START
from nnactive_ext.serve.replies import EDITOR, number, who_asks
from nnactive_ext.serve.slicer_people import People
from nnactive_ext.serve.slicer_process import SlicerProcess, check_installed
from nnactive_ext.serve.task_pages import TaskPages, seconds_of

TAB = "slicer"
"""Of its drafts: a person has one process."""
THICK = 2
"""From this ratio of voxel sides on, the plane of thick slices is the largest, as in the light page."""


def remembering(editor: str, page: Callable[[Request], Response]) -> Callable[[Request], Response]:
    """``page``, which remembers that the person used ``editor``, so that the queue leads there."""

    def remembered(request: Request) -> Response:
        response = page(request)
        if request.cookies.get(EDITOR, "") != editor:
            response.set_cookie(EDITOR, editor, max_age=400 * 86_400, httponly=True, samesite="strict")
        return response

    return remembered


@dataclass
class Shown:
    """What a process shows: the state of a task when it was opened."""

    task: str
    page: Mapping[str, Any]
    folder: Any
    revision: int

    @property
    def start(self) -> Path:
        return Path(self.folder.name) / START

    @property
    def box(self) -> Patch:
        return Patch("", triple(self.page["box"]["start"]), triple(self.page["box"]["size"]))


@dataclass
class SlicerPages:
    """Answers requests about tasks in 3D Slicer's editor."""

    tasks: TaskPages
    people: People

    def whose(self, asks: HTTPConnection) -> SlicerProcess | None:
        """The process of the person who asks."""
        return self.people.has(who_asks(self.tasks.site, asks))

    def page(self, request: Request) -> Response:
        """The bar, and a frame for the editor, which the page starts."""
        check_installed()
        experiment, asked, who = self.tasks.asked(request)
        if experiment.dataset.labels.ignore > 255:
            raise NnActiveError(f"{experiment.name} has more than 255 labels, which the editors in the browser do not paint.")
        task = self.tasks.site.shown(asked)
        page = render(
            "serve",
            "slicer.html",
            **self.tasks.head(experiment, task, who),
            settings={"id": task.id, "who": who},
            labels=_painted(experiment),
        )
        return HTMLResponse(page)

    def open(self, request: Request) -> Response:
        """Show the task in the person's process, which is started where there is none."""
        check_installed()
        experiment, task, who = self.tasks.asked(request)
        folder, page = self.tasks.cache.task(experiment, task)
        process = self.people.process(who)
        with process.opening:
            if process.shown is not None:
                self._keep(process, process.shown, who, 0.0)
            draft = self.tasks.draft_of(experiment, task, who)
            place = tempfile.TemporaryDirectory(prefix="nnactive_slicer_")
            made = Shown(task.id, page, place, draft.revision if draft else 0)
            shutil.copy(folder / START, made.start)
            labels = array_of(self.tasks.labels(experiment, task, who, folder, page))
            if labels.shape != tuple(page["shape"]):
                raise NnActiveError(
                    f"{task.id}: your draft was painted on a crop of another size. Start the server with the -margin of then."
                )
            np.save(Path(place.name) / "labels.npy", labels)
            names = _painted(experiment)
            process.ask(
                do="open",
                task=task.id,
                channels=[str(folder / f"image_{channel}.nii.gz") for channel in range(len(page["channels"]))],
                windows=page["windows"],
                labels=str(Path(place.name) / "labels.npy"),
                box=page["box"],
                names=names,
                colours=colours(names),
                plane=_largest(page, made.start),
                keep={
                    "folder": str(self.tasks.drafts.folder),
                    "task": task.id,
                    "who": who,
                    "start": str(made.start),
                    "answers": number_of_answers(experiment, task, who),
                    "label_version": page["label_version"],
                    "revision": made.revision,
                },
            )
            if process.shown is not None:
                process.shown.folder.cleanup()
            process.shown = made
        state = self.tasks.state(experiment, task, who)
        return JSONResponse(
            {
                "channels": page["channels"],
                "voxels": page["voxels"],
                "size": page["size"],
                "predicted": page["predicted"],
                "start": page["start"],
                "draft": bool(draft and draft.labels and draft.label_version == page["label_version"]),
                "status": state["status"],
                "next": self._next(state["next"]),
                "others": self.tasks.presence.others(task.id, who),
            }
        )

    def answer(self, request: Request) -> Response:
        """Hand in what the editor shows, in the same way as the light page does."""
        task, who, process, shown = self._shown(request)
        inside, _ = _labels(process, shown)
        if request.query_params.get("unsure"):
            inside[inside == 0] = self.tasks.site.experiment.dataset.labels.ignore
        content, version = packed(shown.start, shown.box, inside), shown.page["label_version"]
        done = self.tasks.take(task, who, shown.page, content, version, seconds_of(request))
        shown.revision = 0
        self._kept(process, shown, task, who)
        return JSONResponse({**done, "next": done["next"] and f"{done['next']}/slicer"})

    def draft(self, request: Request) -> Response:
        """Keep unfinished work, and the time that it took."""
        _, who, process, shown = self._shown(request)
        changed = self._keep(process, shown, who, seconds_of(request))
        return JSONResponse({"changed": changed, "others": self.tasks.presence.others(shown.task, who, TAB)})

    def channel(self, request: Request) -> Response:
        """Show another channel."""
        task, _, process, shown = self._shown(request)
        channel = number(request, "number")
        if not 0 <= channel < len(shown.page["channels"]):
            raise NnActiveError(f"{task.id} has {len(shown.page['channels'])} channels.")
        process.ask(do="channel", task=task.id, number=channel)
        return JSONResponse({})

    def lock(self, request: Request) -> Response:
        """Lock the labels of the address, and no others."""
        task, _, process, _ = self._shown(request)
        names = self.tasks.site.experiment.dataset.labels.names
        asked = request.query_params.getlist("label")
        if unknown := [name for name in asked if name not in names]:
            raise NnActiveError(f"There is no label {unknown[0]!r}: the classes were changed. Reload the page.")
        process.ask(do="lock", task=task.id, values=[names[name] for name in asked])
        return JSONResponse({})

    def _keep(self, process: SlicerProcess, shown: Shown, who: str, seconds: float) -> bool:
        """Keep a draft of what the process shows; returns whether there was something new."""
        inside, changed = _labels(process, shown)
        if not changed and seconds < 1:
            return False
        experiment = self.tasks.site.experiment
        task = find_task(experiment, shown.task)
        content = packed(shown.start, shown.box, inside) if changed else b""
        made = Draft(task.id, who, TAB, 0, seconds, 0, shown.page["label_version"], content)
        shown.revision = self.tasks.keep(experiment, task, shown.page, made, shown.revision)["revision"]
        if changed:
            self._kept(process, shown, task, who)
        return changed

    def _kept(self, process: SlicerProcess, shown: Shown, task: Task, who: str) -> None:
        answers = number_of_answers(self.tasks.site.experiment, task, who)
        file = str(_file(shown))
        process.ask(do="kept", task=task.id, answers=answers, revision=shown.revision, **{"from": file})

    def _shown(self, request: Request) -> tuple[Task, str, SlicerProcess, Shown]:
        _, task, who = self.tasks.asked(request)
        process = self.people.has(who)
        if process is None or process.shown is None:
            raise NnActiveError("3D Slicer's editor has ended. Reload the page; it goes on from the last draft.")
        shown: Shown = process.shown
        if shown.task != task.id:
            raise NnActiveError(
                f"3D Slicer's editor now shows {shown.task}, which was opened in another tab; the work on {task.id} is kept as "
                "a draft. Reload this page to go on with it."
            )
        return task, who, process, shown

    @staticmethod
    def _next(task: str | None) -> str | None:
        return task and f"/tasks/{quote(task, safe='')}/slicer"


def _painted(experiment: Experiment) -> dict[str, int]:
    """The labels that are painted, ``ignore`` last."""
    names = {name: value for name, value in experiment.dataset.labels.names.items() if value != 0}
    return dict(sorted(names.items(), key=lambda item: (item[0] == IGNORE, item[1])))


def _labels(process: SlicerProcess, shown: Shown) -> tuple[np.ndarray, bool]:
    """What the process shows in the patch, (z, y, x), and whether it is new."""
    said = process.ask(do="labels", task=shown.task, to=str(_file(shown)))
    if said["outside"]:
        raise NnActiveError(f"{shown.task}: {said['outside']} voxels outside the patch are labelled. Undo the last step.")
    return np.load(_file(shown)), said["changed"]


def _file(shown: Shown) -> Path:
    return Path(shown.folder.name) / "now.npy"


def _largest(page: Mapping[str, Any], start: Path) -> str:
    """The orientation, in Slicer's words, of the plane in which thick slices were acquired; else axial."""
    import nibabel

    image: Any = nibabel.load(start)
    sides = [float(side) for side in image.header.get_zooms()[:3]]
    largest, second = sorted(sides, reverse=True)[:2]
    if largest <= THICK * second * 1.001:
        return "Axial"
    code = nibabel.aff2axcodes(image.affine)[sides.index(largest)]
    return {"L": "Sagittal", "R": "Sagittal", "A": "Coronal", "P": "Coronal", "S": "Axial", "I": "Axial"}[code]
