"""A server that has imported everything and forks a process for each step that a worker carries out, with free members.

python forked_steps.py SOCKET PLANS JOURNAL
"""

from __future__ import annotations

import importlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import warm_kernels  # noqa: F401  what the commands import late is imported here, once
from fake_members import FakeEnsemble, fake_tools

from nnactive_ext.bench import finish, on_workers  # noqa: F401
from nnactive_ext.cli import bench, query, run, workers
from nnactive_ext.experiment import marks
from nnactive_ext.labelling import prepare
from nnactive_ext.loop import cycles, status, watching  # noqa: F401
from nnactive_ext.members import ensemble
from nnactive_ext.members.tools import Tools
from nnactive_ext.nnunet import environment as nnunet_environment
from nnactive_ext.nnunet import fingerprint

CLIENT = str(Path(__file__).with_name("forked_client.py"))
CLASSES = 3


def fake(patch: pytest.MonkeyPatch, plans: Path, members: bool = True) -> None:
    """Commands train and predict at no cost in this process; without ``members``, they must not.

    ``plans``: nnU-Net's, made before.
    """

    def refuses(*_: Any) -> Any:
        raise AssertionError("a process that only shares steps trains or opens a member")

    def prepared(device: str) -> None:
        there = members or device == "cpu" or "CUDA_VISIBLE_DEVICES" in os.environ
        assert there, "a command whose steps others carry out needs no GPU"

    def copied(experiment: Any) -> str:
        shutil.copy(plans, experiment.preprocessed.folder)
        return "nnUNetPlans"

    tools = fake_tools(classes=CLASSES) if members else Tools(refuses, refuses)
    opened = (lambda experiment, folds, device: FakeEnsemble(experiment, CLASSES)) if members else refuses
    patch.setattr(marks.uuid, "uuid4", lambda: UUID(int=7))
    patch.setattr(Tools, "of_nnunet", classmethod(lambda cls, device, prepare=None: tools))
    patch.setattr(ensemble, "NnUNetEnsemble", opened)
    patch.setattr(nnunet_environment, "check_torchvision", lambda: None)
    patch.setattr(prepare, "nnunet_plans", copied)
    patch.setattr(fingerprint, "_SAMPLES", 1e5)
    for module in (run, query, bench):
        patch.setattr(module, "prepare", prepared)


@dataclass(frozen=True)
class Server:
    """Where it listens, and the journal in which it notes what it was asked for."""

    path: str
    plans: Path
    journal: Path

    @property
    def asked(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.journal.read_text().splitlines()]

    @contextmanager
    def used(self) -> Iterator[None]:
        """Within the block, workers of commands that this process runs have their steps carried out by the server."""
        self.journal.write_text("")
        process = workers.process
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workers, "process", lambda *asked: [CLIENT, self.path, *process(*asked)])
            fake(patch, self.plans, members=False)
            yield


@contextmanager
def serving(plans: Path, folder: Path) -> Iterator[Server]:
    """A server that ends with the block, and with this process."""
    with tempfile.TemporaryDirectory() as short:  # the path of a socket may have some 100 characters
        server = Server(f"{short}/steps", plans, folder / "journal")
        command = [sys.executable, __file__, server.path, str(plans), str(server.journal)]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            while not Path(server.path).exists():
                assert process.poll() is None
                time.sleep(0.05)
            yield server
            assert process.stdin
            process.stdin.close()


def _serve(path: str, plans: Path, journal: Path) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    children = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            client = listening.accept()[0]
            child = os.fork()
            if not child:
                _answer(client, plans, journal)
            client.close()
            children.append(child)
    for child in children:
        try:
            os.killpg(child, signal.SIGKILL)
        except ProcessLookupError:  # it has ended, as nearly all
            continue


def _answer(client: socket.socket, plans: Path, journal: Path) -> None:
    """Carry out what a client asks for, and end."""
    os.setpgid(0, 0)  # a guarded process ends its group
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    line = client.makefile().readline()
    with open(journal, "a") as file:
        file.write(line)
    asked, ended = json.loads(line), 0
    threading.Thread(target=_end_with, args=(client,), daemon=True).start()
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.environ.pop("nnactive_parent", None)  # it ends with its client, which ends with the worker
    with tempfile.TemporaryFile("w+") as said:
        for stream in (1, 2):
            os.dup2(said.fileno(), stream)
        fake(pytest.MonkeyPatch(), plans)
        try:
            importlib.import_module(asked["module"]).main(asked["words"])
        except SystemExit as error:
            ended = int(error.code or 0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            ended = 1
        sys.stdout.flush()
        sys.stderr.flush()
        said.seek(0)
        client.sendall(json.dumps({"status": ended, "said": said.read()}).encode())
    os._exit(0)


def _end_with(client: socket.socket) -> None:
    """The client sends nothing more; if it is gone before its answer, it was killed."""
    client.recv(1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    _serve(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
