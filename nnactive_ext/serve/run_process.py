"""The process that a page starts to train: ``nnactive_run``, with its output in a file and a note on how it ended.

It takes the lock of a run before it writes anything, so of two that are started at once one ends with a message. The server
may end, or be started anew, meanwhile.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.commands import device_in_use
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.lock_owner import Owner
from nnactive_ext.experiment.lock_settings import locking
from nnactive_ext.experiment.locks import locked
from nnactive_ext.serve.run_note import LOG, STOPPED, Note, place

REFUSED = 3
"""The status of a process that did not begin."""


def main() -> None:
    """:func:`run` with what standard input says, as JSON."""
    run(json.loads(sys.stdin.read()))


def run(asked: Mapping[str, Any]) -> None:
    """Run an experiment and end the process with the status of ``nnactive_run``, :data:`REFUSED` if another run is at work.

    Args:
        asked: ``number``, ``folder``, ``who``, ``device`` (empty: found), ``precision``, and ``share``, the share of the tasks
            to close the cycle with first, or None.
    """
    for name in (signal.SIGINT, signal.SIGTERM):  # a shell may have started the server with SIGINT ignored
        signal.signal(name, signal.default_int_handler)
    try:
        with locking(f"nnactive_run for {asked['who']} in the browser"), locked(asked["number"], run=True):
            raise SystemExit(_noted(asked))
    except NnActiveError as error:
        print(error, file=sys.stderr)
        raise SystemExit(REFUSED) from None


def _noted(asked: Mapping[str, Any]) -> int:
    """Run, and return the status; the caller holds the lock."""
    folder = Path(asked["folder"])
    note = Note(Owner.this_process(), asked["who"], time.time())
    note.write(folder)
    sys.stdout.flush()
    with open(folder / LOG, "wb") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    status = _run(asked)
    sys.stdout.flush()
    replace(note, status=status, place=place(Experiment.find(asked["number"]))).write(folder)
    return status


def _run(asked: Mapping[str, Any]) -> int:
    dataset = ["-d", str(asked["number"])]
    try:
        if asked["share"] is not None:
            _command("annotate", "close", *dataset, "-share", repr(asked["share"]), "--disable_progress_bar")
        device = asked["device"] or device_in_use(Experiment.find(asked["number"]))
        _command("run", *dataset, "-device", device, "-precision", asked["precision"], "--disable_progress_bar")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except KeyboardInterrupt:
        return STOPPED
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _command(name: str, *words: str) -> None:
    """A command of the layer above, as a shell starts it; one that fails raises SystemExit."""
    sys.argv = [f"nnactive_{name}", *words]
    print("$", *sys.argv, flush=True)
    runpy.run_module(f"nnactive_ext.cli.{name}", run_name="__main__")


if __name__ == "__main__":
    main()
