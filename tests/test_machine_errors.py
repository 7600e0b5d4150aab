"""Errors of the machine end every command in one line and a status; readers refuse the one file that they cannot read."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nnactive_ext.cli.command import failing_clearly
from nnactive_ext.errors import OUTPUT_CLOSED, NnActiveError
from nnactive_ext.refusals import Unforeseen, refuses, refusing

LONG = "print('x' * 100_000)"
MANY = "from nnactive_ext.cli.env import main; import sys; sys.argv = ['nnactive_env']; main()"
CLOSED = f"from nnactive_ext.cli.command import failing_clearly\nwith failing_clearly():\n    {LONG}"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.EIO, "Input/output error", "/x/y"), "/x/y: Input/output error: the disk"),
        (OSError(errno.EMFILE, "Too many open files", "/x/y"), "ulimit -n"),
        (OSError(errno.ENFILE, "Too many open files in system"), "Too many open files in system"),
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), "/x/y: no space left"),
        (OSError(errno.EACCES, "Permission denied", "/x/y"), "permissions"),
        (OSError(errno.ENOLCK, "No locks available"), "No locks available"),
        (OSError(errno.EBUSY, "Device or resource busy", "/x/y"), "/x/y: Device or resource busy"),
        (MemoryError(), "Not enough memory"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "Broken pipe. Run the same command again"),  # of a process of ours
        (NnActiveError("a remedy"), "a remedy"),
    ],
)
def test_one_line_and_a_status(error, says, capsys):
    with pytest.raises(SystemExit) as caught, failing_clearly():
        raise error
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("ERROR: ")
    assert says in lines[0]
    assert caught.value.code == 1


def test_a_fault_of_ours_keeps_its_traceback():
    with pytest.raises(KeyError), failing_clearly():
        raise KeyError("x")


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
def test_output_that_cannot_be_written(tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-c", MANY], stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    assert done.returncode == 1
    assert "ERROR: standard output: no space left" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-c", CLOSED], stdout=writing, stderr=subprocess.PIPE, text=True, env=environment)
    os.close(writing)
    assert done.returncode == OUTPUT_CLOSED
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("error", [MemoryError(), RecursionError(), OSError(errno.EIO, "Input/output error"), EOFError("cut")])
def test_a_reader_refuses_its_file(error):
    with pytest.raises(NnActiveError, match=r"a\.nii: .*Do this") as caught, refusing("a.nii", "Do this."):
        raise error
    assert not isinstance(caught.value, Unforeseen)


def test_what_nobody_foresaw_is_in_a_log(tmp_path, monkeypatch):
    import tempfile

    from nnactive_ext import refusals

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(refusals, "_LOGS", {})

    @refuses
    def reader(file: Path) -> None:
        raise ZeroDivisionError("of the reader")

    for name in ("a.nii", "b.nii"):
        with pytest.raises(Unforeseen, match=r"nnactive_errors_.*\.log") as caught:
            reader(Path(name))
        assert name in str(caught.value)
    (log,) = tmp_path.iterdir()
    assert str(log) in str(caught.value)
    assert log.read_text().count("ZeroDivisionError: of the reader") == 2
    assert log.stat().st_mode & 0o077 == 0, "paths in it are nobody else's business"


def test_without_room_for_a_log_it_is_said(monkeypatch):
    import tempfile

    from nnactive_ext import refusals

    def full(**options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkstemp", full)
    monkeypatch.setattr(refusals, "_LOGS", {})
    with pytest.raises(Unforeseen, match="could not be written"), refusing("a.nii"):
        raise ZeroDivisionError
