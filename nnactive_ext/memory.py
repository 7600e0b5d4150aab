"""How much memory this process may have, and what is too large for it."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_limit() -> int | None:
    """Bytes: the machine's memory, or less where a container or ``ulimit -v`` says so; None where the system does not say."""
    found = [_of_machine(), _of_process(), *map(_of_container, _CGROUP)]
    return min((limit for limit in found if limit), default=None)


def gigabytes(number: float) -> str:
    """As people say it.

    >>> gigabytes(6.3e9)
    '6.3 GB'
    """
    return f"{number / 1e9:,.1f} GB"


def _of_machine() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def _of_process() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def _of_container(file: str) -> int | None:
    try:
        return int(Path(file).read_text())
    except (OSError, ValueError):  # "max", or no container
        return None
