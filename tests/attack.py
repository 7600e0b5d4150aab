"""Commands in processes of their own that are killed, or whose system calls fail, at the n-th call; and what they leave.

strace kills or fails any system call, those of C libraries too. Where it is not installed, Python's own calls are counted.
"""

from __future__ import annotations

import builtins
import errno
import importlib
import json
import os
import pickle
import re
import resource
import shutil
import signal
import subprocess
import sys
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import blosc2
import numpy as np
import pytest
import SimpleITK as sitk
import warm_kernels  # noqa: F401
from fake_members import FakeEnsemble, fake_train
from forked import PROCESSES
from forked_steps import fake

import nnactive_ext.cli.annotate
import nnactive_ext.cli.bench
import nnactive_ext.cli.change
import nnactive_ext.cli.compare
import nnactive_ext.cli.plan
import nnactive_ext.cli.query
import nnactive_ext.cli.report
import nnactive_ext.cli.run
import nnactive_ext.cli.screen
import nnactive_ext.cli.status
import nnactive_ext.report.page
import nnactive_ext.screening.report
import nnactive_ext.serve.answers  # noqa: F401
from nnactive_ext.errors import NOTHING_TAKEN
from nnactive_ext.files import TEMPORARY
from nnactive_ext.members import ensemble
from nnactive_ext.members.tools import Tools
from nnactive_ext.nnunet import pace

STRACE = shutil.which("strace")
CALLS = ("rename", "unlink", "rmdir", "mkdir", "fsync", "ftruncate", "write", "pwrite64")
"""At which a command is killed; where there is no strace, the last two are openings of a file for writing."""
FAILING_TOO = ("flock",)
"""A call that changes nothing: it only fails."""
LIMIT = 300.0
"""Seconds after which a command hangs."""


FILES = "files"
"""A fault that needs no strace: the command may open ``number`` files more than are open when it begins (EMFILE)."""


@dataclass(frozen=True)
class Fault:
    """The ``number``-th ``call`` of a command: it kills the command, or fails with ``error`` (a name of :mod:`errno`), then
    and, with ``on``, from then on. See also :data:`FILES`."""

    call: str
    number: int
    error: str = ""
    on: bool = False

    @property
    def injected(self) -> str:
        what = f"error={self.error}" if self.error else "signal=KILL"
        return f"inject={self.call}:{what}:when={self.number}{'+' if self.on else ''}"

    def __str__(self) -> str:
        return f"{self.error or 'killed'} at {self.call} {self.number}{' and after' if self.on else ''}"


@dataclass(frozen=True)
class Ended:
    """How a command ended: ``status`` is negative after a signal; ``calls``: how often it made each call, if that was asked."""

    status: int
    said: str
    calls: Counter[str] = field(default_factory=Counter)

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL

    @property
    def clear(self) -> bool:
        """It did what it should, or said in one message why not."""
        return "Traceback" not in self.said and (self.status in (0, NOTHING_TAKEN) or "ERROR: " in self.said)


