"""A process that has imported nnU-Net and forks itself for each training, so that short ones do not wait for imports."""

from __future__ import annotations

import atexit
import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from nnactive_ext.members.training_process import guarded, guardian
from nnactive_ext.nnunet.environment import extend_environment


class TrainingServer:
    """For trainings on the CPU under Linux: a GPU's driver does not survive a fork, nor do macOS's libraries, and Windows
    has none."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "nnactive_ext.members.training_server"]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        # What libraries say when they are imported helps nobody; if they cannot be, the training says so itself.
        environment = guarded(os.environ)
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True, env=environment, **pipes)
        self._ready = False
        atexit.register(self.stop)

    @staticmethod
    def possible(device: str) -> bool:
        return sys.platform.startswith("linux") and device == "cpu"

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def train(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> int | None:
        """Run ``nnUNetv2_train`` with these arguments, its output added to ``log``; returns its status, 1 if the server was
        killed meanwhile, None if it could not even begin to serve.

        Interrupted, it kills the training."""
        assert self._process.stdin is not None
        try:
            if not self._ready and not self._read():
                return None
            self._ready = True
            job = {"arguments": list(arguments), "environment": dict(environment), "log": str(log)}
            self._process.stdin.write(json.dumps(job) + "\n")
            answer = self._read()
        except BrokenPipeError:
            return 1
        except BaseException:
            self.stop()
            raise
        return int(answer["status"]) if answer else 1

    def _read(self) -> dict[str, Any]:
        """The next answer; empty when there will be none."""
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline() or "{}")

    def stop(self) -> None:
        """End the server, and with it the training it may be running."""
        if self.running:
            self._process.terminate()
            self._process.wait()


def serve() -> None:
    """Read a job from each line of stdin, train in a fork, answer with its status; ends with stdin or its parent."""
    parent, server, answers = guardian(), os.getpid(), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print when they are imported is no answer
    extend_environment()
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    recursive_find_trainer_class_by_name("nnActiveTrainer")  # imports all that a training does
    print(json.dumps({"ready": True}), file=answers, flush=True)
    running: list[int] = []

    def stop(*_: Any) -> NoReturn:
        for child in running:
            os.killpg(child, signal.SIGKILL)
        os._exit(1)

    signal.signal(signal.SIGTERM, stop)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _train(json.loads(line), server)
        running.append(child)
        status = None
        while status is None:
            done, raw = os.waitpid(child, os.WNOHANG)
            status = os.waitstatus_to_exitcode(raw) if done else None
            if os.getppid() != parent:
                stop()
            if not done:
                time.sleep(0.1)
        running.clear()
        print(json.dumps({"status": status}), file=answers, flush=True)


def _train(job: Mapping[str, Any], server: int) -> NoReturn:
    """In the fork: become what a new process with these arguments would be, but for what is imported already."""
    import numpy as np
    import torch

    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    log = os.open(job["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.clear()
    os.environ.update(guarded(job["environment"], server))
    sys.argv = ["nnUNetv2_train", *job["arguments"]]
    # All generators that nnU-Net draws from: every fork would otherwise begin with the same weights.
    torch.seed()
    np.random.seed()  # noqa: NPY002
    random.seed()
    status = 1
    try:
        from nnactive_ext.members.training_process import main

        main()
        status = 0
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
