"""Patches around points that people mark, added to the open cycle's tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.points import Point, boxes_around, position_of, read_points, voxel_at
from nnactive_ext.exchange.unplaced import refuse_mm
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.journal import RAW, Journal, NewFile
from nnactive_ext.experiment.label_changes import label_changes, name_now
from nnactive_ext.experiment.loops import entry, loop_file, read_loop_content
from nnactive_ext.experiment.spaces import space_and_properties, stored_space
from nnactive_ext.geometry.patch import Patch, Triple, triple
from nnactive_ext.intake.problems import refuse
from nnactive_ext.labelling.finishing import commit
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.tasks import LABEL_VERSION, MARKED, POINTS, stratum_now, tasks_of
from nnactive_ext.planning.sizes import marked_per_class
from nnactive_ext.words import listed


@dataclass(frozen=True)
class Marked:
    """Patches that were added, and points that lie in a patch chosen before (which is so when a list is handed in again)."""

    added: tuple[tuple[Patch, str], ...]
    covered: tuple[Point, ...]


def add_points(experiment: Experiment, files: Sequence[Path], who: str) -> Marked:
    """Put a patch around each marked point and add the patches to the tasks of the open cycle.

    Args:
        experiment: a roll-out.
        files: point lists (``.mrk.json``, ``.fcsv``) and tables (``.csv``).
        who: the name of the expert.

    Returns:
        The patches that were added, and the points that lie in a patch chosen before.

    Raises:
        NnActiveError: a file or a point cannot be used, or no cycle is open; nothing is added then.
    """
    cycle = experiment.last_loop
    if cycle <= experiment.state["cycle"]:
        raise NnActiveError(
            f"{experiment.name}: no cycle is open for annotation, and points add to the one that is. Query first: "
            f"{experiment.commands.query()}"
        )
    tasks = [task for c in range(cycle + 1) for task in tasks_of(experiment, c)]  # which says so if a loop file is damaged
    plan = experiment.plan
    names = ["background", *experiment.dataset.labels.foreground.values()]
    for source in files:
        if not source.is_file():
            raise NnActiveError(
                f"{source}: {'a folder' if source.is_dir() else 'no such file'}. Name the files with the points."
            )
    known = [*plan.pool, *plan.dropped]
    points = [point for file in files for point in read_points(file, known, names)]
    refuse([f"{p.where}: {p.case} was dropped from the pool. Take the point out." for p in points if p.case in plan.dropped])
    refuse_mm(experiment, points)
    cases = sorted({point.case for point in points})
    spaces = {case: space_and_properties(experiment, case)[0] for case in cases}
    on_disk = {case: stored_space(experiment, case) for case in cases}
    sizes = {case: plan.patch_size(case) for case in cases}
    ledger, file = Ledger(experiment.annotation), loop_file(experiment.raw, cycle)
    content = read_loop_content(file)
    ending = experiment.dataset.file_ending
    before = _counted(experiment, content, cycle)
    version = {LABEL_VERSION: plan.label_version} if plan.label_version else {}
    added: list[tuple[Patch, str]] = []
    covered: list[Point] = []
    entries, places = [], []
    chosen = [task.patch for task in tasks]
    boxes = boxes_around(points, spaces, sizes, on_disk)
    for point, (patch, label) in zip(points, boxes, strict=True):
        voxel = Patch(point.case, voxel_at(position_of(point, on_disk[point.case]), spaces[point.case]), (1, 1, 1))
        mark = (point.case, label, voxel.start)
        if voxel.overlaps_any(chosen):
            covered.append(point)
            if mark not in before:
                places.append([point.case, label, list(voxel.start), point.where])
        else:
            added.append((patch, label))
            chosen.append(patch)
            entries.append(entry(patch, ending, stratum=MARKED + label, method=POINTS, point=list(voxel.start), **version))
        before.add(mark)
    handed_in = {(event["who"], event.get("sha256"), event["cycle"]) for event in ledger.events() if event["what"] == "points"}
    events: list[dict[str, Any]] = []
    for source in files:
        received, checksum = ledger.keep(source)
        if (who, checksum, cycle) not in handed_in:
            facts = {"file": str(source.resolve()), "received": received, "sha256": checksum, "cycle": cycle}
            events.append({"what": "points", "who": who, **facts})
    if places:
        events.append({"what": "covered points", "who": who, "cycle": cycle, "points": places})
    new = (NewFile(RAW, file.name, {**content, "patches": [*content["patches"], *entries]}),) if entries else ()
    if new or events:
        commit(experiment, Journal(f"points in {listed([source.name for source in files])}", new, tuple(events)))
    return Marked(tuple(added), tuple(covered))


def _counted(experiment: Experiment, loop: Mapping[str, Any], cycle: int) -> set[tuple[str, str, Triple]]:
    """Case, class and voxel of the points marked so far: a list that grows is handed in again and again."""
    ending, changes = experiment.dataset.file_ending, experiment.plan.label_changes
    marks = {
        (
            found["file"].removesuffix(ending),
            stratum_now(found["stratum"], changes[found.get(LABEL_VERSION, 0) :]).removeprefix(MARKED),
            triple(found["point"]),
        )
        for found in loop["patches"]
        if "point" in found
    }
    return marks | {(case, label, triple(at)) for case, label, at, _ in _covered(experiment, cycle)}


def _covered(experiment: Experiment, cycle: int) -> list[tuple[str, str, Sequence[int], str]]:
    """Case, class as it is called today, voxel and place of the points of a cycle that lay in patches chosen before."""
    events = list(Ledger(experiment.annotation).events())
    found = []
    for number, event in enumerate(events):
        if event["what"] == "covered points" and event["cycle"] == cycle:
            since = label_changes(events[number:])
            found += [(case, name_now(label, since), at, where) for case, label, at, where in event["points"]]
    return found


def marked(experiment: Experiment) -> dict[str, tuple[int, int]]:
    """Of each class: patches of cycle 0 with a marked point of it, and how many are asked for."""
    names = list(experiment.dataset.labels.foreground.values())
    goal = marked_per_class(experiment.plan.starting_budget, len(names))
    strata = [task.stratum for task in tasks_of(experiment, 0)]
    covered = [label for _, label, _, _ in _covered(experiment, 0)]
    return {name: (strata.count(MARKED + name) + covered.count(name), goal) for name in names}
