"""Which classes started blank in tasks that were exported: a file that comes back as it went out says that there are none."""

from __future__ import annotations

from collections.abc import Iterable

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import read_json_if_any, write_json

FILE = "started_blank.json"
"""Beside the ledger: by task, the classes that started blank in its last export."""


def note_blank(experiment: Experiment, tasks: Iterable[str], blank: Iterable[str]) -> None:
    """Write down which classes start blank in ``tasks``, which are about to be exported."""
    names, before = sorted(blank), started_blank(experiment)
    after = {task: found for task, found in {**before, **dict.fromkeys(tasks, names)}.items() if found}
    if after != before:
        write_json(experiment.annotation / FILE, after, durable=True)


def started_blank(experiment: Experiment) -> dict[str, list[str]]:
    """By task: the classes that started blank; tasks that the file does not name were exported before there were such."""
    return read_json_if_any(experiment.annotation / FILE, {}, dict[str, list[str]])
