"""Locks of the operating system and locks that are files: who holds them, when they are free, and what their owners notice."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from forked import PROCESSES

from nnactive_ext.cli import annotate, bench, change, env, plan, query
from nnactive_ext.cli import run as run_command
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment import experiment, lock_owner, locks, marks, soft_locks
from nnactive_ext.experiment.lock_owner import Owner
from nnactive_ext.experiment.locks import LockHeld, acquire, held, holder, locked, run_file, step_file

pytestmark = pytest.mark.skipif(os.name == "nt", reason="kills and stops processes")
CANNOT = [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL]
"""What ``flock`` says where a file system cannot lock."""
SOFT = "a.soft.lock"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.lock"


@pytest.fixture
def soft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("nnactive_lock", "file")


def without_flock(code: int) -> None:
    """From now on this process's ``flock`` fails as on such a file system."""

    def failing(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    fcntl.flock = failing


@pytest.fixture
def no_flock(monkeypatch: pytest.MonkeyPatch):
    def switch_off(code: int) -> None:
        monkeypatch.setattr(fcntl, "flock", fcntl.flock)  # restored at the end
        without_flock(code)

    return switch_off


def _hold(file: Path, kind: str, ready, go_on, beat: float, code: int, status) -> None:
    """Hold a lock, say so, go on when told, and write a file as its next step."""
    os.environ["nnactive_lock"] = kind
    soft_locks.BEAT_SECONDS = beat
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background process of a shell ignores it
    if code:
        without_flock(code)
    try:
        with held(file):
            ready.set()
            go_on.wait()
            locks.check_held()
            (file.parent / "next step").touch()
    except NnActiveError as error:
        status.value = str(error).encode()[:900]


class Holder:
    """Another process that holds a lock."""

    def __init__(self, file: Path, kind: str, beat: float = 30, code: int = 0):
        self.ready, self.go_on, self.status = PROCESSES.Event(), PROCESSES.Event(), PROCESSES.Array("c", 1000)
        arguments = (file, kind, self.ready, self.go_on, beat, code, self.status)
        self.process: BaseProcess = PROCESSES.Process(target=_hold, args=arguments)
        self.process.start()
        assert self.ready.wait(60)

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def end(self) -> str:
        """Let it go on; the error it ended with."""
        self.go_on.set()
        self.process.join(60)
        return self.status.value.decode()


@pytest.fixture
def holding(file):
    started: list[Holder] = []

    def start(kind: str, at: Path = file, **more) -> Holder:
        started.append(Holder(at, kind, **more))
        return started[-1]

    yield start
    for one in started:
        if one.process.is_alive():
            one.process.kill()
        one.process.join()


def age(file: Path, seconds: float) -> None:
    """As if its last renewal were so long ago, by the times of the file system."""
    then = soft_locks.file_time(file.parent) - int(seconds * 1e9)
    os.utime(file, ns=(then, then))


def elsewhere(file: Path, **changed: str) -> None:
    """As if the process in a lock file ran on another machine."""
    owner = Owner.parse(file.read_bytes())
    assert owner is not None
    file.write_bytes(replace(owner, **(changed or {"host": "elsewhere"})).serialized())


# One owner at a time


@pytest.mark.parametrize("first", ["system", "file"])
@pytest.mark.parametrize("second", ["system", "file"])
def test_one_owner_at_a_time_whatever_kinds_meet(file, holding, monkeypatch, first, second):
    other = holding(first)
    monkeypatch.setenv("nnactive_lock", second)
    with pytest.raises(LockHeld, match=f"process {other.pid} on .* is working on the dishes"):
        acquire(file, what="the dishes")
    assert str(other.pid) in holder(file)
    assert other.end() == ""
    assert holder(file) == ""
    acquire(file).release()


@pytest.mark.parametrize("kind", ["system", "file"])
def test_a_killed_owner_holds_nothing(file, holding, monkeypatch, kind):
    other = holding(kind)
    monkeypatch.setenv("nnactive_lock", kind)
    os.kill(other.pid, signal.SIGKILL)
    other.process.join()
    acquire(file, 20).release()


@pytest.mark.usefixtures("soft")
def test_a_killed_owner_that_nobody_waited_for_holds_nothing(file):
    """A zombie still has its number."""
    child = subprocess.Popen(["sleep", "0"])
    while lock_owner._started(child.pid)[0] != "Z":
        time.sleep(0.01)
    (file.parent / SOFT).write_bytes(replace(Owner.this_process(), pid=child.pid, started="").serialized())
    acquire(file, 0).release()
    child.wait()


@pytest.mark.usefixtures("soft")
def test_a_number_that_another_process_got_holds_nothing(file):
    (file.parent / SOFT).write_bytes(replace(Owner.this_process(), pid=os.getppid(), started="12").serialized())
    acquire(file, 0).release()


@pytest.mark.parametrize("kind", ["system", "file"])
def test_a_thread_that_holds_a_lock_goes_on_and_others_do_not(file, monkeypatch, kind):
    monkeypatch.setenv("nnactive_lock", kind)
    met: list[str] = []

    def other() -> None:
        try:
            with held(file):
                met.append("in")
        except LockHeld:
            met.append("refused")

    with held(file):
        with held(file):
            pass
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert met == ["refused"]
        assert holder(file) == ""  # nobody else
    acquire(file).release()


def test_a_run_that_has_begun_waits_for_a_step_of_another_command(planned):
    """As for an answer that comes in between two steps; a run that has not begun is refused."""
    other = Holder(step_file(planned.number), "system")
    assert other.ready.wait(60)
    with pytest.raises(LockHeld), planned.running():
        pass
    with locked(planned.number, run=True):
        threading.Timer(1.5, other.go_on.set).start()
        began = time.monotonic()
        with planned.running(), planned.lock():
            assert time.monotonic() - began > 1
    other.process.join()


def test_a_step_of_a_run_that_began_just_now_is_waited_for(planned, holding, monkeypatch):
    """The run was not there yet when the command looked for one, and was in its step when the command wanted its own."""
    run = holding("system", run_file(planned.number))
    step = holding("system", step_file(planned.number))
    looked: list[Path] = []

    def late(file: Path) -> str:
        looked.append(file)
        return holder(file) if len(looked) > 1 else ""

    monkeypatch.setattr(experiment, "holder", late)
    threading.Timer(1.5, step.go_on.set).start()
    began = time.monotonic()
    with planned.lock():
        assert time.monotonic() - began > 1
    assert run.end() == step.end() == ""
    looked.clear()
    step = holding("system", step_file(planned.number))
    with pytest.raises(LockHeld), planned.lock():  # of another command than a run
        pass
    assert step.end() == ""


def test_waiting_ends_when_the_owner_does(file, holding):
    for kind in ("system", "file"):
        other = holding(kind)
        threading.Timer(0.5, other.go_on.set).start()
        with held(file, wait=True):
            assert not other.process.is_alive() or other.process.join(20) is None
        (file.parent / "next step").unlink()


# Files: how long they count


@pytest.mark.slow
@pytest.mark.usefixtures("soft")
@pytest.mark.parametrize(
    "other",
    [{"host": "elsewhere"}, {"boot": "another"}, {"namespace": "pid:[1]"}, {"boot": "", "namespace": "", "started": ""}],
    ids=lambda other: "+".join(other),
)
def test_of_another_machine_only_the_time_counts(file, holding, other):
    process = holding("file", code=errno.ENOLCK)
    elsewhere(file.parent / SOFT, **other)
    os.kill(process.pid, signal.SIGKILL)
    process.process.join()
    age(file.parent / SOFT, 590)
    with pytest.raises(LockHeld):
        acquire(file)
    age(file.parent / SOFT, 610)
    acquire(file).release()


@pytest.mark.usefixtures("soft")
@pytest.mark.parametrize("shift", [-7200, 7200, 1e6])
def test_only_the_clock_of_the_file_system_counts(file, monkeypatch, shift):
    """The server's clock differs from ours by hours: its files are compared with each other."""
    lock = acquire(file)
    elsewhere(file.parent / SOFT)
    now = file.parent / SOFT
    monkeypatch.setattr(soft_locks, "file_time", lambda folder: int((time.time() + shift) * 1e9))
    for renewed, free in ((30, False), (599, False), (601, True)):
        at = int((time.time() + shift - renewed) * 1e9)
        os.utime(now, ns=(at, at))
        found = soft_locks.look(now)
        assert found is not None
        assert found.stale is free
    lock.release()


@pytest.mark.usefixtures("soft")
@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\x00" * 20, b'{"pid": 3}'])
def test_a_damaged_lock_file_counts_as_long_as_any(file, content):
    (file.parent / SOFT).write_bytes(content)
    with pytest.raises(LockHeld, match="another process"):
        acquire(file)
    age(file.parent / SOFT, 601)
    acquire(file).release()


@pytest.mark.usefixtures("soft")
def test_a_live_owner_is_renewed(file, monkeypatch):
    monkeypatch.setattr(soft_locks, "BEAT_SECONDS", 0.05)
    with held(file):
        age(file.parent / SOFT, 3600)
        time.sleep(0.5)
        found = soft_locks.look(file.parent / SOFT)
        assert found is not None
        assert not found.stale
        locks.check_held()
    assert not (file.parent / SOFT).exists()


# Owners that lost theirs


@pytest.mark.usefixtures("soft")
def test_a_stopped_owner_is_replaced_and_stops_when_it_wakes(file, holding):
    other = holding("file", beat=0.1, code=errno.ENOLCK)
    os.kill(other.pid, signal.SIGSTOP)
    time.sleep(0.3)
    age(file.parent / SOFT, 601)
    with held(file):
        os.kill(other.pid, signal.SIGCONT)
        other.process.join(30)  # its heartbeat interrupts it: nobody told it to go on
        assert other.process.exitcode == 0
        assert f"process {os.getpid()}" in other.status.value.decode()
        locks.check_held()
    assert not (file.parent / "next step").exists()
    assert not (file.parent / SOFT).exists()


@pytest.mark.parametrize("kind", ["system", "file"])
def test_an_owner_whose_file_was_removed_begins_no_other_step(file, holding, kind):
    other = holding(kind)
    (file if kind == "system" else file.parent / SOFT).unlink()
    assert "was lost" in other.end()
    assert not (file.parent / "next step").exists()


@pytest.mark.usefixtures("soft")
def test_a_lock_lost_during_a_step_is_an_error_at_its_end(file):
    with pytest.raises(NnActiveError, match="lost"), held(file):
        (file.parent / SOFT).write_bytes(Owner.this_process().serialized())
    assert (file.parent / SOFT).exists(), "it removed the lock of another"


@pytest.mark.usefixtures("soft")
def test_ctrl_c_stays_what_it_is(file):
    with pytest.raises(KeyboardInterrupt), held(file):
        raise KeyboardInterrupt
    acquire(file).release()


def _take_over(file: Path, barrier, won, lock) -> None:
    os.environ["nnactive_lock"] = "file"
    without_flock(errno.ENOLCK)
    barrier.wait()
    try:
        with held(file):
            with lock:
                won.value += 1
            time.sleep(1.5)
            locks.check_held()
    except NnActiveError as error:
        if not isinstance(error, LockHeld):
            won.value += 100  # it lost what it had


@pytest.mark.slow
def test_of_many_that_take_over_one_does(file):
    (file.parent / SOFT).write_bytes(replace(Owner.this_process(), host="elsewhere").serialized())
    age(file.parent / SOFT, 601)
    barrier, won, lock = PROCESSES.Barrier(5), PROCESSES.Value("i", 0), PROCESSES.Lock()
    processes = [PROCESSES.Process(target=_take_over, args=(file, barrier, won, lock)) for _ in range(5)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert won.value == 1
    assert [path.name for path in file.parent.iterdir()] == []


@pytest.mark.usefixtures("soft")
@pytest.mark.parametrize("links", [True, False], ids=["with", "without hard links"])
def test_a_lock_that_was_renewed_after_it_was_judged_is_put_back(file, monkeypatch, links):
    lock = acquire(file)
    age(file.parent / SOFT, 601)
    judged = file.parent / SOFT
    found = soft_locks.look(judged)
    assert found is not None
    assert found.stale
    age(judged, 0)
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links")))
    assert not soft_locks.remove(judged, found)
    lock.check()
    lock.release()
    assert list(file.parent.iterdir()) == []


# File systems that cannot lock


@pytest.mark.parametrize("code", CANNOT)
def test_a_file_system_that_cannot_lock_is_named_with_the_way_on(file, no_flock, monkeypatch, code):
    no_flock(code)
    with pytest.raises(NnActiveError, match=r"cannot lock.*-lock file") as caught:
        acquire(file)
    assert os.strerror(code) in str(caught.value)
    monkeypatch.setenv("nnactive_lock", "file")
    lock = acquire(file)
    with pytest.raises(LockHeld):
        acquire(file)
    lock.release()


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EMFILE, errno.EIO])
@pytest.mark.parametrize("kind", ["system", "file"])
def test_other_errors_are_not_taken_for_that(file, monkeypatch, code, kind):
    opened = os.open

    def failing(path, flags, *more, **others):
        if Path(os.fsdecode(path)).parent == file.parent and flags & os.O_CREAT:
            raise OSError(code, os.strerror(code), str(path))
        return opened(path, flags, *more, **others)

    monkeypatch.setattr(os, "open", failing)
    monkeypatch.setenv("nnactive_lock", kind)
    with pytest.raises(NnActiveError, match="writable folder") as caught:
        acquire(file, 0)
    assert "-lock" not in str(caught.value)


