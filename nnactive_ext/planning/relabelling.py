"""Changes the classes of a running roll-out: what was annotated keeps what it still says, and the rest is open again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.commands import plan_simulation
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.journal import PREPROCESSED, RAW, Journal, NewFile
from nnactive_ext.experiment.label_changes import BACKGROUND, IGNORE, LABELS, LabelChange, mapped
from nnactive_ext.experiment.loops import by_case
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.labelling.annotators import HumanAnnotator
from nnactive_ext.labelling.answers import CountingAnswers, read_answer, status_of
from nnactive_ext.labelling.dropping import plan_file, recorded, settled
from nnactive_ext.labelling.finishing import commit
from nnactive_ext.labelling.given import GIVEN_PATCHES, given_labels, given_patches, given_patches_content
from nnactive_ext.labelling.labels import count_voxels
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.tasks import all_tasks
from nnactive_ext.nnunet.dataset import read_description
from nnactive_ext.planning.labels import change_of
from nnactive_ext.words import count, plural


@dataclass(frozen=True)
class Relabelled:
    """What a change of classes did: ``change``; cycle -> its tasks that are not done, of those that were (``reopened``);
    ``warnings``. ``made`` is False if an earlier command had made the change already."""

    change: LabelChange
    reopened: Mapping[int, int]
    warnings: tuple[str, ...] = ()
    made: bool = True


def change_labels(experiment: Experiment, who: str, operations: Sequence[Sequence[str]], progress: bool = True) -> Relabelled:
    """Add, rename, merge or split classes from now on.

    Answers and given label maps stay as they are on disk; the ledger says what they mean. Where that cannot be known any more,
    voxels are ``ignore``. Labels are written and preprocessed anew, and members of the cycle are put away. nnU-Net's plans,
    its fingerprint and the preprocessed images stay.

    Args:
        experiment: a roll-out, whose lock the caller holds.
        who: the name of the person who makes the change.
        operations: see :func:`nnactive_ext.planning.labels.change_of`.
        progress: show progress bars.

    Returns:
        What was done.

    Raises:
        NnActiveError: the change is not possible; nothing is changed then.
    """
    check_relabelling(experiment, operations)
    if (before := _made_before(experiment, operations)) is not None:
        return Relabelled(before, {}, made=False)
    change = change_of(experiment.dataset.labels.names, operations)
    after, event = _described(experiment, who, change)
    counts = _annotated(after, event)
    files = _files(experiment, after, event)
    last, warnings = _settled(after, counts)
    done_before = _done(experiment, CountingAnswers.of(Ledger(experiment.annotation)))
    what = f"classes changed: {'; '.join(change.operations)}"
    journal = Journal(what, files, (event,), put_away=True, relabel=tuple(after.plan.pool), last=last)
    commit(experiment, journal, progress)
    left = _done(after, CountingAnswers.of(Ledger(experiment.annotation)))
    reopened = {cycle: len(done - left.get(cycle, set())) for cycle, done in done_before.items()}
    seen = {value for found in counts.values() for value in found}
    absent = [name for value, name in after.dataset.labels.foreground.items() if value not in seen]
    if absent and counts:
        warnings = (
            *warnings,
            f"Nothing is annotated as {', '.join(absent)}: the models cannot find it yet. Mark points of it.",
        )
    return Relabelled(change, {cycle: n for cycle, n in reopened.items() if n}, warnings)


def told(made: Relabelled) -> list[str]:
    """What was done, one line each, for the person who asked for it."""
    before, after = (
        ", ".join(name for name in names if name not in (BACKGROUND, IGNORE))
        for names in (made.change.before, made.change.after)
    )
    if not made.made:
        return [f"classes: {after}, changed before; nothing is to be done"]
    reopened = [
        f"cycle {cycle}: {count(n, 'task')} that {plural(n, 'was', 'were')} done {plural(n, 'has', 'have')} open voxels now"
        for cycle, n in made.reopened.items()
    ]
    return [f"classes: {before} -> {after}", *reopened]


def check_relabelling(experiment: Experiment, operations: Sequence[Sequence[str]]) -> None:
    """A change of classes that is not possible is an NnActiveError; see :func:`change_labels`."""
    if not experiment.plan.human:
        raise NnActiveError(
            "-labels is for roll-outs only: in a simulation the reference labels answer, and they cannot know another class. "
            "Change the reference labels in a dataset of their own, and plan a new experiment on it: "
            f"{plan_simulation('NUMBER')}"
        )
    if experiment.plan.test:
        raise NnActiveError(
            f"-labels: the reference labels of the {len(experiment.plan.test)} test cases cannot know another class. Plan a "
            "new experiment with a test set that has the new classes."
        )
    if experiment.dataset.labels.regions:
        raise NnActiveError("-labels: classes that are regions (several labels) cannot be changed. Plan a new experiment.")
    if _made_before(experiment, operations) is None:
        change_of(experiment.dataset.labels.names, operations)


def _made_before(experiment: Experiment, operations: Sequence[Sequence[str]]) -> LabelChange | None:
    """The last change, if it is this one: a command that was killed is typed again."""
    last = experiment.plan.label_changes[-1:]
    for change in last:
        try:
            same = change_of(change.before, operations)
        except NnActiveError:
            return None
        if same.operations == change.operations and same.after == dict(experiment.dataset.labels.names):
            return change
    return None


def _described(experiment: Experiment, who: str, change: LabelChange) -> tuple[Experiment, dict[str, Any]]:
    """The experiment as it will be, of which nothing is written yet, and the event for the ledger."""
    content = change.content()
    more = {key: content[key] for key in ("mapping", "operations")}
    plan = recorded(experiment, experiment.plan, who, LABELS, content["before"], content["after"], more)
    after = Experiment(experiment.name, plan, {**experiment.dataset.json, "labels": content["after"]})
    ledger = Ledger(experiment.annotation)
    counted = CountingAnswers.of(ledger)
    event = {"what": LABELS, "who": who, **content, "unsure": _unsure(ledger, counted, change)}
    return after, event


def _unsure(ledger: Ledger, counted: CountingAnswers, change: LabelChange) -> dict[str, int]:
    """The event of each answer -> voxels of it that are open after ``change``."""
    counting = {answer.event for task in counted.answers for answer in counted.counting(task)}
    found = {}
    for answer in counted.handed_in:
        try:
            labels = mapped(read_answer(ledger, counted, answer), [change])
        except NnActiveError:
            if answer.event in counting:
                raise
            continue  # damaged, and replaced by another one
        found[str(answer.event)] = count_voxels(labels, -1).get(change.after[IGNORE], 0)
    return found


def _annotated(after: Experiment, event: Mapping[str, Any]) -> dict[str, dict[int, int]]:
    """Case -> label value -> annotated voxels in the labels of the cycle as they will be; cases without any are left out."""
    annotator = HumanAnnotator(after, (Ledger(after.annotation).numbered(event),))
    patches, ignore = by_case(after.annotated_patches(after.state["cycle"])), after.dataset.labels.ignore
    found = {case: count_voxels(annotator.annotate(case, patches.get(case, []))[0], ignore) for case in after.plan.pool}
    return {case: counts for case, counts in found.items() if counts}


def _files(experiment: Experiment, after: Experiment, event: Mapping[str, Any]) -> tuple[NewFile, ...]:
    """What a change of the classes ends with: every small file that depends on them. Whatever else of an experiment knows its
    classes is written here."""
    files = [plan_file(after.plan), NewFile(RAW, "dataset.json", after.dataset.json)]
    trained = experiment.preprocessed.folder / "dataset.json"  # which nnU-Net trains with
    if trained.is_file():
        files.append(
            NewFile(PREPROCESSED, "dataset.json", {**read_description(trained), "labels": after.dataset.json["labels"]})
        )
    if patches := given_patches(experiment):
        files.append(NewFile(RAW, GIVEN_PATCHES, given_patches_content(_still_given(after, event, patches))))
    return tuple(files)


def _still_given(after: Experiment, event: Mapping[str, Any], patches: Sequence[Patch]) -> dict[str, list[Patch]]:
    """Patches of given label maps in which nothing is open that was not: nobody is to be asked about them. The others may be
    queried, as no task can be exported again for them."""
    ledger, ignore = Ledger(after.annotation), event["before"][IGNORE]
    counted = CountingAnswers.of(ledger)
    change, kept = LabelChange.of(event), {}
    for case, found in by_case(patches).items():
        before = given_labels(after, case, counted)
        if before is not None:
            reopened = (before != ignore) & (mapped(before, [change]) == change.after[IGNORE])
            kept[case] = [patch for patch in found if not reopened[patch.slices].any()]
    return kept


def _settled(after: Experiment, counts: Mapping[str, Mapping[int, int]]) -> tuple[tuple[NewFile, ...], tuple[str, ...]]:
    cycle = after.state["cycle"]
    if cycle >= 0 and len(counts) < 2:
        raise NnActiveError(
            f"-labels: after this change {len(counts)} case(s) have annotated voxels; training needs 2. Annotate patches in "
            "which other classes are first, or plan a new experiment."
        )
    return settled(after, cycle, counts)


def _done(experiment: Experiment, counted: CountingAnswers) -> dict[int, set[str]]:
    """Cycle -> its tasks that are done."""
    ledger, ignore = Ledger(experiment.annotation), experiment.dataset.labels.ignore
    found: dict[int, set[str]] = {}
    for task in all_tasks(experiment):
        if status_of(ledger, counted, task.id, ignore) == "done":
            found.setdefault(task.cycle, set()).add(task.id)
    return found
