"""Errors meant for the user: what was found, where, and what to do."""

import errno

NO_SPACE = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG})
"""Of an OSError: the disk is full."""
DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""Of an OSError: reading or writing is not allowed."""
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
