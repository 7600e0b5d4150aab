"""Ends a benchmark, or a part of it: says what is missing, and compares when nothing is left to run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from nnactive_ext.bench.outcomes import REMEDY, Outcomes, is_complete
from nnactive_ext.bench.runs import Run
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.record import RECORD


def finish(
    runs: Sequence[Run], outcomes: Outcomes, output: Path, others: bool = False, say: Callable[[str], None] = print
) -> None:
    """Compare, unless ``others`` have experiments left; failures are an error in the end, but do not prevent the comparison."""
    from nnactive_ext.compare.compare import compare

    ended = outcomes.of(runs)
    left = [run for run in runs if not is_complete(run) and run.folder not in {outcome.folder for outcome in ended}]
    folders = [Experiment(run.folder).results for run in runs]
    begun = [folder for folder in folders if (folder / RECORD).is_file()]
    failures = [f"{outcome.folder}: {outcome.why.splitlines()[0]}" for outcome in ended if outcome.failed]
    if failures:
        failures = [f"{len(failures)} of {len(runs)} experiments failed:", *failures, REMEDY]
    if left and others:
        say(f"\n{len(left)} of {len(runs)} experiments are left to other parts; whichever ends last compares.")
    elif begun:
        try:
            compare(begun, output, say)
        except NnActiveError as error:  # which must not hide why
            failures.append(str(error))
    if failures:
        raise NnActiveError("\n".join(failures))