@dataclass
class Attacker:
    """``plans``: what nnU-Net's planner is taken to have made. ``log`` gets one line for each command."""

    plans: Path
    folder: Path
    traced: bool = STRACE is not None

    def call(self, root: Path, words: Sequence[object], fault: Fault | None = None, count: bool = False) -> Ended:
        """``words``: a command without its ``nnactive_``, and its arguments; nnU-Net's folders are below ``root``."""
        said, log = self.folder / "said.txt", self.folder / "strace.log"
        said.write_text("")
        log.write_text("")
        receiver, sender = PROCESSES.Pipe(duplex=False)
        few = fault.number if fault and fault.call == FILES else None
        seam = None if self.traced or few is not None else (fault, str(log))
        process = PROCESSES.Process(
            target=_command, args=(str(root), str(self.plans), [str(word) for word in words], str(said), receiver, seam, few)
        )
        process.start()
        tracer = None
        if self.traced and few is None and (fault or count):
            calls = fault.call if fault else ",".join((*CALLS, *FAILING_TOO))
            words_ = [STRACE, "-f", "-p", str(process.pid), "-o", str(log), "-e", f"trace={calls}"]
            words_ += ["-e", fault.injected] if fault else []
            tracer = subprocess.Popen(words_, stderr=subprocess.PIPE, text=True)
            assert tracer.stderr is not None
            while "attached" not in (line := tracer.stderr.readline()):
                assert line, "strace may not attach to processes here"
        sender.send(None)
        process.join(LIMIT)
        hung = process.exitcode is None
        if hung:
            process.kill()
            process.join()
        if tracer:
            tracer.wait()
        calls_made = Counter(re.findall(rf"^{process.pid}\s+(\w+)\(", log.read_text(errors="replace"), re.MULTILINE))
        assert process.exitcode is not None
        text = said.read_text(errors="replace") + ("\nTraceback: it hangs" if hung else "")
        return Ended(process.exitcode, text, calls_made)


