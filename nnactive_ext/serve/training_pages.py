"""The part of the queue page that trains: what a button would do, how far a run is, how it ended, and what comes next."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.marks import STATE
from nnactive_ext.files import changed_at
from nnactive_ext.labelling.ledger import LEDGER
from nnactive_ext.loop.outlook import DONE, outlook, takes
from nnactive_ext.loop.stages import cycle_under_way, stages
from nnactive_ext.loop.status import cycles_done, next_step
from nnactive_ext.pages.templates import render
from nnactive_ext.report.worth import worth
from nnactive_ext.screening.files import screening_folder
from nnactive_ext.serve.queue_page import QueuePage
from nnactive_ext.serve.replies import body_of, editor_of, who_asks
from nnactive_ext.serve.run_note import place
from nnactive_ext.serve.site import Site
from nnactive_ext.serve.training import Training


@dataclass
class TrainingPages:
    """Answers requests about training, and those of a queue page that looks whether anything is new."""

    site: Site
    queue: QueuePage
    training: Training
    _worth: tuple[list[int], Future[str]] | None = None
    """What was asked last of :func:`worth`, and by what its answer is known."""
    _told: tuple[list[int], str] = field(default_factory=lambda: ([], ""))
    """The last line, and where the experiment stood then."""
    _asking: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="worth"))

    def html(self, experiment: Experiment) -> str:
        """The part of the page."""
        now, found = self.training.now(experiment), outlook(experiment)
        share = found.share
        values: dict[str, Any] = {
            "now": replace(now, text=self.site.told(now.text)) if now.text else now,
            "began": datetime.fromtimestamp(now.began).strftime("%H:%M") if now.began else "",
            "cycle": cycle_under_way(experiment),
            "cycles": experiment.plan.cycles,
            "ended": cycles_done(experiment.plan.cycles),
            "stages": stages(experiment),
            "outlook": found,
            "share": share,
            "takes": takes(experiment),
            "worth": self._worth_it(experiment) if not now.at_work else "",
            "log": self.training.log,
            "next": self._next(experiment) if found.kind == DONE and not now.at_work else [],
        }
        return render("serve", "training.html", **values)

    def _next(self, experiment: Experiment) -> list[str]:
        """What to do after the last cycle, without the heading, and without the lines that a browser must not get."""
        heading = f"{cycles_done(experiment.plan.cycles)}."
        return [line for line in next_step(experiment).splitlines() if line != heading and self.site.told(line) == line]

    def now(self, request: Request) -> Response:
        """What the page shows now, as JSON; the tasks only where they are not as ``?seen`` says."""
        experiment, who = self.site.experiment, who_asks(self.site, request)
        stamp = self.stamp(experiment, who)
        parts = {"training": self.html(experiment)}
        if request.query_params.get("seen") != stamp:
            parts |= self.queue.parts(experiment, who, editor_of(self.site, request))
        return JSONResponse({"stamp": stamp, "parts": parts, "title": self.queue.title(experiment)})

    async def start(self, request: Request) -> Response:
        """Start a run."""
        asked, who = parse_qs((await body_of(request, 1 << 12)).decode(errors="replace")), who_asks(self.site, request)
        cycle = asked.get("cycle", [""])[0]
        await run_in_threadpool(self.training.start, who, int(cycle) if cycle.isdecimal() else -1, "anyway" in asked)
        return JSONResponse({})

    def stop(self, request: Request) -> Response:
        """Stop the run that a page started."""
        self.training.stop()
        return JSONResponse({})

    def stamp(self, experiment: Experiment, who: str) -> str:
        """Changes with everything that the list of tasks shows to ``who``."""
        folder = self.site.folder
        files = [experiment.annotation / LEDGER, experiment.preprocessed.folder / STATE, folder / "drafts", folder / "crops"]
        files.append(screening_folder(experiment))  # of the second looks
        seen = [changed_at(file) for file in files]
        facts = [who, experiment.last_loop, *seen, self.queue.tasks.presence.open()]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def _worth_it(self, experiment: Experiment) -> str:
        """The line on whether another cycle seems worth it, which no page waits for: it is empty until the first of a cycle is
        computed, and after an answer for a moment the one before."""
        where = place(experiment)
        if not where[-1]:
            return ""
        key = [*where, changed_at(experiment.annotation / LEDGER)]  # an answer leaves fewer patches, and tells of minutes
        if self._worth and self._worth[1].done():
            known, asked = self._worth
            if asked.exception():
                self._worth = None  # a file was being written, or status says which one is damaged
            elif known[:-1] == where:
                self._told = where, asked.result()
        if not self._worth or (self._worth[0] != key and self._worth[1].done()):
            self._worth = key, self._asking.submit(worth, experiment)
        return self._told[1] if self._told[0] == where else ""