@pytest.mark.parametrize("code", CANNOT)
def test_a_lock_file_that_always_stays_is_held_by_nobody(nnunet_folders, no_flock, monkeypatch, code):
    """A machine that can lock leaves it, whatever is in it; waiting for it would never end."""
    with locked(977):
        pass
    left = locks.step_file(977)
    left.write_text(f"{os.getpid()}\n")
    no_flock(code)
    monkeypatch.setenv("nnactive_lock", "file")
    for wait in (False, True):
        with locked(977, wait):
            pass


def test_a_copied_lock_blocks_nobody_for_ever(tmp_path, holding, monkeypatch):
    """Another folder has the file with the name of a process that lives, on this machine or on another."""
    holding("file")
    (tmp_path / "a.lock").touch()
    for foreign in (False, True):
        copy = Path(shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}_copy{foreign}")))
        if foreign:
            elsewhere(copy / SOFT)
        age(copy / SOFT, 601)  # nobody renews a copy
        for kind in ("system", "file"):
            monkeypatch.setenv("nnactive_lock", kind)
            with held(copy / "a.lock", wait=True):
                pass
    assert holder(tmp_path / "a.lock"), "the lock that was copied is held"


def test_a_word_that_is_no_kind_of_lock(file, monkeypatch):
    monkeypatch.setenv("nnactive_lock", "flock")
    with pytest.raises(NnActiveError, match=r"nnactive_lock.*'flock'"):
        acquire(file)


