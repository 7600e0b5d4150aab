"""Steps that workers carry out, with members that cost nothing, each in a process forked from one that has imported everything."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fake_members import FakeEnsemble, fake_tools
from forked import PROCESSES

from nnactive_ext.bench import finish, on_workers  # noqa: F401  what the commands import late is imported here, once
from nnactive_ext.cli import bench, query, run, workers
from nnactive_ext.experiment import marks
from nnactive_ext.labelling import prepare
from nnactive_ext.loop import cycles, status, watching  # noqa: F401
from nnactive_ext.members import ensemble
from nnactive_ext.members.tools import Tools
from nnactive_ext.nnunet import environment as nnunet_environment
from nnactive_ext.nnunet import fingerprint
from nnactive_ext.querying import query as scoring  # noqa: F401

CLIENT = str(Path(__file__).with_name("forked_client.py"))
CLASSES = 3


def fake(patch: pytest.MonkeyPatch, plans: Path, members: bool = True) -> None:
    """Commands train and predict at no cost in this process; without ``members``, they must not.

    ``plans``: nnU-Net's, made before.
    """

    def refuses(*_: Any) -> Any:
        raise AssertionError("a process that only shares steps trains or opens a member")

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
        patch.setattr(module, "prepare", lambda device: None)


def _carry_out(module: str, words: list[str], environment: dict[str, str], plans: str, said: str) -> None:
    os.setpgid(0, 0)  # a guarded process ends its group
    os.environ.clear()
    os.environ.update(environment)
    with open(said, "w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    fake(pytest.MonkeyPatch(), Path(plans))
    importlib.import_module(module).main(words)


@dataclass
class Server:
    """``plans``: nnU-Net's; ``asked``: what workers wanted to be carried out, in order, as ``forked_client.py`` asks it."""

    plans: Path
    path: str
    asked: list[dict[str, Any]] = field(default_factory=list)

    def serve(self, listening: socket.socket) -> None:
        with suppress(OSError):  # it is closed at the end
            while True:
                threading.Thread(target=self._answer, args=(listening.accept()[0],), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client, client.makefile() as lines, tempfile.NamedTemporaryFile("r") as said:
            asked = json.loads(lines.readline())
            self.asked.append(asked)
            of = (asked["module"], asked["words"], asked["environment"], str(self.plans), said.name)
            process = PROCESSES.Process(target=_carry_out, args=of)
            process.start()
            client.settimeout(0.02)
            while process.is_alive():
                with suppress(TimeoutError):
                    if not client.recv(1):  # the client was killed
                        process.kill()
                        break
            process.join()
            with suppress(OSError):
                client.settimeout(None)
                client.sendall(json.dumps({"status": process.exitcode, "said": said.read()}).encode())


@contextmanager
def serving(patch: pytest.MonkeyPatch, plans: Path) -> Iterator[Server]:
    """Within the block, workers of commands that this process runs have their steps carried out here."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listening:
        server = Server(plans, f"{folder}/steps")
        listening.bind(server.path)
        listening.listen()
        threading.Thread(target=server.serve, args=(listening,), daemon=True).start()
        process = workers.process
        patch.setattr(workers, "process", lambda *asked: [CLIENT, server.path, *process(*asked)])
        fake(patch, plans, members=False)
        yield server
        listening.shutdown(socket.SHUT_RDWR)
