"""Ends a benchmark, or a part of it: says what is missing, and compares when nothing is left to run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from nnactive_ext.bench.running import Failure, is_complete, is_used_up
from nnactive_ext.bench.runs import Run
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment import Experiment
from nnactive_ext.record import RECORD


def finish(
    runs: Sequence[Run],
    failures: Sequence[Failure],
    output: Path,
    others: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Compare, unless ``others`` have experiments left; failures are an error in the end, but do not prevent the comparison."""
    without = {failure.run.folder for failure in failures}
    left = [run for run in runs if not (is_complete(run) or is_used_up(run)) and run.folder not in without]
    if left and others:
        say(f"\n{len(left)} of {len(runs)} experiments are left to other parts; whichever ends last compares.")
    else:
        from nnactive_ext.compare.compare import compare

        folders = [Experiment(run.folder).results for run in runs]
        compare([folder for folder in folders if (folder / RECORD).is_file()], output, say)
    if failures:
        raise NnActiveError(failed(failures))


def failed(failures: Sequence[Failure]) -> str:
    """What failed, and what to do, for people."""
    lines = [f"{failure.run.folder}: {failure.why.splitlines()[0]}" for failure in failures]
    remedy = "Mend the causes and run the same command again; what is done is not repeated."
    return "\n".join([f"{len(failures)} experiments failed:", *lines, remedy])
