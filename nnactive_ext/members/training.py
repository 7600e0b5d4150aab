"""Trains one member: stock nnU-Net in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from nnactive_ext.errors import ChildKilled, NnActiveError
from nnactive_ext.experiment.archive import put_away
from nnactive_ext.experiment.commands import Commands, text
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.marks import BEST, CHECKPOINTS, MEMBER, is_trained, label_version, read_mark
from nnactive_ext.files import last_lines
from nnactive_ext.members.ensemble import fold_folder
from nnactive_ext.members.training_process import KILLED, guarded, kill_group
from nnactive_ext.members.training_server import TrainingServer
from nnactive_ext.nnunet.environment import extend_environment
from nnactive_ext.nnunet.trainers import check_trainer


def train_member(experiment: Experiment, fold: int, device: str) -> None:
    """Train the member of one fold on the current labels; an interrupted training of this cycle is continued.

    A member of an earlier cycle is moved to ``nnactive/cycle_NNN`` first, where ``nnUNetv2_predict_from_modelfolder``
    can use it. nnU-Net's output goes to a log file there.

    Args:
        experiment: its labels of the current cycle are in place.
        fold: the fold, from 0.
        device: "cuda", "cpu" or "mps".

    Raises:
        NnActiveError: nnU-Net failed; the message has the last lines of the log.
    """
    plan, cycle, folder = experiment.plan, experiment.state["cycle"], fold_folder(experiment, fold)
    check_trainer(plan.trainer)
    _check_dataset(experiment)
    put_away(experiment, folder)
    arguments = Commands(plan, device).train_words(fold)
    if _can_continue(folder, experiment):
        arguments.append("--c")
    if device == "cuda":
        import torch

        torch.cuda.empty_cache()  # what our own predictions kept of the GPU's memory
    extend_environment()
    environment = {**os.environ, "nnactive_skip_validation": "1"}
    if device == "cpu":
        # Loader processes cost more than they bring where the network runs on the same few cores.
        environment.setdefault("nnUNet_n_proc_DA", "0")
    log = experiment.results / f"cycle_{cycle:03d}" / f"train_fold_{fold}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    status = _server().train(arguments, environment, log) if TrainingServer.possible(device) else None
    if status is None:
        status = _run([sys.executable, "-m", "nnactive_ext.members.training_process", *arguments], environment, log)
    if status == 0 and (lacking := _lacking(experiment, fold)):
        raise NnActiveError(
            f"{text('nnUNetv2_train', *arguments)} ended, but its fold does not count as a member of cycle {cycle}: {lacking}. "
            f"Correct the trainer {plan.trainer}, then run the same command again; {log} is its log."
        )
    if status == KILLED:
        raise ChildKilled(
            f"{text('nnUNetv2_train', *arguments)} was killed, for example by the operating system because memory ran out. Run "
            f"the same command again, with more memory or fewer steps at once; it continues from the last checkpoint. {log} is "
            "its log."
        )
    if status:
        tail = last_lines(log)
        raise NnActiveError(
            f"{text('nnUNetv2_train', *arguments)} failed with status {status}. The end of {log}:\n{tail}\n"
            "Remove the cause and run the same command again; finished steps are not repeated."
        )
    (folder / BEST).unlink(missing_ok=True)


def _check_dataset(experiment: Experiment) -> None:
    """nnU-Net trains the dataset that its plans name, whatever folder they lie in."""
    plans, file = experiment.preprocessed.plans, experiment.preprocessed.plans_file
    expected = {"dataset_name": experiment.name, "plans_name": experiment.plan.plans_identifier}
    for key, name in expected.items():
        if plans.get(key) != name:
            raise NnActiveError(
                f"{file}: {key} is {plans.get(key)!r} instead of {name!r}, so nnU-Net would train another dataset. Correct the "
                "file."
            )


def _lacking(experiment: Experiment, fold: int) -> str:
    """What a training that ended without an error has not left behind; empty if its fold is a member."""
    plan, cycle, folder = experiment.plan, experiment.state["cycle"], fold_folder(experiment, fold)
    mark, checkpoint = read_mark(folder), CHECKPOINTS[0]
    if is_trained(folder, plan.experiment, cycle, plan.label_version):
        return ""
    if not folder.is_dir():
        return f"{folder} does not exist. The trainer's class must be called as the trainer, and leave output_folder as it is"
    if (mark.get("experiment"), mark.get("cycle")) != (plan.experiment, cycle):
        return f"{folder / MEMBER} was not written. A trainer that replaces on_train_start must call super().on_train_start()"
    if not (folder / checkpoint).is_file():
        return (
            f"{folder / checkpoint} was not written. A trainer that replaces on_train_end must call super().on_train_end(), "
            "and leave disable_checkpointing as it is"
        )
    return f"{folder / MEMBER} was not finished. A trainer that replaces on_train_end must call super().on_train_end()"


_servers: list[TrainingServer] = []


def _server() -> TrainingServer:
    """This process's, started when first needed, or again after it was killed."""
    if not (_servers and _servers[-1].running):
        _servers.append(TrainingServer())
    return _servers[-1]


def _run(command: list[str], environment: dict[str, str], log: Path) -> int:
    """Run it in a process group of its own, which is killed as a whole when we are interrupted; returns its status."""
    with open(log, "a", encoding="utf-8") as output:
        process = subprocess.Popen(
            command,
            env=guarded(environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=os.name == "posix",
        )
        try:
            return process.wait()
        except BaseException:
            kill_group(process)
            raise


def _can_continue(folder: Path, experiment: Experiment) -> bool:
    """Whether a training of this cycle left a whole checkpoint; broken ones (killed while writing) are removed."""
    mark, plan = read_mark(folder), experiment.plan
    begun = (mark.get("experiment"), mark.get("cycle"), label_version(mark))
    if begun != (plan.experiment, experiment.state["cycle"], plan.label_version):
        return False
    for name in CHECKPOINTS:
        if (folder / name).is_file() and not zipfile.is_zipfile(folder / name):
            (folder / name).unlink()
    return any((folder / name).is_file() for name in CHECKPOINTS)
