"""Where and with what a measurement was made."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnactive_ext import __version__
from nnactive_ext.engine.threads import cores

PACKAGES = ("numpy", "numba", "scipy", "torch")


def description() -> dict[str, Any]:
    """Machine, versions, commit (``+`` when files differ from it), command line and date."""
    return {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", "benchmarks.engine", *sys.argv[1:]]),
        "commit": _commit(),
        "machine": {"cpu": _cpu(), "cores": cores(), "memory_bytes": memory_bytes(), "os": platform.platform()},
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
            "nnactive-ext": __version__,
        },
    }


def memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    try:
        commit, status = (
            subprocess.run(["git", *a], cwd=Path(__file__).parent, capture_output=True, text=True, check=True).stdout.strip()
            for a in (["rev-parse", "--short=10", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if status else "")


def command(name: str, args: Sequence[str] | None, folder: Path | None = None) -> str:
    """The command line of the benchmark ``name``; ``args``: None for those of this process. Its ``folder`` is FOLDER."""
    words = ["FOLDER" if word == str(folder) else word for word in (sys.argv[1:] if args is None else args)]
    return shlex.join(["python", "-m", f"benchmarks.{name}", *words])
