"""nnInteractive's client with arrays of ours: what it is sent, what it may answer, and its errors in words.

Arrays run along (z, y, x), as SimpleITK reads them: nnInteractive's own documentation calls these axes x, y, z and sends the
arrays in this order. It works on voxels alone, so nothing else about the image is sent, neither spacing nor names.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError

KEY = "NN_INTERACTIVE_API_KEY"
"""The environment variable from which the client reads the server's key."""
CONNECT = 10.0
"""Seconds to wait for a connection."""


class WrongAnswer(NnActiveError):
    """The server answered with something that is no segmentation of the crop."""


class Remote:
    """One session of the client; ``open`` makes it, which claims a place on the server."""

    def __init__(self, opened: Any):
        self._session = opened
        self.licence: str = str(opened.license or "")
        wanted = np.atleast_1d(opened.preferred_scribble_thickness or 2)
        self.thickness: int = int(np.clip(np.max(wanted), 1, 15))

    def takes(self, kind: str) -> bool:
        """Whether the server's model takes prompts of a kind."""
        return bool(self._session.supported_interactions.get(kind, False))

    def send(self, image: np.ndarray) -> None:
        """Send the image, (z, y, x); prompts that were sent before no longer count."""
        self._session.set_image(image[None])
        if tuple(self._session.original_image_shape or ()) != (1, *image.shape):
            raise WrongAnswer(f"The server took an image of {image.shape} voxels for {self._session.original_image_shape}.")
        self._session.set_target_buffer(np.zeros(image.shape, np.uint8))

    def begin(self, start: np.ndarray) -> None:
        """Begin an object with what is painted of it, (z, y, x), bool; it may be empty."""
        if not start.any():
            self._session.reset_interactions()
        elif self._session.supports_initial_label:
            self._session.add_initial_seg_interaction(start.astype(np.uint8))
        else:
            raise NnActiveError("The server's model cannot go on from what is painted. Press New object, then prompt.")

    def undo(self) -> bool:
        """Take the last prompt back; whether the server could."""
        return bool(self._session.supports_undo and self._session.undo())

    def prompt(self, kind: str, mask: np.ndarray, include: bool) -> np.ndarray:
        """Send the prompt ``mask`` (z, y, x), bool; returns the object (z, y, x), bool."""
        low, high = np.argwhere(mask).min(0).tolist(), (np.argwhere(mask).max(0) + 1).tolist()
        if kind == "point":
            self._session.add_point_interaction(low, include)
        else:
            box = [[first, last] for first, last in zip(low, high, strict=True)]
            add = self._session.add_scribble_interaction if kind == "scribble" else self._session.add_lasso_interaction
            drawn = mask[tuple(slice(*edges) for edges in box)]
            add(drawn.astype(np.uint8), include, interaction_bbox=box)
        found = self._session.target_buffer
        if found.max(initial=0) > 1:
            raise WrongAnswer("The server answered with values other than 0 and 1.")
        return found.astype(bool)

    def close(self) -> None:
        """Give the place on the server back."""
        self._session.close()


def connect(url: str, patience: float) -> Remote:
    """Open a session; the caller closes it. ``patience``: seconds to wait for a result, and for each step of sending."""
    made = client()(
        url,
        connect_timeout=min(CONNECT, patience),
        read_timeout=patience,
        set_image_read_timeout=patience,
        write_timeout=patience,
    )
    return Remote(made)


def client() -> Any:
    """The class of the client's sessions, with the one check added that the client leaves out.

    Raises:
        NnActiveError: the client is not installed.
    """
    if "torch" in sys.modules:
        return _client()
    # The client imports torch where it is installed and needs none of it: some 450 MB of the server's memory.
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        return _client()
    finally:
        del sys.modules["torch"]


def _client() -> Any:
    try:
        from nnInteractive.inference.remote import nnInteractiveRemoteInferenceSession
    except ImportError:
        raise NnActiveError(
            '-nninteractive needs nnInteractive\'s client, which is not installed: pip install "nnactive-ext[nninteractive]".'
        ) from None

    class Checked(nnInteractiveRemoteInferenceSession):
        def _write_bbox_into_target_buffer(self, diff: np.ndarray, bbox: list[list[int]]) -> None:
            # numpy would stretch a wrong shape where it can, and cut a region that lies outside.
            shape = self.target_buffer.shape
            size = tuple(high - low for low, high in bbox)
            inside = all(0 <= low <= high <= n for (low, high), n in zip(bbox, shape, strict=True))
            if diff.shape != size or not inside:
                raise WrongAnswer(f"The server answered with {diff.shape} voxels for the region {bbox} of a crop of {shape}.")
            if diff.size and (diff.min() < 0 or diff.max() > 1):
                raise WrongAnswer("The server answered with values other than 0 and 1.")
            super()._write_bbox_into_target_buffer(diff, bbox)

    return Checked


def lost(error: Exception) -> bool:
    """Whether the server no longer knows the session."""
    from nnInteractive.inference.remote import SessionExpiredError

    return isinstance(error, SessionExpiredError)


def failed(error: Exception, place: str, patience: float) -> NnActiveError:
    """An error of the client in words, with what to do; ``place``: host and port of the server."""
    import httpx
    from nnInteractive.inference.remote import ServerAtCapacityError

    server, meanwhile = f"nnInteractive's server at {place}", "Nothing was changed. Try again, or paint by hand."
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return NnActiveError(f"{server} cannot be reached ({error}). Is nninteractive-server running there?")
    if isinstance(error, httpx.TimeoutException):
        return NnActiveError(f"{server} did not answer within {patience:g} s. {meanwhile}")
    if isinstance(error, ServerAtCapacityError):
        return NnActiveError(
            f"{server} has no free session ({error}). Wait until another person has left their task, or start it with a larger "
            "--max-sessions."
        )
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        if status in (401, 403):
            return NnActiveError(f"{server} wants its key: set {KEY} before nnactive_annotate serve.")
        return NnActiveError(f"{server} refused the prompt: {status} {_detail(error.response)}".rstrip())
    if isinstance(error, httpx.TransportError):
        return NnActiveError(f"The connection to {server} broke ({error}). {meanwhile}")
    return NnActiveError(
        f"{place} did not answer as an nnInteractive server does ({type(error).__name__}: {error}). Nothing was changed. Check "
        "that it runs the nnInteractive 2 that belongs to the installed nninteractive-client."
    )


def _detail(response: Any) -> str:
    """What the server says, in at most 300 characters."""
    try:
        said = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        said = response.text
    return str(said)[:300]
