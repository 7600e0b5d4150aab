"""The page of a task, its crop and labels, and what it sends: answers, drafts, signs of life."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.page import BADGES
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.plan import IRRELEVANT, RELEVANT
from nnactive_ext.labelling.tasks import Task, asked_in
from nnactive_ext.labelling.verdicts import give
from nnactive_ext.members.reasons import reason
from nnactive_ext.pages.colours import IGNORE, colours
from nnactive_ext.pages.slices import CT_WINDOWS
from nnactive_ext.pages.templates import render
from nnactive_ext.serve.answers import check_size, hand_in, largest, number_of_answers
from nnactive_ext.serve.crops import Cache
from nnactive_ext.serve.drafts import Draft, Drafts
from nnactive_ext.serve.labels import labels_now
from nnactive_ext.serve.make_crop import MADE_FROM
from nnactive_ext.serve.presence import Presence
from nnactive_ext.serve.queue import Row, following, rows
from nnactive_ext.serve.replies import body_of, number, who_asks
from nnactive_ext.serve.site import NotFound, Site
from nnactive_ext.serve.slicer_process import installed

AHEAD = 2
"""Tasks whose crops are made while somebody works on the one before."""
NIFTI = "application/gzip"


@dataclass
class TaskPages:
    """Answers requests about single tasks."""

    site: Site
    cache: Cache
    presence: Presence = field(default_factory=Presence)

    @property
    def drafts(self) -> Drafts:
        """Below the folder of the experiment's annotations."""
        return Drafts(self.site.folder / "drafts")

    def rows(self, experiment: Experiment, who: str, cycle: int | None = None) -> list[Row]:
        """The queue as ``who`` sees it, with the ids and cases that browsers know; ``cycle``: an earlier one instead of the
        last."""
        tasks = self.site.tasks(experiment) if cycle is None else asked_in(experiment, cycle)
        drafted = {task.id for task in tasks if (draft := self.draft_of(experiment, task, who)) and draft.labels}
        pictured = {task.id for task in tasks if self.cache.has(task)}
        made = rows(experiment, tasks, self.presence.open(), drafted, pictured)
        shown = {task.id: self.site.shown(task) for task in tasks}
        said = {row.id: self.site.told(row.verdict) if row.verdict else "" for row in made}
        return [replace(row, id=shown[row.id].id, case=shown[row.id].patch.case, verdict=said[row.id]) for row in made]

    def page(self, request: Request) -> Response:
        """The editor of one task; it asks for its crop itself, which may take a moment to make."""
        experiment, asked, who = self.asked(request)
        task, labels = self.site.shown(asked), experiment.dataset.labels
        if labels.ignore > 255:
            raise NnActiveError(
                f"{experiment.name} has {labels.ignore} labels, and the editor in the browser paints up to 255. Use "
                f"{experiment.commands.annotate('export')} and another viewer."
            )
        names = dict(sorted(labels.names.items(), key=lambda item: item[1]))
        shades = colours(names)
        settings = {
            "id": task.id,
            "who": who,
            "names": names,
            "colours": shades,
            "ignore": names[IGNORE],
            "ct_windows": CT_WINDOWS,
            "number": experiment.number,
        }
        page = render(
            "serve",
            "pages/task.html",
            **self.head(experiment, task, who),
            classes=[(name, value, colour) for (name, value), colour in zip(names.items(), shades.values(), strict=True)],
            ignore=names[IGNORE],
            settings=settings,
            interactive=self.site.interactive,
            slicer=installed(),
        )
        return HTMLResponse(page)

    def head(self, experiment: Experiment, task: Task, who: str) -> dict[str, Any]:
        """What the page of a task, in any editor, says of it; ``task`` as browsers know it."""
        shown, why = self.rows(experiment, who, task.cycle), reason(task)
        place = [row.id for row in shown].index(task.id)
        row = shown[place]
        facts = {"badge": row.badge, "place": place + 1, "total": len(shown), "verdict": row.verdict, "whole": row.whole}
        return {"task": task, "who": who, "why": why[:1].upper() + why[1:], **facts}

    def state(self, experiment: Experiment, task: Task, who: str) -> dict[str, Any]:
        """The status of a task, and the id of the one after it in the queue."""
        shown, known = self.rows(experiment, who), self.site.shown(task).id
        of_cycle = shown if task.cycle == experiment.last_loop else self.rows(experiment, who, task.cycle)
        status = next(row.status for row in of_cycle if row.id == known)
        return {"status": status, "next": following(shown, known, who)}

    def crop(self, request: Request) -> Response:
        """What the page shows of the crop; makes it first where that is needed."""
        experiment, task, who = self.asked(request)
        _, page = self.cache.task(experiment, task)
        known = self.site.shown(task)
        state = self.state(experiment, task, who)
        draft, others = self.draft_of(experiment, task, who), self.presence.others(task.id, who)
        left = draft is not None and bool(draft.labels) and draft.label_version != page["label_version"]
        return JSONResponse(
            {
                **{key: value for key, value in page.items() if key != MADE_FROM},  # no business of a browser's
                "id": known.id,
                "case": known.patch.case,
                "status": state["status"],
                "next": state["next"] and f"/tasks/{quote(state['next'], safe='')}",
                "others": others,
                "revision": draft.revision if draft else 0,
                "draft": bool(draft and draft.labels and not left),
                "outdated_draft": left,
            }
        )

    def image(self, request: Request) -> Response:
        """One channel of the crop, as ``.nii.gz``."""
        experiment, task, _ = self.asked(request)
        channel, channels = request.path_params["channel"], len(experiment.dataset.json["channel_names"])
        if channel >= channels:  # whether or not its crop can be made
            raise NotFound(f"{self.site.shown(task).id} has {channels} channels.")
        folder, _ = self.cache.task(experiment, task)
        return FileResponse(folder / f"image_{channel}.nii.gz", media_type=NIFTI)

    def picture(self, request: Request) -> Response:
        """A picture of the crop for the queue, where there is one already."""
        _, task, _ = self.asked(request)
        file = self.site.folder / "crops" / task.id / f"picture_{request.path_params['number']}.png"
        if not file.is_file():
            raise NotFound(f"{self.site.shown(task).id}: no such picture.")
        return FileResponse(file, media_type="image/png")

    def label(self, request: Request) -> Response:
        """The label map to go on from."""
        experiment, task, who = self.asked(request)
        return Response(self.labels(experiment, task, who, *self.cache.task(experiment, task)), media_type=NIFTI)

    def labels(self, experiment: Experiment, task: Task, who: str, folder: Path, page: Mapping[str, Any]) -> bytes:
        """The draft of ``who``, else their answer, else what the task starts with, as the bytes of a ``.nii.gz``."""
        draft = self.draft_of(experiment, task, who)
        if draft and draft.labels and draft.label_version == page["label_version"]:
            return draft.labels
        return labels_now(experiment, task, who, folder, page)

    async def answer(self, request: Request) -> Response:
        """Hand in an answer, in the same way as a file by ``nnactive_annotate import``."""
        experiment, task, who = await run_in_threadpool(self.asked, request)
        _, page = await run_in_threadpool(self.cache.task, experiment, task)
        content = await body_of(request, largest(page)[0])
        version, seconds = number(request, "label_version"), seconds_of(request)
        return JSONResponse(await run_in_threadpool(self.take, task, who, page, content, version, seconds))

    def take(
        self, task: Task, who: str, page: Mapping[str, Any], content: bytes, version: int, seconds: float
    ) -> dict[str, Any]:
        """Hand in ``content``, the bytes of a label map of the crop; returns what the page says then."""
        check_size(content, page)
        with self.site.writing() as held:
            before = self.draft_of(held, task, who)
            worked = seconds + (before.seconds if before else 0.0)
            done = hand_in(held, task, who, content, version, worked, self.site.folder)
            self.drafts.remove(task.id, who)
        after = following(self.rows(held.anew(), who), self.site.shown(task).id, who)
        badge = BADGES.get(done.status, done.status)
        following_page = after and f"/tasks/{quote(after, safe='')}"
        text = self.site.told(done.text)
        return {"taken": done.taken, "text": text, "status": done.status, "badge": badge, "next": following_page}

    async def verdict(self, request: Request) -> Response:
        """Say that the patch of a task, or all of its case, is irrelevant or relevant, as ``nnactive_annotate verdict``."""
        _, task, who = await run_in_threadpool(self.asked, request)
        form = parse_qs((await body_of(request, 1 << 12)).decode(errors="replace"))
        verdict, about, why = (form.get(name, [""])[0].strip() for name in ("verdict", "about", "why"))
        if verdict not in (IRRELEVANT, RELEVANT) or about not in ("patch", "case"):
            raise NnActiveError(f"verdict={verdict!r}, about={about!r}: say irrelevant or relevant, of a patch or a case.")
        return JSONResponse(await run_in_threadpool(self.judge, task, who, verdict == IRRELEVANT, about == "case", why))

    def judge(self, task: Task, who: str, irrelevant: bool, whole: bool, why: str) -> dict[str, Any]:
        """Record a verdict on the patch of a task, or on its ``whole`` case; returns what the page says then."""
        with self.site.writing() as held:
            give(held, [task.patch.case if whole else task], irrelevant, who, why)
        shown, known = self.rows(self.site.experiment, who, task.cycle), self.site.shown(task).id
        row = next((row for row in shown if row.id == known), None)
        if row is None:
            raise NotFound(f"{known}: another command took its case out of the pool.")
        after = self.state(self.site.experiment, task, who)["next"]
        text = f"The {'case' if whole else 'patch'} is {IRRELEVANT if irrelevant else RELEVANT}"
        if whole:
            text += ". Its place in the pool follows when the next command of the experiment runs"
        following_page = after and f"/tasks/{quote(after, safe='')}"
        facts = {"text": text, "verdict": row.verdict, "status": row.status, "badge": row.badge}
        return {**facts, "next": following_page}

    async def draft(self, request: Request) -> Response:
        """Keep unfinished work, and the time that it took; an empty body is time alone."""
        experiment, task, who = await run_in_threadpool(self.asked, request)
        _, page = await run_in_threadpool(self.cache.task, experiment, task)
        content = await body_of(request, largest(page)[0])
        version, seconds = number(request, "label_version"), seconds_of(request)
        base = None if request.query_params.get("force") else number(request, "revision")
        tab = request.query_params.get("tab", "")
        made = Draft(task.id, who, tab, 0, seconds, 0, version, content)
        return JSONResponse(await run_in_threadpool(self.keep, experiment, task, page, made, base))

    def keep(
        self, experiment: Experiment, task: Task, page: Mapping[str, Any], made: Draft, base: int | None
    ) -> dict[str, Any]:
        """Keep a draft, whose ``seconds`` are added to those before; ``base``: the revision that it goes on from."""
        check_size(made.labels, page)
        # The experiment's lock would make a draft wait for other commands, and nobody else reads it.
        with self.site.drafting:
            before = self.draft_of(experiment, task, made.who)
            worked = made.seconds + (before.seconds if before else 0.0)
            labels = made.labels or (before.labels if before else b"")
            answers = number_of_answers(experiment, task, made.who)
            whole = replace(made, revision=before.revision if before else 0, seconds=worked, answers=answers, labels=labels)
            kept = self.drafts.write(whole, base if made.labels else None)
        self.presence.here(task.id, made.who, made.tab)
        return {"revision": kept.revision, "others": self.presence.others(task.id, made.who, made.tab)}

    def here(self, request: Request) -> Response:
        """A page shows the task; the reply says who else has it open. Now there is time to make the crops of the next ones."""
        experiment, task, who = self.asked(request)
        tab = request.query_params.get("tab", "")
        self.presence.here(task.id, who, tab)
        self.prepare(experiment, self.rows(experiment, who), self.site.shown(task).id)
        return JSONResponse({"others": self.presence.others(task.id, who, tab)})

    def left(self, request: Request) -> Response:
        """A page was closed."""
        _, task, who = self.asked(request)
        self.presence.left(task.id, who, request.query_params.get("tab", ""))
        return Response(status_code=204)

    def asked(self, request: Request) -> tuple[Experiment, Task, str]:
        """The experiment, the task of the address, and who asks."""
        experiment = self.site.experiment
        return experiment, self.site.task(experiment, request.path_params["id"]), who_asks(self.site, request)

    def draft_of(self, experiment: Experiment, task: Task, who: str) -> Draft | None:
        """The draft of ``who``; none if an answer of theirs came later, which a killed server may have left it beside."""
        draft = self.drafts.read(task.id, who)
        if draft is None or draft.answers < number_of_answers(experiment, task, who):
            return None
        return draft

    def prepare(self, experiment: Experiment, shown: list[Row], after: str = "") -> None:
        """Make the crops of the next tasks ``after`` one, or of the first ones, while somebody looks at another page."""
        ids = [row.id for row in shown]
        place = ids.index(after) + 1 if after in ids else 0  # a task of an earlier cycle is not among them
        coming = [row for row in [*shown[place:], *shown[:place]] if row.status != "done" and row.id != after][:AHEAD]
        tasks = {self.site.shown(task).id: task for task in self.site.tasks(experiment)}
        self.cache.ahead(experiment, [tasks[row.id] for row in coming if not row.pictured])


def seconds_of(request: Request) -> float:
    """``?seconds=`` of the address: time since the last report.

    Raises:
        NnActiveError: it is missing, or none that can be.
    """
    seconds = number(request, "seconds", float)
    if not (math.isfinite(seconds) and 0 <= seconds < 86_400):
        raise NnActiveError(f"seconds={seconds:g}: give the time since the last report, at most a day.")
    return seconds
