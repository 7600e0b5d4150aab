"""The annotate step: from a loop file to partial labels, refreshed preprocessed cases, splits, and the state that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.inputs import Inputs
from nnactive_ext.experiment.label_changes import BACKGROUND
from nnactive_ext.experiment.loops import by_case, loop_file, read_loop
from nnactive_ext.experiment.marks import LABEL_VERSION, STATE
from nnactive_ext.experiment.member_kinds import SEEDS
from nnactive_ext.experiment.timing import Timing
from nnactive_ext.files import TEMPORARY, sync_folder, write_json
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.labelling.annotators import Annotator, HumanAnnotator, SimulatedAnnotator
from nnactive_ext.labelling.labels import count_voxels, move_label, write_label
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.nnunet.preprocessing import refresh
from nnactive_ext.nnunet.splits import SPLITS, make_splits
from nnactive_ext.parallel import map_cases, same_processes
from nnactive_ext.randomness import generator

EVENTS = "events"
"""In the state of a roll-out: how many events of the ledger its labels rest on. Older experiments have none."""


def annotator_of(experiment: Experiment, following: Sequence[Mapping[str, Any]] = ()) -> Annotator:
    """``following``: events as if they were in the ledger already."""
    if experiment.plan.human:
        return HumanAnnotator(experiment, following)
    if experiment.plan.annotator != "simulated":
        raise NnActiveError(
            f"{experiment.name}: the annotator {experiment.plan.annotator!r} is neither 'simulated' nor 'human'."
        )
    return SimulatedAnnotator(experiment.source, Inputs.read(experiment.raw))


def annotate_cycle(experiment: Experiment, cycle: int, progress: bool = True) -> tuple[str, ...]:
    """Have the patches of ``loop_<cycle>.json`` annotated.

    Every file is written from all loops up to ``cycle``, and the state last, so a step that was killed is simply repeated.

    Args:
        experiment: its annotator answers.
        cycle: the cycle whose patches are annotated.
        progress: show progress bars.

    Returns:
        Warnings about the new splits.
    """
    chosen = by_case(read_loop(loop_file(experiment.raw, cycle), experiment.dataset.file_ending))
    changed = [case for case in chosen if case not in experiment.plan.dropped]
    experiment.plan.check(experiment.annotated_patches(cycle), loop_file(experiment.raw, cycle))
    return relabel(experiment, cycle, changed, progress)


def relabel(experiment: Experiment, cycle: int, cases: list[str], progress: bool = True) -> tuple[str, ...]:
    """Write the labels of ``cases`` anew, preprocess these again, and settle on ``cycle``; returns warnings."""
    timing = Timing(experiment, cycle - 1)  # the query and its annotation end the cycle that asked
    with same_processes():
        with timing.of("annotate"):
            counts = write_labels(experiment, cycle, cases, progress)
        with timing.of("preprocess"):
            refresh(experiment.dataset, experiment.preprocessed, cases, experiment.plan.processes, progress)
    return settle(experiment, cycle, {**experiment.state["annotated"], **counts})


def write_labels(
    experiment: Experiment,
    cycle: int,
    cases: list[str],
    progress: bool = True,
    following: Sequence[Mapping[str, Any]] = (),
) -> dict[str, dict[int, int]]:
    """Write the partial labels of ``cases`` for all loops up to ``cycle``; returns annotated voxels per label value.

    All of them or, where a label map holds a value that is no label of the experiment, none.

    ``following``: events as if they were in the ledger already.
    """
    dataset, folder = experiment.dataset, experiment.raw / "labelsTr"
    patches = by_case(experiment.annotated_patches(cycle))
    folder.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix=TEMPORARY, dir=folder) as staged:
        files = [Path(staged) / f"{case}{dataset.file_ending}" for case in cases]
        job = partial(_write, annotator_of(experiment, following), dataset.reader_writer, dataset.labels.ignore)
        items = [(case, patches.get(case, []), file) for case, file in zip(cases, files, strict=True)]
        found = map_cases(job, items, "Writing partial labels", experiment.plan.processes, progress)
        for file in files:
            move_label(file, folder)
    sync_folder(folder)  # before the state says that they are there
    return dict(zip(cases, found, strict=True))


def _write(annotator: Annotator, reader_writer: Any, ignore: int, item: tuple[str, Sequence[Patch], Path]) -> dict[int, int]:
    """Write the partial label map of a case; returns its annotated voxels per label value."""
    case, patches, file = item
    labels, properties = annotator.annotate(case, patches)
    write_label(file, labels, reader_writer, properties)
    return count_voxels(labels, ignore)


def settlement(
    experiment: Experiment, cycle: int, annotated: Mapping[str, Mapping[int, int]]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What settles ``experiment`` on the labels of ``cycle``: file in the preprocessed folder -> content, to be written in
    this order; and warnings about the splits. ``annotated``: case -> label value -> annotated voxels."""
    plan = experiment.plan
    voxels = {case: {int(k): int(v) for k, v in counts.items()} for case, counts in sorted(annotated.items())}
    voxels = {case: counts for case, counts in voxels.items() if counts and case in plan.pool}
    names = {0: BACKGROUND, **experiment.dataset.labels.foreground}
    rng, seeds = generator(plan.seed, cycle, "splits"), plan.member_kind.name == SEEDS
    splits, warnings = make_splits(voxels, plan.folds, rng, plan.groups, names, seeds)
    state = {"experiment": plan.experiment, "cycle": cycle, "annotated": voxels}
    state |= {LABEL_VERSION: plan.label_version} if plan.label_version else {}
    if plan.human and (events := sum(1 for _ in Ledger(experiment.annotation).events())):
        state[EVENTS] = events
    return {SPLITS: splits, STATE: state}, warnings


def settle(experiment: Experiment, cycle: int, annotated: Mapping[str, Mapping[int, int]]) -> tuple[str, ...]:
    """Write the splits over the annotated cases, then the state: from now on the labels are those of ``cycle``."""
    files, warnings = settlement(experiment, cycle, annotated)
    for name, content in files.items():
        write_json(experiment.preprocessed.folder / name, content)
    return warnings
