"""Passes requests below ``/slicer/`` on to the process of the person who asks; nobody reaches the process otherwise."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from nnactive_ext.serve.slicer_app import SECRET
from nnactive_ext.serve.slicer_process import SlicerProcess

MOST = 64 << 20
"""Bytes of one message of the process; a picture of a large screen has a few million."""
_KEPT = ("content-type", "cache-control", "etag", "last-modified", "location")
_INLINE = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


@dataclass(frozen=True)
class Proxy:
    """An ASGI application. ``whose``: the process of whoever asks, None if there is none."""

    whose: Callable[[HTTPConnection], SlicerProcess | None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        process = self.whose(HTTPConnection(scope))
        if scope["type"] == "websocket":
            await self._socket(WebSocket(scope, receive, send), process)
        else:
            scope["nnactive_policy"] = _policy(b"")
            response = await self._reply(Request(scope, receive), process)
            await response(scope, receive, send)

    async def _reply(self, request: Request, process: SlicerProcess | None) -> Response:
        import httpx

        if process is None or not process.port:
            return PlainTextResponse("3D Slicer's editor does not run. Open a task.", 404)
        if request.method not in ("GET", "HEAD"):
            return PlainTextResponse("Only GET is answered here.", 405)
        try:
            # Not from the environment: a proxy of the network must not see what stays on this machine.
            async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
                got = await client.request(request.method, _address("http", process, request), headers={SECRET: process.secret})
        except httpx.HTTPError:
            return PlainTextResponse("3D Slicer's editor does not answer. Reload the page.", 502)
        headers = {name: got.headers[name] for name in _KEPT if name in got.headers}
        if "text/html" in headers.get("content-type", ""):
            request.scope["nnactive_policy"] = _policy(got.content)
        return Response(got.content, got.status_code, headers)

    async def _socket(self, here: WebSocket, process: SlicerProcess | None) -> None:
        import websockets

        if process is None or not process.port:
            await here.close(1013)
            return
        try:
            there = await websockets.connect(
                _address("ws", process, here),
                additional_headers={SECRET: process.secret},
                max_size=MOST,
                compression=None,
                proxy=None,
                ping_interval=None,  # it may be busy with an image for long
            )
        except (OSError, websockets.WebSocketException):
            await here.close(1013)
            return
        async with there:
            await here.accept()
            ways = [asyncio.create_task(_out(here, there, process)), asyncio.create_task(_back(there, here))]
            _, left = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in left:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        with suppress(RuntimeError, WebSocketDisconnect):
            await here.close()


async def _out(here: WebSocket, there: Any, process: SlicerProcess) -> None:
    while True:
        message = await here.receive()
        if message["type"] == "websocket.disconnect":
            return
        process.used()
        content = message.get("bytes")
        await there.send(message["text"] if content is None else content)


async def _back(there: Any, here: WebSocket) -> None:
    async for content in there:
        if isinstance(content, str):
            await here.send_text(content)
        else:
            await here.send_bytes(content)


def _address(scheme: str, process: SlicerProcess, asked: HTTPConnection) -> str:
    path = asked.scope["raw_path"].decode("latin-1").partition("/slicer/")[2]
    query = asked.scope["query_string"].decode("latin-1")
    return f"{scheme}://127.0.0.1:{process.port}/{path}{'?' if query else ''}{query}"


def _policy(page: bytes) -> str:
    """What Slicer's page may load: this server only. Its framework compiles templates in the browser."""
    scripts = [f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" for text in _INLINE.findall(page)]
    return (
        f"default-src 'none'; script-src 'self' 'unsafe-eval' {' '.join(scripts)}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; media-src blob:; worker-src 'self' blob:; connect-src 'self'; "
        "form-action 'none'; base-uri 'self'; frame-ancestors 'self'"
    )
