"""What the page asks for nnInteractive: prompts on the grid of the crop, and what came of them."""

from __future__ import annotations

import base64
import gzip
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.patch import triple
from nnactive_ext.labelling.tasks import Task
from nnactive_ext.serve.answers import largest
from nnactive_ext.serve.crops import Cache
from nnactive_ext.serve.interactive import SUPPORT, Interactive, Prompt
from nnactive_ext.serve.replies import body_of, number, who_asks
from nnactive_ext.serve.site import NotFound, Site

OBJECT, DRAWN = 1, 2
"""Bits of a voxel in what the page sends: it is painted as the object; it belongs to the prompt."""


class PromptPages:
    """Answers the requests of ``assets/interactive.js``."""

    def __init__(self, site: Site, cache: Cache, interactive: Interactive):
        self._site, self._cache, self._interactive = site, cache, interactive

    def routes(self) -> list[Route]:
        """The addresses below a task's own."""
        return [
            Route("/tasks/{id}/prompt", self.prompt, methods=["POST"]),
            Route("/tasks/{id}/prompt/left", self.left, methods=["POST"]),
        ]

    async def prompt(self, request: Request) -> Response:
        """Answer a prompt with the object that the server sees in the whole crop; the page keeps what it may change."""
        task, who, folder, page = await run_in_threadpool(self._asked, request)
        content = await body_of(request, largest(page)[0])
        kind, channel = request.query_params.get("kind", ""), number(request, "channel")
        if kind not in SUPPORT:
            raise NnActiveError(f"kind={kind!r}: a prompt is one of {', '.join(SUPPORT)}.")
        if not 0 <= channel < len(page["channels"]):
            raise NotFound(f"The image has {len(page['channels'])} channels.")
        voxels = _unpacked(content, triple(page["shape"]))
        drawn = voxels & DRAWN > 0
        if not drawn.any() or (kind == "point" and np.count_nonzero(drawn) > 1):
            raise NnActiveError(f"A prompt of the kind {kind} with {np.count_nonzero(drawn)} voxels was drawn. Draw it again.")
        start = voxels & OBJECT > 0
        asked = Prompt(kind, bool(number(request, "include")), drawn, channel, start, number(request, "after"))

        def answer() -> dict[str, Any]:
            found = self._interactive.ask(who, task.id, lambda: _image(folder / f"image_{channel}.nii.gz"), asked)
            packed = base64.b64encode(gzip.compress(found.mask.astype(np.uint8).tobytes(), 1)).decode()
            return {
                "object": packed,
                "number": found.number,
                "terms": self._interactive.terms,
                "thickness": self._interactive.thickness,
            }

        return JSONResponse(await run_in_threadpool(answer))

    def _asked(self, request: Request) -> tuple[Task, str, Path, Mapping[str, Any]]:
        experiment = self._site.experiment
        task = self._site.task(experiment, request.path_params["id"])
        return task, who_asks(self._site, request), *self._cache.task(experiment, task)

    def left(self, request: Request) -> Response:
        """The page was closed."""
        task = self._site.task(self._site.experiment, request.path_params["id"])
        self._interactive.leave(who_asks(self._site, request), task.id)
        return Response(status_code=204)


def _unpacked(content: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """The voxels that a page sent, (z, y, x), uint8; x runs fastest."""
    size = math.prod(shape)
    try:
        found = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(content, size + 1)
    except zlib.error as error:
        raise NnActiveError(f"The prompt is not packed as the page packs it ({error}). Reload the page.") from None
    if len(found) != size:
        raise NnActiveError(f"The prompt does not have the {size} voxels of the crop. Reload the page.")
    return np.frombuffer(found, np.uint8).reshape(shape)


def _image(file: Path) -> np.ndarray:
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
