"""Small pieces of requests and replies: who asks, bodies of limited size, errors as pages or as JSON."""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import unquote

from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from nnactive_ext.errors import NnActiveError, brief
from nnactive_ext.experiment.locks import LockHeld
from nnactive_ext.labelling.answers import check_annotator
from nnactive_ext.pages.templates import render
from nnactive_ext.refusals import logged
from nnactive_ext.serve.answers import TooLarge
from nnactive_ext.serve.drafts import Overtaken
from nnactive_ext.serve.site import NotFound, Site
from nnactive_ext.serve.training import Busy

WHO = "nnactive_who"
"""The cookie with the name that a person gave."""
EDITOR = "nnactive_editor"
"""The cookie with the editor that a person used last."""
BUSY = "Another command is working on this experiment. Wait for it to end, then try again."
_STATUS = ((NotFound, 404), (Overtaken, 409), (Busy, 409), (TooLarge, 413), (LockHeld, 503))


def editor_of(site: Site, request: HTTPConnection) -> str:
    """What the address of a task ends with, so that it opens in the editor that the person used last."""
    return "/slicer" if (request.cookies.get(EDITOR) or site.editor) == "slicer" else ""


def who_asks(site: Site, request: HTTPConnection) -> str:
    """The name of the person: the one they gave in the page, else the server's."""
    name = unquote(request.cookies.get(WHO, "")) or site.who
    check_annotator(name)
    return name


def number(request: Request, name: str, kind: Any = int) -> Any:
    """A number of the address, such as ``?seconds=12.5``.

    Raises:
        NnActiveError: it is missing or none.
    """
    text = request.query_params.get(name, "")
    try:
        return kind(text)
    except ValueError:
        raise NnActiveError(f"{name}={text!r} is no number.") from None


async def body_of(request: Request, most: int) -> bytes:
    """The body of a request; one of more than ``most`` bytes is not read to its end.

    Raises:
        TooLarge: it has more.
    """
    said = request.headers.get("content-length", "")
    content = bytearray()
    if not said.isdecimal() or int(said) <= most:
        try:
            async for chunk in request.stream():
                content += chunk
                if len(content) > most:
                    break
            else:
                return bytes(content)
        except ClientDisconnect:
            raise NnActiveError("The page was closed while it was sending.") from None
    raise TooLarge(f"The upload has more than the {most} bytes that it may have.")


def failed(request: Request, error: Exception) -> Response:
    """An error of the server's machine, such as a full disk; the page keeps what it holds and may try again."""
    why = (error.strerror if isinstance(error, OSError) else "") or brief(error)
    print(f"ERROR: {request.method} {request.url.path}: {why}. {logged(error)}", file=sys.stderr)
    text = f"The server's machine failed ({why}). Tell the person who runs the server, then try again."
    return JSONResponse({"error": text}, 503)


def refused(request: Request, error: Exception) -> Response:
    """An error for the user: a page where a page was asked for, else JSON that the page shows."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 422)
    site: Site = request.app.state.site
    text = BUSY if site.private and isinstance(error, LockHeld) else site.told(str(error))
    text = text.encode(errors="backslashreplace").decode()
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(render("serve", "refused.html", text=text), status)
    return JSONResponse({"error": text}, status)
