"""The commands that people are told to type, complete for one experiment: the only place that spells them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.loops import last_loop, loop_file, read_loop_content
from nnactive_ext.experiment.marks import ENVIRONMENTS, Fold, marks_in
from nnactive_ext.experiment.plan import PLAN_FILE, Plan
from nnactive_ext.experiment.pseudonyms import FILE as PSEUDONYMS
from nnactive_ext.nnunet.dataset import nnunet_identifier, number_and_name

named_device: ContextVar[str] = ContextVar("named_device", default="")
"""The ``-device`` that the user typed for the command that runs; empty if none."""
typed_command: ContextVar[str] = ContextVar("typed_command", default="")
"""The command that runs, as a shell reads it; empty where no command runs."""
ENVIRONMENT = 'eval "$(nnactive_env)"'
"""What a shell needs before nnU-Net's own commands, once."""
NEW = "NEW_NUMBER"


def text(*words: object) -> str:
    """Words as a shell reads them.

    >>> text("nnactive_annotate", "import", "-d", 601, "my tasks")
    "nnactive_annotate import -d 601 'my tasks'"
    """
    return shlex.join(map(str, words))


def typed_on(device: str) -> str:
    """The command that runs, with another ``-device``; empty where no command runs.

    >>> token = typed_command.set("nnactive_query -d 5 -device=cuda -query_size 3")
    >>> typed_on("cpu")
    'nnactive_query -d 5 -query_size 3 -device cpu'
    >>> typed_command.reset(token)
    """
    words = shlex.split(typed_command.get())
    if "-device" in words:
        at = words.index("-device")
        del words[at : at + 2]
    words = [word for word in words if not word.startswith("-device=")]
    return text(*words, "-device", device) if words else ""


def plan_simulation(dataset: object) -> str:
    """For a dataset that is no experiment."""
    return text("nnactive_plan", "-d", dataset, "-o", NEW)


def plan_rollout() -> str:
    """For a folder of images."""
    return text("nnactive_plan", "-i", "FOLDER", "-o", NEW, "--labels", "NAME...")


def hand_in(number: int, folder: object = "FOLDER", who: str = "") -> str:
    """What imports the answers in a folder."""
    return text("nnactive_annotate", "import", "-d", number, folder, *(("-who", who) if who else ()))


def change_of(dataset: str, *words: object) -> str:
    """``nnactive_change`` for whom only the name of the experiment's dataset is at hand."""
    return text("nnactive_change", "-d", number_and_name(dataset)[0], *words)


def status_of(dataset: str) -> str:
    """``nnactive_status`` for whom only the name of the experiment's dataset is at hand."""
    return text("nnactive_status", "-d", number_and_name(dataset)[0])


def worker(file: object, *words: object) -> str:
    """What starts a worker of the run that was given ``-workers FILE``."""
    return text("nnactive_worker", file, *words)