# Folds


@pytest.mark.parametrize("kind", ["system", "file"])
def test_a_fold_is_trained_by_one_process(monkeypatch, planned, kind):
    monkeypatch.setenv("nnactive_lock", kind)
    monkeypatch.setattr(marks, "_PATIENCE", 0.2)
    fold = planned.model_folder / "fold_0"
    fold.mkdir(parents=True)
    other = Holder(fold / marks.LOCK, kind)
    with pytest.raises(NnActiveError, match=f"process {other.pid}"):
        marks.begin(fold, planned.preprocessed.folder, continued=False)
    assert str(other.pid) in planned.under_way()
    other.process.kill()
    other.process.join()
    lock = marks.begin(fold, planned.preprocessed.folder, continued=False)
    assert lock is not None
    del lock  # a trainer that goes out of use lets go
    marks.begin(fold, planned.preprocessed.folder, continued=False)
    assert planned.under_way() == ""


@pytest.mark.usefixtures("soft")
def test_a_training_that_lost_its_lock_saves_no_more_checkpoints(file):
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    from nnactive_ext.trainers.nnActiveTrainer import nnActiveTrainer

    training = nnActiveTrainer.__new__(nnActiveTrainer)
    training.fold_lock = acquire(file)
    training.current_epoch, training.num_epochs, training._plotted, training._saved, training.save_every = 0, 1, 0.0, 0.0, 50
    ended: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nnUNetTrainer, "on_epoch_end", lambda self: ended.append(self))
        training.on_epoch_end()
        (file.parent / SOFT).write_bytes(Owner.this_process().serialized())
        with pytest.raises(NnActiveError, match="lost"):
            training.on_epoch_end()
    assert len(ended) == 1


