"""A lock that is a file with its owner's name, renewed while the owner lives: for file systems that cannot lock."""

from __future__ import annotations

import os
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nnactive_ext.experiment.lock_owner import Owner
from nnactive_ext.files import TEMPORARY

STALE_SECONDS = 600.0
"""A lock that was not renewed for so long, by the file system's own times, is free."""
BEAT_SECONDS = 30.0
"""Between two renewals."""
_GUARD_SECONDS = 60.0
"""A process that takes a stale lock away and has not ended after so long was killed."""
_LOOKS = (0.0, 0.2, 1.0)
"""Seconds before each look for a file that is not there: whoever wrongly moved it away puts it back at once."""


@dataclass(frozen=True)
class Found:
    """A lock file as it was when it was judged; ``modified`` in ns, by the file system's clock."""

    content: bytes
    modified: int
    owner: Owner | None
    stale: bool

    @property
    def who(self) -> str:
        return str(self.owner or "another process")


def file_time(folder: Path) -> int:
    """The time now, in ns, as the file system of ``folder`` stamps its files; no other clock is compared with them."""
    handle, name = tempfile.mkstemp(prefix=TEMPORARY, suffix=".lock", dir=folder)
    try:
        os.write(handle, b".")
        os.fsync(handle)  # a network file system asks its server then
        return os.stat(name).st_mtime_ns
    finally:
        os.close(handle)
        os.unlink(name)


def look(file: Path) -> Found | None:
    """The lock in ``file``, None if there is none. It is stale if its owner is known to have ended, or by its age."""
    try:
        content, modified = file.read_bytes(), file.stat().st_mtime_ns
    except FileNotFoundError:
        return None
    owner = Owner.parse(content)
    if owner is not None and owner.has_ended:
        return Found(content, modified, owner, True)
    try:
        age = file_time(file.parent) - modified
    except OSError:  # in a folder that can only be read
        age = 0
    return Found(content, modified, owner, age > STALE_SECONDS * 1e9)


def remove_stale(file: Path, found: Found) -> None:
    """Remove a stale lock file, one process at a time: another one may have taken the lock over since it was ``found``."""
    guard = file.with_name(f"{file.stem}.guard.lock")
    try:
        os.close(os.open(guard, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    except FileExistsError:
        with suppress(OSError):
            if file_time(file.parent) - guard.stat().st_mtime_ns > _GUARD_SECONDS * 1e9:
                guard.unlink()  # of a process that was killed within these few lines
        time.sleep(0.01)
        return
    try:
        now = look(file)
        if now is not None and now.stale and (now.content, now.modified) == (found.content, found.modified):
            remove(file, found)
    finally:
        guard.unlink(missing_ok=True)


def remove(file: Path, found: Found) -> bool:
    """Remove a lock file if it still is what was ``found``; whether it was. One of several who try succeeds."""
    aside = file.with_name(f"{file.stem}.{uuid.uuid4().hex[:8]}.lock")
    try:
        os.rename(file, aside)
    except (FileNotFoundError, PermissionError):  # somebody was faster; Windows does not move what is open
        return False
    if (aside.read_bytes(), aside.stat().st_mtime_ns) == (found.content, found.modified):
        aside.unlink()
        return True
    _put_back(aside, file)
    return False


def _put_back(aside: Path, file: Path) -> None:
    try:
        os.link(aside, file)
    except FileExistsError:  # a third process has it now; the owner of this file will notice
        pass
    except OSError:  # a file system without hard links
        if not file.exists():
            os.rename(aside, file)
    aside.unlink(missing_ok=True)


def take(file: Path) -> SoftLock | Found:
    """The lock for this process, or who holds it. A stale one is taken over."""
    while True:
        made = SoftLock.create(file, Owner.this_process())
        if made is not None:
            return made
        found = look(file)
        if found is not None:
            if not found.stale:
                return found
            remove_stale(file, found)


class SoftLock:
    """A lock that this process has made. A thread renews it, through the open file: that never touches another's lock."""

    def __init__(self, file: Path, owner: Owner, handle: int):
        self.file, self._owner, self._handle = file, owner, handle
        self._content = owner.serialized()
        self._ended, self._changing = threading.Event(), threading.Lock()
        self.lost = False
        self.on_lost: Callable[[], None] = lambda: None

    @classmethod
    def create(cls, file: Path, owner: Owner) -> SoftLock | None:
        """Make the file; None if it is there already."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            handle = os.open(file, flags, 0o666)
        except FileExistsError:
            return None
        made = cls(file, owner, handle)
        try:
            made._write()
            os.chmod(file, 0o644)  # others read who holds it
        except BaseException:
            os.close(handle)
            file.unlink(missing_ok=True)
            raise
        threading.Thread(target=made._beat, name="lock", daemon=True).start()
        return made

    def _write(self) -> None:
        os.lseek(self._handle, 0, os.SEEK_SET)
        os.write(self._handle, self._content)
        os.fsync(self._handle)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with self._changing:
                if self._ended.is_set():
                    return
                with suppress(OSError):  # the file system may come back before others take the lock over
                    self._write()
                if not self.is_ours():
                    self.on_lost()
                    return

    def is_ours(self) -> bool:
        """Whether the file is there and names this lock; once it did not, never again."""
        self.lost = self.lost or not self._names_us()
        return not self.lost

    def _names_us(self) -> bool:
        for pause in _LOOKS:
            time.sleep(pause)
            try:
                return self.file.read_bytes() == self._content
            except FileNotFoundError:
                continue
            except OSError:  # what cannot be read now can be written by nobody either
                return True
        return False

    def release(self) -> None:
        """Remove the file if it is still ours. A forked copy of the owner releases nothing."""
        if self._ended.is_set() or self._owner.pid != os.getpid():
            return
        with self._changing:
            self._ended.set()
            os.close(self._handle)
            with suppress(OSError):
                if self.file.read_bytes() == self._content:
                    remove(self.file, Found(self._content, self.file.stat().st_mtime_ns, self._owner, True))
