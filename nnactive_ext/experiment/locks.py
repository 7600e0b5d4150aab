"""Locks: by the operating system, or by files with owner and heartbeat where a file system cannot lock."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from nnactive_ext.errors import DENIED, NO_SPACE, NnActiveError
from nnactive_ext.experiment import soft_locks
from nnactive_ext.experiment.lock_owner import Owner
from nnactive_ext.experiment.lock_settings import FILE, VARIABLE, kind
from nnactive_ext.experiment.soft_locks import Found, SoftLock
from nnactive_ext.nnunet.dataset import nnunet_folder
from nnactive_ext.paths import is_link

_ABOUT_THE_FILE = (*DENIED, *NO_SPACE, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EMFILE, errno.ENFILE, errno.EIO)
"""Errors that do not say that a file system cannot lock; all others of an attempt to lock do."""
_MOMENT = 0.4
"""Seconds until a lock counts as held: others hold it for a moment while they look who does."""

_PATIENCE, _MINUTE = 5.0, 60.0
"""Seconds until who waits for a lock is told so, and between two such messages."""


class LockHeld(NnActiveError):
    """Another process holds the lock."""


class Lock:
    """A lock that this process holds: the operating system's on ``file``, or a soft one beside it."""

    def __init__(self, file: Path, system: FileLock | None, soft: SoftLock | None):
        self.file, self._soft = file, soft
        self._identity = None if soft else _identity(file)
        self._release = weakref.finalize(self, _release, file, system, soft, os.getpid())

    def check(self) -> None:
        """Make sure that the lock is still ours; otherwise an NnActiveError, before anything more is written."""
        if self._soft is not None and not self._soft.is_ours():
            found = soft_locks.look(self._soft.file)
            raise NnActiveError(
                f"{self._soft.file}: this lock was lost: {f'{found.who} took it over' if found else 'somebody removed it'}. "
                f"Others take over a lock that was not renewed for {soft_locks.STALE_SECONDS / 60:g} minutes, for example "
                "because its process was suspended. Nothing more is written. Run the same command again."
            )
        if self._soft is None and _identity(self.file) != self._identity:
            raise NnActiveError(f"{self.file}: this lock was lost: somebody removed the file. Run the same command again.")

    @property
    def lost(self) -> bool:
        return self._soft is not None and self._soft.lost

    def when_lost(self, call: Callable[[], None]) -> None:
        """``call`` is called from a thread when a heartbeat finds out that the lock was lost."""
        if self._soft is not None:
            self._soft.on_lost = call

    def release(self) -> None:
        self._release()


def acquire(file: Path, patience: float = _MOMENT, what: str = "") -> Lock:
    """Take a lock, of the kind that the environment says.

    A soft lock that is held refuses the operating system's and the other way round, as far as the file system lets us know.
    A lock whose owner has ended is free.

    Args:
        file: the lock's file, in an existing folder. It may stay there; a lock is not held because it exists.
        patience: seconds to wait for another owner; infinite to wait until it ends.
        what: what the owner works on, for the message.

    Raises:
        LockHeld: another process holds the lock.
        NnActiveError: the file system cannot lock, or the file cannot be made.
    """
    began, told = time.monotonic(), _PATIENCE - _MINUTE
    pause = 0.05
    while True:
        got = _try(file)
        if isinstance(got, Lock):
            return got
        waited = time.monotonic() - began
        if waited >= patience:
            raise LockHeld(f"{file}: {got} is working on {what or 'this'}. Wait for it to end, or stop it.")
        if waited >= told + _MINUTE:
            since = f" Waiting for {waited / 60:.0f} min so far." if waited > _MINUTE else ""
            print(f"Waiting: {got} is working on {what or file}.{since}", file=sys.stderr, flush=True)
            told = waited
        time.sleep(pause)
        pause = min(2 * pause, 2.0)


def holder(file: Path) -> str:
    """Who holds a lock, as text; empty if nobody does, if this process does, or if that cannot be known."""
    if any(pid == os.getpid() and held == file for pid, _, held in list(_held)):  # which other threads change
        return ""
    try:
        found = soft_locks.look(_soft_file(file))
    except OSError:
        return ""
    return found.who if found and not found.stale else _system_holder(file)


@contextmanager
def held(file: Path, wait: bool = False, what: str = "") -> Iterator[None]:
    """Hold a lock for a block; a thread that holds it already just goes on.

    Locks that this thread holds are checked first: whoever lost one begins nothing more. If the lock is lost during the
    block, the block is interrupted, or ends with an error.

    Args:
        file: see :func:`acquire`.
        wait: wait for another owner to end.
        what: see :func:`acquire`.

    Raises:
        NnActiveError: as :func:`acquire`, and where a lock was lost.
    """
    check_held()
    key = (os.getpid(), threading.get_ident(), file)
    if key in _held:
        yield
        return
    lock = _held[key] = acquire(file, float("inf") if wait else _MOMENT, what)
    if threading.current_thread() is threading.main_thread():
        lock.when_lost(_interrupt)
    try:
        yield
        lock.check()
    except KeyboardInterrupt:
        if lock.lost:
            lock.check()
        raise
    finally:
        del _held[key]
        lock.release()