# Commands


@pytest.mark.parametrize("code", CANNOT[:2])
def test_a_command_with_lock_files(planned, no_flock, monkeypatch, capsys, code):
    no_flock(code)
    words = ["-d", "101", "-cycles", "8", "-who", "me"]
    with pytest.raises(SystemExit):
        change.main(words)
    error = capsys.readouterr().err
    assert "cannot lock" in error
    assert "-lock file" in error
    assert planned.plan.cycles == 3
    change.main([*words, "-lock", "file"])
    assert planned.anew().plan.cycles == 8
    assert "nnactive_lock=file" in capsys.readouterr().err
    assert "nnactive_lock" not in os.environ  # of later commands in this process
    monkeypatch.setenv("nnactive_lock", "file")
    change.main(["-d", "101", "-cycles", "9", "-who", "me"])
    assert planned.anew().plan.cycles == 9
    assert capsys.readouterr().err == "", "who set the variable knows of it"


def test_child_processes_lock_alike(planned, monkeypatch):
    """The training of a member, and the processes of a benchmark, get the kind through their environment."""
    seen = []

    def run(command, environment, log):
        seen.append(environment.get("nnactive_lock"))
        return 1

    monkeypatch.setattr("nnactive_ext.members.training._run", run)
    monkeypatch.setattr("nnactive_ext.members.training.TrainingServer.possible", lambda device: False)
    monkeypatch.setattr("nnactive_ext.nnunet.environment.check_torchvision", lambda: None)
    (planned.results / "cycle_000").mkdir(parents=True)
    (planned.results / "cycle_000" / "train_fold_0.log").touch()
    for more in ([], ["-lock", "file"]):
        with pytest.raises(SystemExit):
            run_command.main(["-d", "101", "-device", "cpu", "--disable_progress_bar", *more])
    assert seen == [None, "file"]


@pytest.mark.parametrize("shell", ["sh", "fish", "powershell", "cmd"])
def test_nnactive_env_prints_the_kind_for_nnunets_own_commands(capsys, monkeypatch, shell):
    env.main(["--shell", shell])
    assert "nnactive_lock" not in capsys.readouterr().out
    env.main(["--shell", shell, "-lock", "file"])
    assert any("nnactive_lock" in line and "file" in line for line in capsys.readouterr().out.splitlines())
    monkeypatch.setenv("nnactive_lock", "file")
    env.main(["--shell", shell])
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_every_command_that_locks_has_the_option():
    parsers = [command.parser() for command in (bench, change, env, plan, query, run_command)]
    parsers += [*annotate.parser()._subparsers._group_actions[0].choices.values()]  # type: ignore[union-attr]
    for one in parsers:
        assert "-lock" in one._option_string_actions, one.prog
