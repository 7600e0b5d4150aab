"""A stand-in for nninteractive-server: its protocol as release 2.6.0 has it, with region growing instead of a network.

The client's own module packs and unpacks arrays; routes, headers, leases and errors follow ``inference/server/app.py`` of the
package nnInteractive, which is not installed here because it brings a network.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import uvicorn
from nnInteractive.inference.remote import _protocol as protocol
from nnInteractive.inference.remote.serialization import pack_array, unpack_array
from scipy import ndimage
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TOLERANCE = 60.0
"""Grey values that a region may differ from the mean under its prompt."""


def grown(image: np.ndarray, prompt: np.ndarray) -> np.ndarray:
    """The voxels that are as bright as what lies under ``prompt``, and connected to it; both in the same order of axes."""
    alike = np.abs(image - image[prompt].mean()) <= TOLERANCE
    regions, _ = ndimage.label(alike)
    touched = np.unique(regions[prompt])
    return np.isin(regions, touched[touched > 0])


@dataclass
class Session:
    """What the server keeps of one client."""

    image: np.ndarray | None = None
    start: np.ndarray | None = None
    target: np.ndarray | None = None
    prompts: list[tuple[np.ndarray, bool]] = field(default_factory=list)
    last: tuple[Any, ...] | None = None

    def compute(self) -> np.ndarray:
        found = self.start.copy() if self.start is not None else np.zeros(self.image.shape, bool)
        for prompt, include in self.prompts:
            region = grown(self.image, prompt)
            found = found | region if include else found & ~region
        return found


@dataclass
class StandIn:
    """``delay``: seconds that a prompt takes; ``wrong``: how the reply is wrong; ``calls``: what it was asked, in order."""

    key: str | None = None
    delay: float = 0.0
    image_delay: float = 0.0
    wrong: str = ""
    licence: str = "CC BY-NC-SA 4.0"
    most: int = 8
    supports: dict[str, bool] = field(default_factory=lambda: {"points": True, "scribble": True, "lasso": True, "bbox2d": True})
    supports_start: bool = True
    supports_undo: bool = True
    port: int = 0
    sessions: dict[str, Session] = field(default_factory=dict)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    images: list[np.ndarray] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def names(self) -> list[str]:
        """What it was asked, without what keeps a session alive."""
        return [name for name, _ in self.calls if name not in ("heartbeat", "capabilities")]

    def session(self, request: Request) -> Session:
        self.headers.append(dict(request.headers))
        if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
            raise HTTPException(401, "Missing bearer token")
        if request.url.path in (protocol.PATH_CLAIM, protocol.PATH_CAPABILITIES):
            return Session()
        lease = request.headers.get(protocol.LEASE_HEADER)
        if lease not in self.sessions:
            raise HTTPException(410, "lease expired or unknown")
        return self.sessions[lease]

    def app(self) -> Starlette:
        async def claim(request: Request) -> Response:
            self.session(request)
            if len(self.sessions) >= self.most:
                raise HTTPException(503, f"server is at capacity ({self.most} sessions)")
            token = uuid.uuid4().hex
            self.sessions[token] = Session()
            self.calls.append(("claim", None))
            times = {"idle_timeout_seconds": 600.0, "liveness_timeout_seconds": 60.0}
            return JSONResponse({"lease_token": token, "max_sessions": self.most, **times})

        async def release(request: Request) -> Response:
            self.sessions.pop(request.headers.get(protocol.LEASE_HEADER, ""), None)
            self.calls.append(("release", None))
            return JSONResponse({"released": True})

        async def heartbeat(request: Request) -> Response:
            self.session(request)
            return JSONResponse({"remaining_seconds": 600.0})

        async def capabilities(request: Request) -> Response:
            self.session(request)
            return JSONResponse(
                {
                    "supported_interactions": self.supports,
                    "channel_mapping": {"prev_seg": 0, "points": [3, 4], "scribble": [5, 6], "lasso": [1, 2]},
                    "num_interaction_channels": 7,
                    "supports_initial_label": self.supports_start,
                    "supports_zero_shot_label_refinement": True,
                    "preferred_scribble_thickness": [1, 1, 1],
                    "interaction_decay": 0.98,
                    "patch_size": [192, 192, 192],
                    "do_autozoom": True,
                    "inference_session_version": 2,
                    "license": self.licence,
                    "supports_undo": self.supports_undo,
                }
            )

        async def set_image(request: Request) -> Response:
            session, image = self.session(request), unpack_array(await request.body())
            meta = json.loads(request.headers[protocol.META_HEADER])
            await asyncio.sleep(self.image_delay)
            self.calls.append(("set_image", meta))
            self.images.append(image)
            session.image, session.start, session.prompts, session.last = image[0].astype(float), None, [], None
            shape = [1, 2, 3, 4] if self.wrong == "image" else list(image.shape)
            return JSONResponse({"original_image_shape": shape})

        async def set_target(request: Request) -> Response:
            session, asked = self.session(request), await request.json()
            session.target = np.zeros(asked["shape"], asked["dtype"])
            return JSONResponse({})

        async def reset(request: Request) -> Response:
            session = self.session(request)
            session.start, session.prompts, session.last = None, [], None
            session.target[:] = 0
            self.calls.append(("reset", None))
            return JSONResponse({})

        async def initial(request: Request) -> Response:
            session, start = self.session(request), unpack_array(await request.body())
            if start.shape != session.image.shape:
                raise HTTPException(400, "Given initial seg must match input image shape")
            session.start, session.prompts = start > 0, []
            session.target[:] = start
            self.calls.append(("initial", start > 0))
            return self.reply(None)

        async def undo(request: Request) -> Response:
            session = self.session(request)
            if session.last is None:
                return self.reply(None)
            before = session.target.copy()
            session.start, session.prompts, session.target = session.last
            session.last = None
            self.calls.append(("undo", None))
            return self.reply(self.changed(before, session.target), session.target)

        async def point(request: Request) -> Response:
            session, asked = self.session(request), await request.json()
            self.calls.append(("point", (tuple(asked["coordinates"]), asked["include_interaction"])))
            mask = np.zeros(session.image.shape, bool)
            mask[tuple(asked["coordinates"])] = True
            return await self.predict(session, mask, asked["include_interaction"])

        async def drawn(request: Request) -> Response:
            session, given = self.session(request), unpack_array(await request.body())
            asked = json.loads(request.headers[protocol.META_HEADER])
            box = asked["interaction_bbox"] or [[0, n] for n in session.image.shape]
            if list(given.shape) != [high - low for low, high in box]:
                raise HTTPException(400, f"image shape {list(given.shape)} must match interaction_bbox size")
            mask = np.zeros(session.image.shape, bool)
            mask[tuple(slice(*edges) for edges in box)] = given > 0
            self.calls.append((request.url.path.split("_")[1], (mask, asked["include_interaction"])))
            return await self.predict(session, mask, asked["include_interaction"])

        routes = [
            Route(protocol.PATH_HEALTHZ, lambda request: JSONResponse({"ok": True})),
            Route(protocol.PATH_CAPABILITIES, capabilities),
            Route(protocol.PATH_CLAIM, claim, methods=["POST"]),
            Route(protocol.PATH_RELEASE, release, methods=["POST"]),
            Route(protocol.PATH_HEARTBEAT, heartbeat, methods=["POST"]),
            Route(protocol.PATH_SET_IMAGE, set_image, methods=["POST"]),
            Route(protocol.PATH_SET_TARGET_BUFFER, set_target, methods=["POST"]),
            Route(protocol.PATH_RESET_INTERACTIONS, reset, methods=["POST"]),
            Route(protocol.PATH_ADD_INITIAL_SEG, initial, methods=["POST"]),
            Route(protocol.PATH_UNDO, undo, methods=["POST"]),
            Route(protocol.PATH_ADD_POINT, point, methods=["POST"]),
            Route(protocol.PATH_ADD_SCRIBBLE, drawn, methods=["POST"]),
            Route(protocol.PATH_ADD_LASSO, drawn, methods=["POST"]),
        ]
        errors: Any = {HTTPException: lambda request, error: JSONResponse({"detail": error.detail}, error.status_code)}
        return Starlette(routes=routes, exception_handlers=errors)

    async def predict(self, session: Session, mask: np.ndarray, include: bool) -> Response:
        await asyncio.sleep(self.delay)
        if self.wrong == "error":
            raise HTTPException(400, "Input image is entirely zero; cannot determine normalization statistics.")
        session.last = (session.start, list(session.prompts), session.target.copy())
        session.prompts.append((mask, include))
        before, found = session.target.copy(), await run_in_threadpool(session.compute)
        session.target[:] = found
        return self.reply(self.changed(before, session.target), session.target)

    @staticmethod
    def changed(before: np.ndarray, after: np.ndarray) -> list[list[int]] | None:
        places = np.argwhere(before != after)
        if not len(places):
            return None
        return [[int(low), int(high) + 1] for low, high in zip(places.min(0), places.max(0), strict=True)]

    def reply(self, box: list[list[int]] | None, target: np.ndarray | None = None) -> Response:
        if self.wrong == "text":
            return Response("<html>a proxy's page</html>", headers={protocol.META_HEADER: "no JSON"})
        if box is None:
            return Response(
                b"", headers={protocol.META_HEADER: json.dumps({"ran_prediction": target is not None, "bbox": None})}
            )
        part = target[tuple(slice(*edges) for edges in box)]
        if self.wrong == "shape":
            part = part[:1, :1, :1]  # numpy would stretch it
        if self.wrong == "values":
            part = part * 7
        if self.wrong == "outside":
            box = [[low + n, high + n] for (low, high), n in zip(box, target.shape, strict=True)]
        body = pack_array(np.ascontiguousarray(part))
        if self.wrong == "damaged":
            body = body[: len(body) // 2]
        meta = {"ran_prediction": True, "bbox": box, "dtype": str(part.dtype), "shape": list(part.shape)}
        return Response(body, media_type=protocol.CONTENT_TYPE_OCTET_STREAM, headers={protocol.META_HEADER: json.dumps(meta)})


@contextmanager
def stand_in(**options: Any) -> Iterator[StandIn]:
    """Serve until the block ends."""
    made = StandIn(**options)
    listening = socket.create_server(("127.0.0.1", 0))
    made.port = listening.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(made.app(), log_level="error", lifespan="off"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.should_exit = server.force_exit = True
        thread.join(20)
        listening.close()


def until(condition: Any, seconds: float = 10.0) -> None:
    """Wait for what another thread does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, condition
        time.sleep(0.02)
