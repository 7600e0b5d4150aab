"""Cases leave the pool of an experiment, and come back; its plan records each change."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.journal import PREPROCESSED, RAW, Journal, NewFile
from nnactive_ext.experiment.plan import DROPPED, IRRELEVANT, PLAN_FILE, RELEVANT, Geometry, Plan
from nnactive_ext.geometry.patch import triple
from nnactive_ext.labelling.answers import CountingAnswers
from nnactive_ext.labelling.finishing import commit
from nnactive_ext.labelling.given import given_cases
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.relabel import settlement, write_labels
from nnactive_ext.labelling.tasks import all_tasks
from nnactive_ext.nnunet.dataset import Dataset
from nnactive_ext.nnunet.preprocessing import preprocess, refresh

_LEAST = 2
"""Cases, and groups of cases: one to train on and one to validate."""
_LEFT = "left"
"""In the record of cases that left: what their coming back needs."""


def recorded(
    experiment: Experiment,
    plan: Plan,
    who: str,
    what: str,
    before: Any,
    after: Any,
    more: Mapping[str, Any] = MappingProxyType({}),
    **fields: Any,
) -> Plan:
    """``plan`` with ``fields`` replaced, and a note of it in ``changes``; ``more``: what else the note says."""
    note = {"what": what, "before": before, "after": after, "who": who, **more}
    note |= {"after_cycle": experiment.state["cycle"], "after_loop": experiment.last_loop}
    note["when"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return replace(plan, changes=(*plan.changes, note), **fields)


def plan_file(plan: Plan) -> NewFile:
    """The plan as a file of a journal."""
    return NewFile(RAW, PLAN_FILE, plan.content())


def settled(
    experiment: Experiment, cycle: int, annotated: Mapping[str, Mapping[int, int]]
) -> tuple[tuple[NewFile, ...], tuple[str, ...]]:
    """Splits and state of a change, and warnings; none before the first cycle is closed."""
    if cycle < 0:
        return (), ()
    files, warnings = settlement(experiment, cycle, annotated)
    return tuple(NewFile(PREPROCESSED, name, content) for name, content in files.items()), warnings


def drop(experiment: Experiment, who: str, cases: Sequence[str], what: str = DROPPED) -> tuple[str, ...]:
    """Take cases out of the pool, with their labels; returns warnings. What was annotated in them stays in the ledger.

    Args:
        experiment: the caller holds its lock.
        who: the name of the person.
        cases: of the pool, or dropped before.
        what: how the plan calls the change.

    Raises:
        NnActiveError: too little would be left to train on; nothing is changed then.
    """
    plan, cycle = experiment.plan, experiment.state["cycle"]
    new = [case for case in cases if case in plan.pool]
    check_left(experiment, new, experiment.state["annotated"])
    if new:
        plan = without(experiment, who, new, what)
    if what == DROPPED and (gone := [case for case in cases if case in experiment.plan.called_irrelevant]):
        plan = recorded(experiment, plan, who, DROPPED, None, gone)  # no verdict brings them back
    # Done even if the plan says so already: earlier versions could be killed between the plan and the splits.
    files = (plan_file(plan), NewFile(RAW, "dataset.json", described(experiment, plan, {})))
    last, warnings = settled(Experiment(experiment.name, plan), cycle, experiment.state["annotated"])
    commit(experiment, Journal(f"{what}: {', '.join(cases)}", files, last=last))
    return warnings


def without(experiment: Experiment, who: str, cases: Sequence[str], what: str) -> Plan:
    """The plan without ``cases`` of its pool. Those that were called irrelevant can come back."""
    plan, entries = experiment.plan, experiment.dataset.json["dataset"]
    left = {case: {"geometry": asdict(plan.pool[case]), "entry": entries[case]} for case in cases}
    fields: dict[str, Any] = {"pool": {case: geometry for case, geometry in plan.pool.items() if case not in left}}
    fields["dropped"] = (*plan.dropped, *cases)
    if not set(cases) <= set(plan.irrelevant):  # without another case the foreground of the pool is not known
        fields["pool_foreground_voxels"] = 0
    return recorded(experiment, plan, who, what, None, list(cases), {_LEFT: left} if what == IRRELEVANT else {}, **fields)


def bring_back(experiment: Experiment, who: str, cases: Sequence[str], progress: bool = True) -> tuple[str, ...]:
    """Put cases that were called irrelevant back into the pool, with the labels that their answers make; returns warnings.

    Their labels and preprocessed images come first: nothing refers to them before the journal is written.

    Args:
        experiment: the caller holds its lock.
        who: the name of the person.
        cases: cases of :attr:`nnactive_ext.experiment.plan.Plan.called_irrelevant`.
        progress: show progress bars.
    """
    plan, cycle = experiment.plan, experiment.state["cycle"]
    records = [change[_LEFT] for change in plan.changes if change["what"] == IRRELEVANT]
    left = {case: record[case] for record in records for case in cases if case in record}
    geometry = {c: Geometry(triple(e["geometry"]["shape"]), tuple(e["geometry"]["spacing"])) for c, e in left.items()}
    pool = dict(sorted({**plan.pool, **geometry}.items()))
    dropped = tuple(case for case in plan.dropped if case not in left)
    plan = recorded(experiment, plan, who, RELEVANT, None, list(cases), pool=pool, dropped=dropped)
    content = described(experiment, plan, {case: record["entry"] for case, record in left.items()})
    changed = Experiment(experiment.name, plan, content)
    counts = write_labels(changed, cycle, list(cases), progress)
    if cycle >= 0:
        _preprocessed(changed, cases, progress)
    last, warnings = settled(changed, cycle, {**experiment.state["annotated"], **counts})
    files = (plan_file(plan), NewFile(RAW, "dataset.json", content))
    commit(experiment, Journal(f"{RELEVANT}: {', '.join(cases)}", files, last=last), progress)
    return warnings


def _preprocessed(experiment: Experiment, cases: Sequence[str], progress: bool) -> None:
    """Preprocess cases that came back; images that were preprocessed before they left are as they were."""
    dataset, target, processes = experiment.dataset, experiment.preprocessed, experiment.plan.processes
    known = [case for case in cases if (target.data_folder / f"{case}.pkl").is_file()]
    if new := [case for case in cases if case not in known]:
        preprocess(dataset, target, processes, progress, new)
    if known:
        refresh(dataset, target, known, processes, progress)


def described(experiment: Experiment, plan: Plan, more: Mapping[str, Any]) -> dict[str, Any]:
    """What dataset.json holds with the cases of ``plan``, of which it lists ``more`` besides those that it lists now."""
    content = experiment.dataset.json
    entries = {case: entry for case, entry in content["dataset"].items() if case in plan.pool}
    entries = dict(sorted({**entries, **more}.items())) if more else entries
    return {**content, "numTraining": len(entries), "dataset": entries}


def follow_verdicts(experiment: Experiment, progress: bool = True) -> tuple[str, ...]:
    """Let the cases that count as irrelevant leave the pool, and those that do so no more come back; returns warnings."""
    opinions, plan = CountingAnswers.of(Ledger(experiment.annotation)).opinions, experiment.plan
    warnings: tuple[str, ...] = ()
    irrelevant = opinions.irrelevant_cases
    back = [case for case in plan.called_irrelevant if case not in irrelevant]
    if back:
        people = {votes[-1].who for case in back if (votes := opinions.votes.get((case, "")))}
        warnings += bring_back(experiment, ", ".join(sorted(people)), back, progress)
        experiment = experiment.anew()
    if leaving := [case for case in plan.pool if case in irrelevant]:
        people = {opinions.outcome[case, ""].who for case in leaving}
        warnings += drop(experiment, ", ".join(sorted(people)), leaving, IRRELEVANT)
    return warnings


def check_leaving(experiment: Experiment, counted: CountingAnswers) -> None:
    """Refuse verdicts, or answers taken back, that leave too little to train on; ``counted``: the ledger with them."""
    irrelevant = counted.opinions.irrelevant_cases
    leaving = [case for case in experiment.plan.pool if case in irrelevant]
    check_left(experiment, leaving, annotated_cases(experiment, counted))


def annotated_cases(experiment: Experiment, counted: CountingAnswers) -> set[str]:
    """The cases of the pool that closed cycles have labels of: from the start, or by answers that count."""
    cycle = experiment.state["cycle"]
    said = {
        task.patch.case
        for task in all_tasks(experiment)
        if task.cycle <= cycle and any(answer.unsure < answer.voxels for answer in counted.counting(task.id))
    }
    return said | set(given_cases(experiment))


def check_left(experiment: Experiment, leaving: Sequence[str], annotated: Collection[str]) -> None:
    """Refuse what leaves fewer than two cases, or groups, in the pool, or with annotated voxels once there are labels.

    Args:
        experiment: before the change.
        leaving: the cases that leave the pool.
        annotated: the cases with annotated voxels, with or without these.
    """
    plan, cycle = experiment.plan, experiment.state["cycle"]
    gone = set(leaving)
    pool = {case: None for case in plan.pool if case not in gone}
    names = ", ".join(leaving)
    what = f"Without {names}" if names else "Then"
    if len(pool) < _LEAST:
        raise NnActiveError(f"{what} the pool has {len(pool)} case(s); it needs 2.")
    left = [case for case in annotated if case in pool]
    if cycle >= 0 and len(left) < _LEAST:
        raise NnActiveError(
            f"{what} only {len(left)} annotated case(s) are left; training needs 2. Annotate patches in other cases first."
        )
    _check_groups_left(plan, what, list(pool), "cases of the pool")
    if cycle >= 0:
        _check_groups_left(plan, what, left, "annotated cases")


def _check_groups_left(plan: Plan, what: str, left: Sequence[str], whose: str) -> None:
    groups = {plan.group(case) for case in left}
    if len(groups) < _LEAST:
        raise NnActiveError(
            f"{what} all {whose} are in one group ({', '.join(groups)}); training needs 2 groups, one to "
            "train on and one to validate."
        )


def left_as_irrelevant(experiment: Experiment) -> Dataset:
    """The cases that left the pool because of a verdict, with their images."""
    records = [change[_LEFT] for change in experiment.plan.changes if change["what"] == IRRELEVANT]
    entries = {case: left["entry"] for record in records for case, left in record.items()}
    known = frozenset(experiment.plan.called_irrelevant)
    return Dataset(experiment.raw, known, content={**experiment.dataset.json, "dataset": entries})