def _command(
    root: str, plans: str, words: list[str], said: str, go: Any, seam: tuple[Fault | None, str] | None, few: int | None
) -> None:
    os.setpgid(0, 0)
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = f"{root}/nnUNet_{name}"
    os.chdir(root)
    stream = os.open(said, os.O_WRONLY | os.O_APPEND)
    for number in (1, 2):
        os.dup2(stream, number)
    patch, status, unique = pytest.MonkeyPatch(), 0, uuid.uuid4
    fake(patch, Path(plans))
    patch.setattr(
        ensemble,
        "NnUNetEnsemble",
        lambda experiment, folds, device, folder=None: FakeEnsemble(experiment, len(experiment.dataset.labels.values)),
    )
    tools = Tools(fake_train, lambda experiment, folds: ensemble.NnUNetEnsemble(experiment, folds, "cpu"))
    patch.setattr(Tools, "of_nnunet", classmethod(lambda cls, device, prepare=None: tools))
    patch.setattr(uuid, "uuid4", unique)  # of journals, which tell each other by them
    patch.setattr(pace, "timed", lambda progress=True: lambda training: pace.Pace(0.1, 0.02, 3.0, 10, 50, 5))
    patch.setattr(sys, "argv", [f"nnactive_{words[0]}", *words[1:]])
    go.recv()
    if seam:
        _count(patch, *seam)
    if few is not None:
        _limit_files(few)
    try:
        if words[0] == "hand_in":
            hand_in(*words[1:])
        else:
            importlib.import_module(f"nnactive_ext.cli.{words[0]}").main(words[1:])
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _limit_files(more: int) -> None:
    """From now on, only ``more`` files can be opened."""
    most, last = max(int(name) for name in os.listdir("/dev/fd")), -1
    while last < most:  # there are gaps
        last = os.open(os.devnull, os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (last + 1 + more, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def hand_in(number: str, task: str, file: str, who: str) -> None:
    """As a page of ``nnactive_annotate serve`` hands an answer in."""
    from nnactive_ext.cli.command import failing_clearly
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.labelling.opening import open_experiment
    from nnactive_ext.labelling.tasks import find_task
    from nnactive_ext.serve import answers

    with failing_clearly():
        name = open_experiment(number).name
        with Experiment(name).lock():
            experiment = open_experiment(name, locked=True)
            content = Path(file).read_bytes()
            folder = experiment.annotation / "browser"
            print(answers.hand_in(experiment, find_task(experiment, task), who, content, 0, 3.0, folder).text)


def _count(patch: pytest.MonkeyPatch, fault: Fault | None, log: str) -> None:
    """The seam: Python's own calls do what strace would do to system calls."""
    record, numbers = os.open(log, os.O_WRONLY | os.O_APPEND), Counter[str]()

    def noted(name: str) -> None:
        numbers[name] += 1
        os.write(record, f"{os.getpid()} {name}(\n".encode())
        if fault and fault.call == name and (numbers[name] == fault.number or (fault.on and numbers[name] > fault.number)):
            if not fault.error:
                os.kill(os.getpid(), signal.SIGKILL)
            code = getattr(errno, fault.error)
            raise OSError(code, os.strerror(code))

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def first(*arguments: Any, **options: Any) -> Any:
            noted(name)
            return call(*arguments, **options)

        return first

    real = builtins.open

    def opened(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if set(mode) & set("wax+"):
            noted("write")
        return real(file, mode, *arguments, **options)

    names = {"replace": "rename", "rename": "rename", "remove": "unlink", "ftruncate": "ftruncate"}
    for name in (*names, "unlink", "rmdir", "mkdir", "fsync"):
        patch.setattr(os, name, counted(names.get(name, name), getattr(os, name)))
    patch.setattr(builtins, "open", opened)


def copied(source: Path, target: Path) -> Path:
    """A copy of a state; of its images and the like hard links would do, but commands must not be trusted with them."""
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(source, target, symlinks=True))


_VOLATILE = frozenset(
    "when seconds change previous_sha256 previous experiment modified times mtime environments environment versions made "
    "total id typed duration host changed time wall training trainings for".split()
)
"""Keys of JSON files that tell a time, an id, or what depends on them."""
_SKIPPED = re.compile(
    r"\.(lock|owner|log)$|/times/|/running/|nnactive_times\.jsonl$|\.html$|\.png$|/viewer\.js$|ledger_seen\.json$|nnactive_finished\.json$|ledger_unfinished_|itksnap$"
)


def contents(root: Path) -> dict[str, object]:
    """What everything below ``root`` says, without times and ids: arrays of images, JSON files key by key, bytes of others."""
    found: dict[str, object] = {}
    for file in sorted(root.rglob("*")):
        name = str(file.relative_to(root))
        if file.is_file() and not _SKIPPED.search(name):
            try:
                found[name] = _content(file, str(root))
            except Exception as error:
                found[name] = f"unreadable: {error!r}"
        elif _SKIPPED.search(name) is None and file.name.startswith(TEMPORARY):
            found[name] = "left over"
    return found


def _content(file: Path, root: str) -> object:
    if file.name.endswith(".b2nd"):
        return np.asarray(blosc2.open(str(file), mode="r")[:]).tobytes()
    if file.name.endswith(".nii.gz"):
        return sitk.GetArrayFromImage(sitk.ReadImage(str(file))).tobytes()
    if file.suffix == ".pkl":
        locations = pickle.loads(file.read_bytes()).get("class_locations", {})
        return {key: np.asarray(value).tobytes() for key, value in locations.items()}
    if file.suffix == ".npz":
        with np.load(file) as arrays:
            return {key: arrays[key].tobytes() for key in arrays if key not in _VOLATILE}
    text = file.read_bytes().replace(root.encode(), b"ROOT")
    if file.suffix == ".json":
        return _steady(json.loads(text))
    if file.name == "ledger.jsonl":  # whose lines may come in another order where another command came between
        events = [_steady(json.loads(line)) for line in text.splitlines()]
        return sorted(json.dumps({key: event[key] for key in event if key not in ("event", "answer")}) for event in events)
    if file.suffix == ".jsonl":
        return [_steady(json.loads(line)) for line in text.splitlines()]
    return text


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _steady(inside) for key, inside in value.items() if key not in _VOLATILE}
    return [_steady(inside) for inside in value] if isinstance(value, list) else value


def differences(one: dict[str, object], other: dict[str, object]) -> list[str]:
    names = sorted(one.keys() | other.keys())
    return [name for name in names if one.get(name) != other.get(name)]


def of(folders: SimpleNamespace) -> Path:
    """The folder that nnU-Net's three folders are in."""
    return Path(folders.raw).parent
