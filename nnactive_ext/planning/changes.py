"""Changes of a running experiment between cycles, recorded in its plan: more cycles, another seed or expert, other cases."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.blocks import BLOCKS_FILE, BlockTable
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.inference import MIRRORING, STEP, WHEN, Evaluation
from nnactive_ext.experiment.journal import RAW, Journal, NewFile
from nnactive_ext.experiment.loops import by_case
from nnactive_ext.experiment.plan import Geometry
from nnactive_ext.experiment.spaces import image_and_space, space_of
from nnactive_ext.geometry.axes import Turn, orientation
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.hounsfield import HIGHER, hounsfield_offset
from nnactive_ext.images.lengths import typed_spacing
from nnactive_ext.images.turning import added
from nnactive_ext.intake.case_tables import typed_cases
from nnactive_ext.intake.find import FoundCase, find
from nnactive_ext.intake.inspect import inspect
from nnactive_ext.intake.label_maps import on_lattice
from nnactive_ext.labelling.answers import GIVEN, check_annotator
from nnactive_ext.labelling.dropping import drop, plan_file, recorded, settled
from nnactive_ext.labelling.finishing import commit
from nnactive_ext.labelling.given import (
    GIVEN_PATCHES,
    boxes_of,
    given_cases,
    given_patches,
    given_patches_content,
    keep_given,
)
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.relabel import write_labels
from nnactive_ext.nnunet.preprocessing import preprocess
from nnactive_ext.planning.added_groups import with_groups
from nnactive_ext.planning.blocks import more_blocks, table_of
from nnactive_ext.planning.create import dataset_json, images_of
from nnactive_ext.planning.grey_values import AIR, CT, Greys, stored_higher
from nnactive_ext.planning.measure import Measured
from nnactive_ext.planning.options import planned_value, with_value
from nnactive_ext.planning.relevance import check_relevance
from nnactive_ext.planning.rollout import no_place, worth_keeping
from nnactive_ext.planning.sizes import check_fits
from nnactive_ext.query_methods import methods
from nnactive_ext.querying.screen import checked_screen
from nnactive_ext.relevance.options import changed_words

_COMPARED = 5
"""So many images of the pool are read to compare the grey values of new ones with."""


def change_settings(experiment: Experiment, who: str, wanted: Mapping[str, Any]) -> list[str]:
    """Change settings of an experiment from now on, and record the change in its plan.

    Args:
        experiment: a planned experiment.
        who: the name of the person who makes the change.
        wanted: the new values of settings that may change, such as ``cycles``, ``seed``, ``expert`` and ``share``; None
            leaves a setting unchanged.

    Returns:
        What changed, one text for each setting.

    Raises:
        NnActiveError: a value is not possible, such as fewer cycles than have begun; nothing is changed then.
    """
    plan, cycle, told = experiment.plan, experiment.state["cycle"], []
    least = max(experiment.last_loop, cycle) + 1
    if wanted.get("expert"):
        check_annotator(wanted["expert"], "-expert")
    if wanted.get("cycles") is not None and wanted["cycles"] < least:
        raise NnActiveError(f"-cycles {wanted['cycles']}: {least} cycles have begun already and cannot be undone.")
    if wanted.get("share") is not None and not 0 < wanted["share"] <= 1:
        raise NnActiveError(f"-share {wanted['share']:g}: a share must be above 0 and at most 1.")
    if wanted.get("screen") is not None:
        checked_screen(wanted["screen"], methods.get_confirmed(plan.method, **plan.method_options))
    if wanted.get("relevance") is not None:
        wanted = {**wanted, "relevance": changed_words(planned_value(plan, "relevance", ()), wanted["relevance"])}
        told += check_relevance(plan, wanted["relevance"], experiment.dataset.labels.classes)
    if any(wanted.get(name) is not None for name in (WHEN, MIRRORING, STEP)):
        if not plan.test:
            raise NnActiveError(f"-{WHEN}, -{MIRRORING} and -{STEP} need a test set, and {experiment.name} has none.")
        Evaluation.of({**plan.settings, **{name: value for name, value in wanted.items() if value is not None}})
    if wanted.get("air") and not plan.human:
        raise NnActiveError("-air is for roll-outs only: simulations keep air, as published.")
    if wanted.get("repeat") is not None and not plan.human:
        raise NnActiveError("-repeat is for roll-outs only: the simulated annotator answers a patch always in the same way.")
    for what, value in wanted.items():
        before = planned_value(plan, what)
        if value is not None and value != before:
            plan = recorded(experiment, with_value(plan, what, value), who, what, before, value)
            told.append(f"{what}: {before or '-'} -> {value}")
    if plan is not experiment.plan:
        plan.write(experiment.raw)  # a single file needs no journal
    return told


def cases_to_drop(experiment: Experiment, words: Sequence[str]) -> list[str]:
    """The cases that somebody typed, also as their files are called; those that were dropped before are among them."""
    plan = experiment.plan
    return typed_cases(words, "-drop", [*plan.pool, *plan.dropped], f"the pool of {experiment.name}")


def drop_cases(experiment: Experiment, who: str, cases: Sequence[str]) -> tuple[str, ...]:
    """Take cases out of the pool, with their labels; returns warnings. What was annotated in them stays in the ledger."""
    return drop(experiment, who, cases_to_drop(experiment, cases))


def add_cases(
    experiment: Experiment,
    who: str,
    folder: Path,
    pattern: str | None,
    label_maps: Path | None,
    label_pattern: str = "{case}",
    progress: bool = True,
    groups: str | None = None,
    spacing: Sequence[str] | None = None,
    blocks: int | None = None,
) -> tuple[list[str], tuple[str, ...]]:
    """Add the images of a folder to the pool; returns their cases and warnings. ``groups``: the table or pattern with the
    groups of the new cases, if it is not the pattern that the experiment was planned with. ``spacing``: that of images that
    do not state theirs, as typed, if it is not the one that the experiment was planned with. ``blocks``: so many are drawn
    from the volumes in the folder, apart from those that exist.

    Label maps and preprocessed images of the new cases come first: nothing refers to them before the journal is written.
    """
    plan, dataset = experiment.plan, experiment.dataset
    channels = list(dataset.json["channel_names"].values())
    names = dict(dataset.labels.names)
    typed = spacing or planned_value(plan, "spacing")
    named = pattern, label_maps, label_pattern
    mm = typed_spacing(typed) if typed else None  # new images may state another than the planned one
    series = planned_value(plan, "series", ())
    several = channels if len(channels) > 1 else None
    if blocks is not None:
        there = more_blocks(experiment, folder, blocks, spacing)
    else:
        there = find(folder, several, *named, series=series, classes=list(names), spacing=mm, strict=bool(spacing))
    found = there.cases
    known = [case for case in found if case in plan.pool or case in plan.dropped]
    if known and _added_before(experiment, found):
        return list(found), ()
    if known:
        raise NnActiveError(
            f"{folder}: {', '.join(known[:5])} is in the pool already or was dropped from it. Rename the new images."
        )
    wrong = [case for case, entry in found.items() if len(entry.sources) != len(channels)]
    if wrong:
        raise NnActiveError(
            f"{folder}: {', '.join(wrong[:5])} does not have the {len(channels)} channel(s) {', '.join(channels)}."
        )
    plan, told, warnings = with_groups(plan, list(found), groups)
    warnings += tuple(f"{note.value} {note.why}" for note in there.notes)
    inspected = inspect(found, names, plan.processes, progress)
    turned, spaces, about_planes = _turned(experiment, folder, {case: i.space for case, i in inspected.items()})
    warnings += about_planes
    warnings += _grey_values(experiment, {case: i.greys for case, i in inspected.items()})
    unplaced = tuple(case for case, i in inspected.items() if not i.placed)
    warnings += (": ".join(no_place(unplaced, len(inspected))),) if unplaced else ()
    geometry = {case: Geometry(space.shape, space.spacing_zyx) for case, space in spaces.items()}
    check_fits(plan.patch_size_mm, [Measured(g.shape, g.spacing) for g in (*geometry.values(), *plan.pool.values())])
    warnings += tuple(f"{what}: {why}" for what, why in next(iter(found.values())).told)
    given = {case: on_lattice(entry.label_map, names, spaces[case]) for case, entry in found.items() if entry.label_map}

    cycle = experiment.state["cycle"]
    pool = dict(sorted({**plan.pool, **geometry}.items()))
    boxes = by_case(given_patches(experiment))
    read = {"turned": {**plan.turned, **turned}, "unplaced": (*plan.unplaced, *unplaced)}
    plan = recorded(experiment, plan, who, "added", None, list(found), told, pool=pool, **read)
    changed = Experiment(experiment.name, plan)
    content = dataset_json(changed, dataset.json, images_of(changed, found, progress))
    experiment = Experiment(experiment.name, plan, content)
    for case in found:
        if case in given:
            keep_given(experiment, case, given[case], spaces[case])
        else:  # what an earlier attempt left
            (experiment.annotation / "given" / f"{case}.nii.gz").unlink(missing_ok=True)
    found_boxes = {case: boxes_of(case, labels, names["ignore"]) for case, labels in given.items()}
    boxes |= worth_keeping(replace(plan, pool=geometry), found_boxes)
    files = [plan_file(plan), NewFile(RAW, "dataset.json", content)]
    if table := table_of(found).content():
        files.append(NewFile(RAW, BLOCKS_FILE, {**BlockTable.read(experiment.raw).content(), **table}))
    if boxes or given_patches(experiment):
        files.append(NewFile(RAW, GIVEN_PATCHES, given_patches_content(boxes)))
    events = ({"what": GIVEN, "who": who, "cases": sorted(given)},) if given else ()
    ledger = Ledger(experiment.annotation)
    counts = write_labels(experiment, cycle, list(found), progress, [ledger.numbered(event) for event in events])
    if cycle >= 0:
        preprocess(experiment.dataset, experiment.preprocessed, plan.processes, progress, list(found))
    last, about_splits = settled(experiment, cycle, {**experiment.state["annotated"], **counts})
    warnings += about_splits
    commit(experiment, Journal(f"added: {', '.join(found)}", tuple(files), events, last=last), progress)
    return list(found), warnings


def _added_before(experiment: Experiment, found: Mapping[str, FoundCase]) -> bool:
    """Whether an earlier command added just these cases, as when it was killed and is typed again."""
    plan, entries = experiment.plan, experiment.dataset.entries
    added = any(change["what"] == "added" and set(change["after"]) == set(found) for change in plan.changes)
    if not added or not set(found) <= set(plan.pool):
        return False
    given = set(given_cases(experiment))
    return all(
        (entry.label_map is not None) == (case in given)
        and all(s.copied or case in plan.turned or Path(os.path.abspath(s.path)) in entries[case].images for s in entry.sources)
        for case, entry in found.items()
    )


def _grey_values(experiment: Experiment, new: Mapping[str, Sequence[Greys]]) -> tuple[str, ...]:
    """New CTs that are stored higher than those of the pool, or the pool's that are; a few of it are read, if any of the new
    make it worth it."""
    channels = list(experiment.dataset.json["channel_names"].values())
    seen = [grey for greys in new.values() for grey in greys]
    unlike = any(offset == 0 and minimum <= AIR for minimum, offset in seen) and CT not in map(str.lower, channels)
    if not unlike and all(offset != HIGHER for _, offset in seen):
        return ()
    pool = {}
    for case in list(experiment.plan.pool)[:_COMPARED]:
        image = image_and_space(experiment, case)[0]
        pool[case] = [(float(channel.min()), hounsfield_offset(channel)) for channel in image]
    return tuple(f"{what}: {why}" for what, why in stored_higher({**pool, **new}, channels))


def _turned(
    experiment: Experiment, folder: Path, spaces: Mapping[str, Space]
) -> tuple[dict[str, Turn], dict[str, Space], tuple[str, ...]]:
    """As :func:`nnactive_ext.images.turning.added`; images that would be seen rotated are an error."""
    pool = {case: space_of(experiment, case) for case in experiment.plan.pool}
    found = added(spaces, pool, experiment.dataset.json["overwrite_image_reader_writer"])
    if found is None:
        code = orientation(next(iter(pool.values())).direction)
        others = {case: c for case, space in sorted(spaces.items()) if (c := orientation(space.direction)) != code}
        raise NnActiveError(
            f"{folder}: {', '.join([*others][:5])} is stored as {next(iter(others.values()))}, the pool as {code}, so "
            f"nnU-Net would see it rotated. Store it as {code} (SimpleITK: DICOMOrient(image, '{code}'))."
        )
    return found
