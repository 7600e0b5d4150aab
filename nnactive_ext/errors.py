"""Errors meant for the user: what was found, where, and what to do."""


class NnActiveError(Exception):
    """Something the user can mend; commands print it without a traceback and exit with :attr:`status`."""

    status = 1


class PoolExhausted(NnActiveError):
    """The pool held fewer free patches than were asked for; what there was has been taken."""

    status = 3
