"""Who holds a lock: enough to name the process, and on the same machine to know whether it still runs."""

from __future__ import annotations

import getpass
import json
import os
import platform
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from nnactive_ext.experiment.lock_settings import activity
from nnactive_ext.schemas import of_text

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = "/proc/self/ns/pid"


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock. ``boot``, ``namespace`` and ``started`` are "" where the system does not tell them."""

    host: str
    pid: int
    boot: str
    namespace: str
    started: str
    user: str
    doing: str
    token: str

    @classmethod
    def this_process(cls) -> Owner:
        return cls(
            host=platform.node(),
            pid=os.getpid(),
            boot=_boot(),
            namespace=_namespace(),
            started=_started(os.getpid())[1],
            user=_user(),
            doing=activity(),
            token=uuid.uuid4().hex,
        )

    @classmethod
    def parse(cls, content: bytes) -> Owner | None:
        """None for what is no owner, such as a file that is being written."""
        try:
            return of_text(cls, content)
        except ValueError:
            return None

    def serialized(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} ({self.doing}, user {self.user})"

    @property
    def is_near(self) -> bool:
        """Whether its process number means here what it means there: the same machine, boot and process namespace."""
        there = (self.host, self.boot, self.namespace)
        return all(there) and there == (platform.node(), _boot(), _namespace())

    @property
    def has_ended(self) -> bool:
        """Whether the process is known to be gone; False where that cannot be known."""
        if not self.is_near:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:  # of another user
            pass
        state, started = _started(self.pid)
        # A killed process that its parent has not waited for yet; another process with the same number.
        return state in ("Z", "X") or bool(started and self.started and started != self.started)


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return os.readlink(_NAMESPACE)
    except OSError:
        return ""


def _started(pid: int) -> tuple[str, str]:
    """State and start time of a process under Linux; empty where they cannot be read."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return "", ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # in a container without an entry for the user
        return "unknown"