@dataclass(frozen=True)
class Commands:
    """The commands of an experiment. ``device``: for those that train or predict; empty or "cuda": they need not name it.
    ``of``: the experiment whose device is looked for, where none is given and a command needs one."""

    plan: Plan
    device: str = ""
    of: Files | None = field(default=None, compare=False)

    @cached_property
    def _device(self) -> str:
        return device_in_use(self.of) if self.of and not self.device else self.device

    @property
    def number(self) -> int:
        return number_and_name(self.plan.dataset)[0]

    @property
    def _on_device(self) -> tuple[str, ...]:
        return ("-device", self._device) if self._device not in ("", "cuda") else ()

    @property
    def run(self) -> str:
        return text("nnactive_run", "-d", self.number, *self._on_device)

    def step(self, name: str, cycle: int) -> str:
        """One step of a cycle."""
        return text("nnactive_run", "-d", self.number, "-cycle", cycle, "-step", name, *self._on_device)

    @property
    def report(self) -> str:
        return text("nnactive_report", "-d", self.number, *self._on_device)

    @property
    def status(self) -> str:
        return status_of(self.plan.dataset)

    def query(self, *words: object) -> str:
        return text("nnactive_query", "-d", self.number, *words, *self._on_device)

    def screen(self, *words: object) -> str:
        return text("nnactive_screen", "-d", self.number, *words, *self._on_device)

    def uncertainty(self, *words: object) -> str:
        return text("nnactive_uncertainty", "-d", self.number, *words, *self._on_device)

    def predict_blocks(self, *words: object) -> str:
        return text("nnactive_predict_blocks", "-d", self.number, *words, *self._on_device)

    def change(self, *words: object) -> str:
        return change_of(self.plan.dataset, *words)

    def annotate(self, command: str, *words: object) -> str:
        return text("nnactive_annotate", command, "-d", self.number, *words)

    @property
    def serve(self) -> str:
        """The device is for predictions and for trainings that are started in the page."""
        return self.annotate("serve", *self._on_device)

    def export(self, predicted: bool = True) -> str:
        """``predicted``: there are members whose predictions the tasks start from. Where tasks were exported with pseudonyms,
        so are the next ones."""
        disguised = self.of is not None and (self.of.raw / "annotation" / PSEUDONYMS).is_file()
        return self.annotate("export", *(("--pseudonyms",) if disguised else ()), *(self._on_device if predicted else ()))

    def train_words(self, fold: Fold) -> list[str]:
        """The arguments of ``nnUNetv2_train``, all of them spelt out."""
        plan = self.plan
        words = [nnunet_identifier(plan.dataset), plan.configuration, str(fold), "-tr", plan.trainer]
        return [*words, "-p", plan.plans_identifier, "-device", self._device or "cuda"]

    def train(self, fold: Fold) -> str:
        """``nnUNetv2_train`` for a shell in which :data:`ENVIRONMENT` was typed, without what is nnU-Net's default."""
        words = self.train_words(fold)
        for flag, default in (("-p", "nnUNetPlans"), ("-device", "cuda")):
            at = words.index(flag)
            if words[at + 1] == default:
                del words[at : at + 2]
        return text("nnUNetv2_train", *words)

    def export_model(self, folds: Sequence[Fold] = ()) -> str:
        """``folds``: those that are there, where the planned ones are not all."""
        words = ("-f", *folds) if folds else ()
        return text("nnactive_export_model_to_zip", "-d", self.number, "-o", "model.zip", *words)

    def export_labels(self, *words: object) -> str:
        return text("nnactive_export_labels", "-d", self.number, *words, *self._on_device)

    def by_hand(self, folds: Sequence[Fold]) -> list[str]:
        """nnU-Net's own commands that train members, one line each, after the line that they need."""
        return [ENVIRONMENT, *map(self.train, folds)]

    def predict(self, folds: Sequence[Fold]) -> list[str]:
        """nnU-Net's own prediction of other images, after the line that it needs."""
        plan = self.plan
        words = ["-d", nnunet_identifier(plan.dataset), "-c", plan.configuration, "-f", *folds, "-tr", plan.trainer]
        words += ["-p", plan.plans_identifier] if plan.plans_identifier != "nnUNetPlans" else []
        return [ENVIRONMENT, text("nnUNetv2_predict", "-i", "FOLDER", "-o", "PREDICTED", *words, *self._on_device)]


def predict_stock(plan: Plan, folds: Sequence[Fold], file: object = "model.zip") -> list[str]:
    """nnU-Net's own commands for a model that was exported, where this package is not installed."""
    words = ["-d", plan.dataset, "-c", plan.configuration, "-f", *folds, "-tr", "nnUNetTrainer"]
    words += ["-p", plan.plans_identifier] if plan.plans_identifier != "nnUNetPlans" else []
    install = text("nnUNetv2_install_pretrained_model_from_zip", file)
    return [install, text("nnUNetv2_predict", "-i", "FOLDER", "-o", "PREDICTED", *words)]


class Files(Protocol):
    """What of an experiment tells which device is used for it."""

    @property
    def plan(self) -> Plan: ...
    @property
    def raw(self) -> Path: ...
    @property
    def model_folder(self) -> Path: ...


def device_in_use(experiment: Files) -> str:
    """The device to name in commands: the CPU for its preset, else the one that the user named for the command that runs,
    else the one that members were trained or asked on last, else one that torch finds here."""
    if experiment.plan.preset == "cpu":
        return "cpu"
    return named_device.get() or _last_device(experiment) or device_here()


def device_here() -> str:
    """The best device that torch finds on this machine. Imports torch: seconds."""
    import torch

    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def _last_device(experiment: Files) -> str:
    contents = list(marks_in(experiment.model_folder).values())
    if experiment.raw.is_dir() and (last := last_loop(experiment.raw)) > 0:
        contents.append(read_loop_content(loop_file(experiment.raw, last)))
    used = [one.get("device") for content in contents for one in content.get(ENVIRONMENTS, ())]
    return next((str(device) for device in used if device), "")


def run_of(results: Path) -> str:
    """``nnactive_run`` for the experiment whose results folder (``.../DatasetNNN_Name/nnactive``) this is."""
    commands = _of_results(results)
    return commands.run if commands else "nnactive_run on the machine that has the experiment"


def report_of(results: Path) -> str:
    """``nnactive_report`` for the experiment whose results folder this is."""
    commands = _of_results(results)
    return commands.report if commands else "nnactive_report on the machine that has the experiment"


def _of_results(results: Path) -> Commands | None:
    raw = Path(os.environ.get("nnUNet_raw", "")) / results.absolute().parent.name  # which reading results does not need
    if not (raw / PLAN_FILE).is_file():
        return None
    try:
        plan = Plan.read(raw)
    except NnActiveError:  # which the commands of this experiment say
        return None
    return Commands(plan, "cpu" if plan.preset == "cpu" else named_device.get())
