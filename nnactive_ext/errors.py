"""Errors meant for the user: what was found, where, and what to do."""

import errno

NO_SPACE = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG})
"""Of an OSError: the disk is full."""
DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""Of an OSError: reading or writing is not allowed."""
TOO_MANY_FILES = frozenset({errno.EMFILE, errno.ENFILE})
"""Of an OSError: this process, or all of the machine, may open no more files."""
FAULTY = frozenset({errno.EIO, getattr(errno, "ENOLCK", errno.EIO), getattr(errno, "ESTALE", errno.EIO), errno.ENODEV})
"""Of an OSError: a disk or a network's file system fails."""
OF_THE_MACHINE = (MemoryError, ImportError)
"""Of no file: what is read may be whole, so nobody should be told to replace it."""
OUTPUT_CLOSED = 141
"""The exit status of a command whose output nobody reads any more, as shells give it to a process that SIGPIPE ended."""
NOTHING_TAKEN = 4
"""The exit status of ``nnactive_annotate import`` where no file was refused and no answer was taken."""


class NnActiveError(Exception):
    """Something the user can mend; commands print it without a traceback and exit with :attr:`status`."""

    status = 1


class ChildKilled(NnActiveError):
    """A process of ours was killed by others, as the operating system does where memory runs out; it can be tried again."""

    status = 137


class PoolExhausted(NnActiveError):
    """The pool held fewer free patches than were asked for; what there was has been taken."""

    status = 3


def brief(error: BaseException) -> str:
    """The last line of an error's message; ITK's begin with where in its source they come from."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
