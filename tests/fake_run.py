"""The process that a page starts to train, with members that cost nothing; the environment says what goes wrong in it.

``FAKE_PLANS``: nnU-Net's plans, made before. ``FAKE_WAIT``: a file; the training of fold 1 waits until it is gone.
``FAKE_FAIL``: a file; while it is there, the training of fold 1 fails.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import IO

from fake_members import fake_tools, fake_train
from forked import PROCESSES

from nnactive_ext.errors import NnActiveError
from nnactive_ext.labelling import prepare
from nnactive_ext.members.tools import Tools
from nnactive_ext.nnunet import environment as nnunet_environment
from nnactive_ext.nnunet import fingerprint
from nnactive_ext.serve import run_process

LOG = "2026-01-01 10:00:00.000000: Epoch 0\n2026-01-01 10:01:00.000000: \n2026-01-01 10:01:00.000000: Epoch 1\n"


def _there(variable: str) -> bool:
    return bool(os.environ.get(variable)) and Path(os.environ[variable]).exists()


def _train(experiment, fold):
    log = experiment.results / f"cycle_{experiment.state['cycle']:03d}" / f"train_fold_{fold}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(LOG)
    if fold == 1 and _there("FAKE_FAIL"):
        raise NnActiveError("nnUNetv2_train failed with status 1. The end of its log:\nno <space> left\nRemove the cause.")
    while fold == 1 and _there("FAKE_WAIT"):
        time.sleep(0.05)
    fake_train(experiment, fold)


def _plans(experiment):
    shutil.copy(os.environ["FAKE_PLANS"], experiment.preprocessed.folder)
    return "nnUNetPlans"


def _run(environment: dict[str, str], asked: str, said: str) -> None:
    os.environ.update(environment)
    with open(said, "w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    prepare.nnunet_plans, fingerprint._SAMPLES = _plans, 1e5
    nnunet_environment.check_torchvision = lambda: None
    made = fake_tools(classes=3)
    Tools.of_nnunet = lambda device: Tools(_train, made.open_ensemble)
    run_process.run(json.loads(asked))


class Forked:
    """As much of ``subprocess.Popen`` as the server needs, of a process that has imported everything already."""

    def __init__(self, asked: str, said: IO[str]):
        environment = {name: value for name, value in os.environ.items() if name.startswith(("nnUNet_", "FAKE_", "nnactive_"))}
        self._process = PROCESSES.Process(target=_run, args=(environment, asked, said.name))
        self._process.start()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode
