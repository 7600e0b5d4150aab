"""The user's own nnInteractive server, through its own client: one session per person and task, and what can go wrong."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.serve.remote import Remote, WrongAnswer, connect, failed, lost

IDLE = 900.0
"""Seconds after which a session that nobody uses is given back; its page may have crashed."""
SUPPORT = {"point": "points", "scribble": "scribble", "lasso": "lasso"}
"""The kinds of prompts, and what the server calls them."""


@dataclass(frozen=True)
class Prompt:
    """One prompt on the grid of a crop.

    ``mask`` (z, y, x), bool: the voxel of a point, the line of a scribble, the filled area of a lasso. ``include``: it is in
    the object; otherwise it is outside. ``channel``: the channel of the image that it was drawn on. ``start`` (z, y, x), bool:
    the object as it is painted now. ``after``: the number of the result that the page still shows unchanged; 0: none.
    """

    kind: str
    include: bool
    mask: np.ndarray
    channel: int
    start: np.ndarray
    after: int


@dataclass(frozen=True)
class Result:
    """``mask`` (z, y, x), bool: the object; ``number``: counts the results of a session, from 1."""

    mask: np.ndarray
    number: int


@dataclass
class _Session:
    """``before``: the number of the result that undoing the last prompt leads back to; 0: undoing leads to none."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    remote: Remote | None = None
    channel: int = -1
    number: int = 0
    before: int = 0
    used: float = field(default_factory=time.monotonic)


class Interactive:
    """Sessions with the nnInteractive server at ``url``; ``patience``: seconds to wait for a result or to send an image."""

    def __init__(self, url: str, patience: float = 60.0):
        self.url, self.patience = url.rstrip("/"), patience
        self.host = _host(url)
        self.licence: str | None = None
        self.thickness = 2
        self._sessions: dict[tuple[str, str], _Session] = {}
        self._lock = threading.Lock()

    @property
    def place(self) -> str:
        """The server in messages of the page, which on a private server may hold nothing that looks like the path of a file."""
        return urlsplit(self.url).netloc

    @property
    def away(self) -> str:
        """The name of the machine that images are sent to; empty if it is this one."""
        return "" if _local(self.host) else self.host

    def greeting(self) -> str:
        """What to tell the person who starts the server: where images go, whether that works, and under which licence."""
        where = f"nnInteractive's server at {self.url} answers prompts."
        if self.away:
            where += f" The images of tasks that are prompted are sent to {self.away}."
        try:
            remote = self._connect()
        except NnActiveError as error:
            return f"{where}\nWARNING: {error}"
        _close(remote)
        return f"{where} {self.terms}"

    @property
    def terms(self) -> str:
        """The licence of the model as its server states it; empty while the server has not been asked."""
        if self.licence is None:
            return ""
        if self.licence in ("", "!!MISSING!!"):
            return "The licence of the model is not stated by its server."
        return f"Licence of the model, as its server states it: {self.licence}."

    def ask(self, who: str, task: str, image: Callable[[], np.ndarray], prompt: Prompt) -> Result:
        """Send a prompt and wait for the result.

        Args:
            who: the person.
            task: the id of the task.
            image: reads the channel of the prompt, (z, y, x); it is called, and the image sent, once per session and channel.
            prompt: what was drawn.

        Returns:
            The object in the whole crop.

        Raises:
            NnActiveError: there is no result; the session is then begun anew with the next prompt.
        """
        with self._lock:
            session = self._sessions.setdefault((who, task), _Session())
            session.used = time.monotonic()
            self._sweep()
        with session.lock:
            for again in (False, True):
                try:
                    return self._asked(session, image, prompt)
                except Exception as error:  # the client raises whatever a wrong answer made it stumble over
                    if isinstance(error, NnActiveError) and not isinstance(error, WrongAnswer):
                        raise
                    self._drop(session)
                    if isinstance(error, NnActiveError):
                        raise
                    if again or not lost(error):  # a server forgets sessions that were idle
                        raise failed(error, self.place, self.patience) from error
        raise AssertionError

    def leave(self, who: str, task: str) -> None:
        """The person has left the task: give its session back."""
        with self._lock:
            session = self._sessions.pop((who, task), None)
        if session:
            self._end([session])

    def close(self) -> None:
        """Give all sessions back."""
        with self._lock:
            sessions = list(self._sessions.values())
            self._sessions.clear()
        for thread in self._end(sessions):
            thread.join(5)

    def _asked(self, session: _Session, image: Callable[[], np.ndarray], prompt: Prompt) -> Result:
        remote, after = session.remote, prompt.after
        if remote is None or session.channel != prompt.channel:
            voxels = image()
            remote = session.remote = remote or self._connect()
            remote.send(voxels)
            session.channel, after = prompt.channel, 0
        if not remote.takes(SUPPORT[prompt.kind]):
            raise NnActiveError(f"The model of {self.place} takes no prompt of the kind {prompt.kind}. Use another one.")
        if after and after == session.before and remote.undo():
            pass
        elif not (after and after == session.number):
            remote.begin(prompt.start)
            after = 0
        session.before = after
        # Counted before it is known how the prompt ends: a page that gave up waiting can then go back to what it shows.
        session.number += 1
        return Result(remote.prompt(prompt.kind, prompt.mask, prompt.include), session.number)

    def _connect(self) -> Remote:
        try:
            remote = connect(self.url, self.patience)
        except Exception as error:  # as above
            if isinstance(error, NnActiveError):
                raise
            raise failed(error, self.place, self.patience) from error
        self.licence, self.thickness = remote.licence, remote.thickness
        return remote

    def _drop(self, session: _Session) -> None:
        remote, session.remote, session.before = session.remote, None, 0
        if remote is not None:
            _close(remote)

    def _sweep(self) -> None:
        end = time.monotonic() - IDLE
        old = [key for key, session in self._sessions.items() if session.used < end]
        self._end([self._sessions.pop(key) for key in old])

    def _end(self, sessions: list[_Session]) -> list[threading.Thread]:
        def end(session: _Session) -> None:
            with session.lock:  # a prompt that is being answered ends first
                if session.remote is not None:
                    session.remote.close()
                    session.remote = None

        threads = [threading.Thread(target=end, args=(session,), daemon=True) for session in sessions]
        for thread in threads:
            thread.start()
        return threads


def interactive_at(url: str) -> Interactive:
    """Prompts for the nnInteractive server of an address from the command line; nothing is sent yet.

    Raises:
        NnActiveError: it is no address of a server, or the client is not installed.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or parts.query or parts.fragment:
        raise NnActiveError(
            f"-nninteractive {url!r}: give the address of an nninteractive-server, such as http://gpu-box:1527."
        )
    if parts.username is not None or parts.password is not None:
        raise NnActiveError(
            f"-nninteractive: give the address without a name and password, as in {parts.scheme}://{parts.hostname}. The key "
            "of the server (--api-key) is read from the environment variable NN_INTERACTIVE_API_KEY."
        )
    from nnactive_ext.serve.remote import client

    client()
    return Interactive(url)


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").lower()


def _local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _close(remote: Remote) -> None:
    """In the background: it waits for the server, which may be the one that does not answer."""
    threading.Thread(target=remote.close, daemon=True).start()