def is_held_here(file: Path) -> bool:
    """Whether this thread holds a lock."""
    return (os.getpid(), threading.get_ident(), file) in _held


def check_held() -> None:
    """Make sure that no lock of this thread was lost; otherwise an NnActiveError."""
    for (pid, thread, _), lock in list(_held.items()):
        if (pid, thread) == (os.getpid(), threading.get_ident()):
            lock.check()


def step_file(number: int) -> Path:
    """Of the lock under which a dataset is changed, step by step."""
    return nnunet_folder("nnUNet_raw") / f".nnactive_{number:03d}.lock"


def run_file(number: int) -> Path:
    """Of the lock of the command that moves an experiment from step to step."""
    return nnunet_folder("nnUNet_raw") / f".nnactive_{number:03d}.run.lock"


@contextmanager
def locked(number: int, wait: bool = False, run: bool = False) -> Iterator[None]:
    """Hold the lock of a dataset number; it is free when its owner ends, however it ends.

    Args:
        number: the dataset's.
        wait: wait for another owner to end; otherwise another owner is an error.
        run: the lock of a run instead of the lock of a step.

    Raises:
        NnActiveError: another process holds the lock, the file system cannot lock, or ``nnUNet_raw`` is not an existing,
            writable folder.
    """
    file = (run_file if run else step_file)(number)
    if not file.parent.is_dir():  # which the lock would make
        raise NnActiveError(f"{file.parent}: no such folder. nnUNet_raw must be an existing, writable folder.")
    with held(file, wait, f"dataset {number}"):
        yield


_held: dict[tuple[int, int, Path], Lock] = {}
"""By process, thread and file: a forked process has none of its parent's."""


def _try(file: Path) -> Lock | str:
    """The lock, or who holds it."""
    try:
        return _try_soft(file) if kind() == FILE else _try_system(file)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in _ABOUT_THE_FILE:
            raise NnActiveError(
                f"{file}: cannot be made or opened ({reason}). {file.parent} must be an existing, writable folder."
            ) from None
        raise NnActiveError(
            f"{file}: the file system of {file.parent} cannot lock files ({reason}). Run the same command with -lock file, "
            f"or set the environment variable {VARIABLE}={FILE}: then locks are files that their owners renew. Use it for "
            "all commands that work on this folder, on all machines."
        ) from None


def _try_soft(file: Path) -> Lock | str:
    soft = soft_locks.take(_soft_file(file))
    if isinstance(soft, Found):
        return soft.who
    try:
        who = _system_holder(file)  # of a command that was not told about -lock file
    except BaseException:
        soft.release()
        raise
    if who:
        soft.release()
        return who
    return Lock(file, None, soft)


def _try_system(file: Path) -> Lock | str:
    system = FileLock(file, fallback_to_soft=False)
    try:
        system.acquire(timeout=0)
    except Timeout:
        found = soft_locks.look(_soft_file(file))
        return found.who if found and not found.stale else _noted(file)
    try:
        while (found := soft_locks.look(_soft_file(file))) is not None:
            if not found.stale:
                system.release()
                return found.who
            soft_locks.remove_stale(_soft_file(file), found)
        if is_link(_note(file)):  # which came along with somebody's dataset
            _note(file).unlink()
        _note(file).write_text(str(Owner.this_process()), encoding="utf-8")
    except BaseException:
        system.release()
        raise
    return Lock(file, system, None)


def _system_holder(file: Path) -> str:
    """Who holds the operating system's lock; empty if nobody does, or if that cannot be known."""
    if not file.is_file():
        return ""
    system = FileLock(file, fallback_to_soft=False)
    try:
        system.acquire(timeout=0)
        system.release()
    except Timeout:
        return _noted(file)
    except OSError:
        pass
    return ""


def _soft_file(file: Path) -> Path:
    return file.with_suffix(".soft.lock")


def _note(file: Path) -> Path:
    """Who holds the operating system's lock, for messages."""
    return file.with_suffix(".owner")


def _noted(file: Path) -> str:
    try:
        return _note(file).read_text(encoding="utf-8") or "another process"
    except OSError:
        return "another process"


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _release(file: Path, system: FileLock | None, soft: SoftLock | None, pid: int) -> None:
    if os.getpid() != pid:  # a forked copy of the owner
        return
    with suppress(OSError):  # the work is done; the operating system frees what is left when the process ends
        if system is not None:
            _note(file).unlink(missing_ok=True)
            system.release()
    if soft is not None:
        soft.release()


def _interrupt() -> None:
    """Interrupt the main thread, which may be waiting for a training, as Ctrl-C does."""
    main = threading.main_thread().ident
    if main and hasattr(signal, "pthread_kill") and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.pthread_kill(main, signal.SIGINT)
