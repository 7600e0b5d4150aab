"""What runs in the process that trains a member: stock nnU-Net, which ends when the command that started it is killed.

What keeps any child of ours from outliving its parent is here, too.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping

from nnactive_ext.engine.threads import cores

_PARENT = "nnactive_parent"
"""The environment variable that tells a child of ours which process it ends with."""
KILLED = -9
"""The status of a child that SIGKILL ended."""


def main() -> None:
    """``nnUNetv2_train`` with this process's arguments."""
    end_with_parent()
    # nnU-Net takes this for the number of its threads; a process may have fewer cores than its machine.
    multiprocessing.cpu_count = cores
    from nnunetv2.run.run_training import run_training_entry

    run_training_entry()


def guarded(environment: Mapping[str, str], parent: int = 0) -> dict[str, str]:
    """The environment for a child of the process ``parent`` (default: this one) that calls :func:`guardian`."""
    return {**environment, _PARENT: str(parent or os.getpid())}


def guardian() -> int:
    """The process with which this one ends: the one that started it.

    One that was killed while this process was starting is no longer its parent, so :func:`guarded` says who it was.
    """
    return int(os.environ.pop(_PARENT, "") or os.getppid())  # children of this process have another parent


def end_with_parent() -> None:
    """Watch, in a thread, whether the process that started this one is there (:func:`end_with`); not on Windows."""
    parent = guardian()
    if os.name == "posix":
        threading.Thread(target=end_with, args=(parent,), daemon=True).start()


def kill_group(child: subprocess.Popen) -> None:
    """Kill a child that was started in a session of its own, with its own children, and wait for its end."""
    if os.name == "posix" and child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
    child.kill()
    child.wait()


def end_with(parent: int) -> None:
    """Kill this process group (loader processes too) once ``parent`` is gone: a training nobody waits for would write
    its checkpoints over those of the one that replaces it."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    main()
