"""The page on which structures are marked in whole images, and what it sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.marking import marked
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.pages.colours import IGNORE, colours
from nnactive_ext.pages.slices import CT_WINDOWS
from nnactive_ext.pages.templates import render
from nnactive_ext.schemas import of_text
from nnactive_ext.serve.crops import Cache
from nnactive_ext.serve.make_crop import OVERVIEW
from nnactive_ext.serve.points import MOST, PagePoints, checked, mark
from nnactive_ext.serve.replies import body_of, who_asks
from nnactive_ext.serve.site import Site
from nnactive_ext.words import count, natural

LARGEST = 1 << 20
"""Bytes that a list of points may have."""


@dataclass
class PointPages:
    """Answers requests about points."""

    site: Site
    cache: Cache

    def page(self, request: Request) -> Response:
        """Cases to choose from, classes, and how many points of each are there."""
        experiment, who = self.site.experiment, who_asks(self.site, request)
        labels = experiment.dataset.labels
        shown = {name: colour for name, colour in colours(labels.names).items() if name not in ("background", IGNORE)}
        cases = sorted(self.site.cases(experiment), key=natural)
        settings = {"cases": cases, "colours": shown, "ct_windows": CT_WINDOWS, "who": who}
        page = render(
            "serve",
            "points.html",
            name=experiment.name,
            who=who,
            cases=cases,
            classes=list(shown.items()),
            goals=_goals(experiment),
            is_open=experiment.last_loop > experiment.state["cycle"],
            settings=settings,
        )
        return HTMLResponse(page)

    def facts(self, request: Request) -> Response:
        """What the page shows of a case; makes the overview first where that is needed."""
        _, page = self._overview(request)
        return JSONResponse({**page, "case": request.path_params["case"]})

    def image(self, request: Request) -> Response:
        """The first channel of a whole image, with fewer voxels where it is large."""
        folder, _ = self._overview(request)
        return FileResponse(folder / OVERVIEW, media_type="application/gzip")

    async def add(self, request: Request) -> Response:
        """Add patches around the points of the page."""
        content = await body_of(request, LARGEST)
        try:
            rows = checked(of_text(PagePoints, content))
        except ValueError as error:
            raise NnActiveError(f"Mark 1 to {MOST} points, then add them ({error}).") from None
        who = who_asks(self.site, request)

        def keep() -> dict[str, Any]:
            with self.site.writing() as experiment:
                if self.site.private:  # elsewhere the code of the command says which cases there are
                    rows[:] = [[self.site.case(experiment, name), *facts] for name, *facts in rows]
                made = mark(experiment, rows, who, self.site.folder / "points")
                goals = _goals(experiment.anew())
            text = f"{count(len(made.added), 'patch', 'patches')} added"
            if made.covered:
                text += f"; {count(len(made.covered), 'point lies', 'points lie')} in patches that were chosen before"
            return {"text": f"{text}. The queue lists the tasks.", "goals": goals}

        return JSONResponse(await run_in_threadpool(keep))

    def _overview(self, request: Request) -> tuple[Path, Mapping[str, Any]]:
        experiment = self.site.experiment
        return self.cache.overview(experiment, self.site.case(experiment, request.path_params["case"]))


def _goals(experiment: Experiment) -> dict[str, tuple[int, int]]:
    """Of each class: how many points are marked, and how many are asked for; empty behind the first cycle."""
    return marked(experiment) if experiment.state["cycle"] < 0 else {}
