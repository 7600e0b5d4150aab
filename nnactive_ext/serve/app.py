"""The server's addresses, and which page answers each."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

from markupsafe import Markup
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from nnactive_ext.errors import NnActiveError
from nnactive_ext.labelling.answers import check_annotator
from nnactive_ext.pages.templates import render
from nnactive_ext.pages.vendored import NIIVUE
from nnactive_ext.serve.crops import Cache
from nnactive_ext.serve.point_pages import PointPages
from nnactive_ext.serve.prompts import PromptPages
from nnactive_ext.serve.queue_page import QueuePage
from nnactive_ext.serve.replies import WHO, body_of, editor_of, failed, refused, who_asks
from nnactive_ext.serve.site import NotFound, Site
from nnactive_ext.serve.slicer_pages import SlicerPages, remembering
from nnactive_ext.serve.slicer_people import People
from nnactive_ext.serve.slicer_process import SlicerProcess
from nnactive_ext.serve.slicer_proxy import Proxy
from nnactive_ext.serve.task_pages import TaskPages
from nnactive_ext.serve.training import Training
from nnactive_ext.serve.training_pages import TrainingPages

SCRIPTS = {
    "editor.js": "pages",
    "clock.js": "pages",
    "task.js": "pages",
    "server.js": "serve",
    "points.js": "serve",
    "queue.js": "serve",
    "interactive.js": "serve",
    "slicer.js": "serve",
    "verdict.js": "pages",
}
"""The scripts of our pages, and the rooms that have them; niivue.js is the only other one."""


def build(site: Site, cache: Cache | None = None, people: People | None = None) -> Starlette:
    """The application for one experiment, without what keeps others out (:class:`nnactive_ext.serve.safety.Guard`).

    Args:
        site: the experiment, and who asks unless they say so.
        cache: of the crops (default: one in the folder of the site).
        people: their processes with 3D Slicer's editor; the caller closes them.

    Returns:
        An ASGI application.
    """
    cache = cache or Cache(site)
    tasks, points = TaskPages(site, cache), PointPages(site, cache)
    slicer = SlicerPages(tasks, people or People(lambda: SlicerProcess(site.folder / "slicer.log")))
    listed = QueuePage(tasks)
    training = TrainingPages(site, listed, Training(site))

    def queue(request: Request) -> Response:
        experiment, who = site.experiment, who_asks(site, request)
        stamp = training.stamp(experiment, who)  # before what it stands for
        made = {"training": training.html(experiment), **listed.parts(experiment, who, editor_of(site, request))}
        parts = {name: Markup(html) for name, html in made.items()}
        title = listed.title(experiment)
        return HTMLResponse(render("serve", "queue.html", name=experiment.name, title=title, who=who, stamp=stamp, parts=parts))

    async def name(request: Request) -> Response:
        content = await body_of(request, 1 << 12)
        who = parse_qs(content.decode(errors="replace")).get("who", [""])[0].strip()
        check_annotator(who)
        response = RedirectResponse("/", 303)
        response.set_cookie(WHO, quote(who), max_age=400 * 86_400, httponly=True, samesite="strict")
        return response

    routes = [
        Route("/", queue),
        Route("/who", name, methods=["POST"]),
        Route("/now", training.now),
        Route("/train", training.start, methods=["POST"]),
        Route("/stop", training.stop, methods=["POST"]),
        Route("/tasks/{id}", remembering("light", tasks.page)),
        Route("/tasks/{id}/slicer", remembering("slicer", slicer.page)),
        Route("/tasks/{id}/slicer/open", slicer.open, methods=["POST"]),
        Route("/tasks/{id}/slicer/answer", slicer.answer, methods=["POST"]),
        Route("/tasks/{id}/slicer/draft", slicer.draft, methods=["POST"]),
        Route("/tasks/{id}/slicer/channel", slicer.channel, methods=["POST"]),
        Route("/tasks/{id}/slicer/lock", slicer.lock, methods=["POST"]),
        Mount("/slicer", Proxy(slicer.whose)),
        Route("/tasks/{id}", tasks.answer, methods=["PUT"]),
        Route("/tasks/{id}/draft", tasks.draft, methods=["PUT"]),
        Route("/tasks/{id}/verdict", tasks.verdict, methods=["POST"]),
        Route("/tasks/{id}/here", tasks.here, methods=["POST"]),
        Route("/tasks/{id}/left", tasks.left, methods=["POST"]),
        Route("/tasks/{id}/crop", tasks.crop),
        Route("/tasks/{id}/image/{channel:int}", tasks.image),
        Route("/tasks/{id}/picture/{number:int}", tasks.picture),
        Route("/tasks/{id}/label", tasks.label),
        *(PromptPages(site, cache, site.interactive).routes() if site.interactive else ()),
        Route("/points", points.page),
        Route("/points", points.add, methods=["POST"]),
        Route("/points/{case}/facts", points.facts),
        Route("/points/{case}/image", points.image),
        Route("/assets/{name}", _asset),
        Route("/favicon.ico", lambda request: Response(status_code=204)),
    ]
    handlers: Any = {NnActiveError: refused, OSError: failed, MemoryError: failed}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.state.site = site
    return app


def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name == "niivue.js":
        return FileResponse(NIIVUE, media_type="text/javascript", headers={"cache-control": "private, max-age=3600"})
    if name not in SCRIPTS:
        raise NotFound(f"There is no {name!r}.")
    file = Path(str(resources.files(f"nnactive_ext.{SCRIPTS[name]}") / "assets" / name))
    return FileResponse(file, media_type="text/javascript", headers={"cache-control": "no-cache"})
