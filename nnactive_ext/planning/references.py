"""Takes over reference label maps that were changed after an experiment was planned from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.freezing import completed, freeze_descriptions, freeze_plans
from nnactive_ext.experiment.input_checks import cases_of
from nnactive_ext.experiment.input_files import label_entry
from nnactive_ext.experiment.inputs import Inputs
from nnactive_ext.experiment.loops import by_case
from nnactive_ext.experiment.plan import Plan
from nnactive_ext.experiment.record import write_record
from nnactive_ext.experiment.result import result_files
from nnactive_ext.labelling.dropping import recorded
from nnactive_ext.labelling.relabel import relabel
from nnactive_ext.nnunet.dataset import Case, Dataset, read_labels
from nnactive_ext.parallel import map_cases
from nnactive_ext.planning.measure import measure
from nnactive_ext.words import count, listed, warned

CHANGE = "references"
"""What the plan calls this change."""


def reread_references(experiment: Experiment, who: str, progress: bool = True) -> list[str]:
    """Use the reference label maps as they are now: write the labels of annotated cases again, and freeze them anew.

    The change is noted in the inputs first and struck out last, and while it is there no other command goes on; killed in
    between, the same call ends right.

    Args:
        experiment: a simulation; the caller holds its lock.
        who: the name of the person who makes the change.
        progress: show progress bars.

    Returns:
        What was done, one text each.

    Raises:
        NnActiveError: a label map does not fit its image or holds other labels; nothing is changed then.
    """
    if experiment.plan.human:
        raise NnActiveError(f"{experiment.name} is a roll-out: it has no reference labels. People's answers are its labels.")
    lost = Inputs.read(experiment.raw) is None
    frozen = Inputs.read(experiment.raw) or freeze_descriptions(experiment, Inputs(experiment.raw))
    entries = _entries(experiment)
    changed = [case for case in entries if _digest(frozen, case) != entries[case]["sha256"]]
    note = dict(frozen.part("rereading"))
    copies = f"Of {count(len(experiment.plan.turned), 'case')} the turned copies in {experiment.turned_folder} are read."
    about_copies = [f"{copies} Change these, or plan anew."] if experiment.plan.turned else []
    if not changed and not note:
        return ["No reference label map has changed.", *about_copies]
    _check(experiment, changed, progress)
    before = {**{case: _digest(frozen, case) for case in changed}, **note.get("before", {})}
    note = {"before": before, "after": {case: entries[case]["sha256"] for case in before}}
    frozen = completed(experiment, frozen.having(references={**frozen.part("references"), **entries}, rereading=note))
    frozen.write()
    if lost:
        freeze_plans(experiment)
    cases = [case for case in by_case(experiment.annotated_patches(experiment.state["cycle"])) if case in before]
    warnings = relabel(experiment, experiment.state["cycle"], cases, progress) if cases else ()
    plan = _recorded(experiment, who, before, entries, progress)
    plan.write(experiment.raw)
    write_record(Experiment(experiment.name))
    frozen = Inputs.read(experiment.raw) or frozen
    frozen.having(rereading=None).write()
    done = f"Read again: the reference label maps of {count(len(before), 'case')} ({listed(list(before))})"
    told = f"Labels written again: {count(len(cases), 'annotated case')}; members trained before did not see them."
    return [done, told, *about_copies, *warned(warnings)]


def _entries(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """Case -> its reference label map as it is now."""
    folder, cases = experiment.source.folder, cases_of(experiment, source=True)
    missing = [str(case.label) for case in cases.values() if not case.label.is_file()]
    missing += [case for case in (*experiment.plan.pool, *experiment.plan.test) if case not in cases]
    if missing:
        raise NnActiveError(f"{listed(missing)}: no such file or case in {folder}. Restore it; nothing was changed.")
    return {name: label_entry(case.label, experiment.raw) for name, case in cases.items()}


def _digest(frozen: Inputs, case: str) -> str:
    return frozen.part("references").get(case, {}).get("sha256", "unknown")


def _check(experiment: Experiment, changed: Sequence[str], progress: bool) -> None:
    """Label maps that do not lie on their image, or hold other values than the experiment's labels, are an error."""
    source, plan = experiment.source, experiment.plan
    if not changed:
        return
    reread = Dataset(source.folder, frozenset(changed) - source.tests, tests=source.tests & frozenset(changed))
    for case, found in measure(reread, plan.processes, progress).items():
        planned = plan.pool.get(case)
        if planned and (found.shape != planned.shape or not np.allclose(found.spacing, planned.spacing, rtol=1e-3)):
            raise NnActiveError(
                f"{source.entries[case].label}: {found.shape} voxels of {found.spacing} mm (z, y, x); the experiment was "
                f"planned with {planned.shape} voxels of {planned.spacing} mm. Restore the image and its label map."
            )


def _recorded(
    experiment: Experiment, who: str, before: Mapping[str, str], entries: Mapping[str, Mapping[str, Any]], progress: bool
) -> Plan:
    """The plan with the change, once however often it is repeated, and with the foreground that the pool has now."""
    plan, cases = experiment.plan, list(before)
    then = [f"{case} {checksum[:12]}" for case, checksum in before.items()]
    now = [f"{case} {entries[case]['sha256'][:12]}" for case in cases]
    last = plan.changes[-1] if plan.changes else {}
    if last.get("what") != CHANGE or last.get("after") != now:
        files = [entries[case]["file"] for case in cases]
        more = {"cases": cases, "files": files, "results": list(result_files(experiment.results))}
        plan = recorded(experiment, plan, who, CHANGE, then, now, more)
    return _with_foreground(experiment, plan, progress) if plan.pool_foreground_voxels else plan


def _with_foreground(experiment: Experiment, plan: Plan, progress: bool) -> Plan:
    """``plan`` with the foreground voxels that the pool's reference label maps hold."""
    source = experiment.source
    job = partial(_foreground, reader=source.reader_writer, labels=list(source.labels.foreground))
    pool = [case for name, case in cases_of(experiment, source=True).items() if name in plan.pool]
    return replace(plan, pool_foreground_voxels=sum(map_cases(job, pool, "Counting foreground", plan.processes, progress)))


def _foreground(case: Case, reader: Any, labels: Sequence[int]) -> int:
    return int(np.isin(read_labels(reader, case.label)[0], labels).sum())
