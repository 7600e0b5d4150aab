"""Decides what a roll-out looks like: an experiment on a folder of images, most of them unlabelled."""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from nnactive_ext.engine.body import LEAST_BODY
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.commands import Commands
from nnactive_ext.experiment.plan import SKIP_AIR, Geometry, Plan
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.class_files import read_labels
from nnactive_ext.images.lengths import length_text, typed_spacing
from nnactive_ext.images.stated import why_copied
from nnactive_ext.images.volumes import volume_name
from nnactive_ext.intake.channel_names import DATASET, channel_endings, channels_beside
from nnactive_ext.intake.find import FoundCase
from nnactive_ext.intake.groups import Grouping, read_groups
from nnactive_ext.intake.inspect import Inspected
from nnactive_ext.intake.label_maps import laid
from nnactive_ext.intake.passed_over import Note
from nnactive_ext.labelling.answers import check_annotator
from nnactive_ext.labelling.given import boxes_of
from nnactive_ext.nnunet.pace import Pace, Training
from nnactive_ext.planning.cost import Cost, estimate
from nnactive_ext.planning.cost import rows as cost_rows
from nnactive_ext.planning.cycle_cost import Network
from nnactive_ext.planning.cycle_cost import rows as cycle_rows
from nnactive_ext.planning.decisions import Decisions
from nnactive_ext.planning.ensembles import decided_folds
from nnactive_ext.planning.grey_values import AIR, stored_higher
from nnactive_ext.planning.grouping import check_groups, tell_groups
from nnactive_ext.planning.hours import Hours, member_hours
from nnactive_ext.planning.measure import Measured, largest_components_mm
from nnactive_ext.planning.options import ROLLOUT, check_kind
from nnactive_ext.planning.orientation import reading
from nnactive_ext.planning.pretrained import with_start
from nnactive_ext.planning.relevance import warn_of_relevance
from nnactive_ext.planning.settings import Settings
from nnactive_ext.planning.simulation import check, with_budget, without_budget
from nnactive_ext.planning.sizes import marked_per_class, query_patch_mm, random_patches, structure_sizes
from nnactive_ext.query_methods import methods
from nnactive_ext.words import count, listed, plural, share


@dataclass(frozen=True)
class Rollout:
    """The plan, dataset.json but for its cases, per case the space of its array and the patches that are labelled, and the
    names of the channels."""

    plan: Plan
    json: Mapping[str, object]
    spaces: Mapping[str, Space]
    given: Mapping[str, list[Patch]] = field(default_factory=dict)
    channels: Sequence[str] = ()


def label_names(labels: Sequence[str], option: str = "--labels") -> dict[str, int]:
    """``["liver", "tumour"]`` -> background 0, liver 1, tumour 2, ignore 3; ``option`` is where they were given."""
    bad = [name for name in labels if name.lower() in ("background", "ignore") or not name.strip() or '"' in name]
    if bad or not labels:
        raise NnActiveError(
            f"{option} {' '.join(labels)}: name the structures only; background and ignore are added by themselves."
        )
    if len({name.lower() for name in labels}) < len(labels):
        raise NnActiveError(f"{option} {' '.join(labels)}: a name appears twice.")
    return {"background": 0, **{name: i for i, name in enumerate(labels, start=1)}, "ignore": len(labels) + 1}


def check_rollout(folder: Path, settings: Settings) -> str:
    """Settings that no roll-out can have are an error, whatever the images are; returns its name, by default the folder's."""
    if not settings.labels:
        raise NnActiveError("--labels: name the structures to be annotated, e.g. --labels liver tumour")
    check_kind(settings, ROLLOUT)
    check(settings, name := settings.name or _name_of(folder))
    if not 0 < settings.share <= 1:
        raise NnActiveError(f"-share {settings.share:g}: a share must be above 0 and at most 1.")
    if settings.expert:
        check_annotator(settings.expert, "-expert")
    label_names(settings.labels)
    unknown = [name for name in settings.hard if name not in settings.labels]
    if unknown:
        raise NnActiveError(f"--hard {' '.join(unknown)}: not among --labels {' '.join(settings.labels)}.")
    if methods.get_confirmed(settings.method, **settings.method_options).needs_reference:
        raise NnActiveError(
            f"--method {settings.method} needs reference labels, which a roll-out does not have. Choose another method."
        )
    structure_sizes(settings.structures, settings.labels)
    if settings.spacing:
        typed_spacing(settings.spacing)
    _estimate(settings, 1, 1, 1, Hours.of(settings) or Hours(0.0, ""))  # refuses rates that cannot be
    return name


def _name_of(folder: Path) -> str:
    """The folder's name in the letters that nnU-Net allows."""
    plain = unicodedata.normalize("NFKD", volume_name(Path(os.path.abspath(folder)))).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9-]+", "_", plain).strip("_-")
    if not name:
        raise NnActiveError(f"{folder}: the folder's name cannot be a dataset's. Give the dataset a name with -name.")
    return name


def decide_rollout(
    folder: Path,
    found: Mapping[str, FoundCase],
    inspected: Mapping[str, Inspected],
    settings: Settings,
    time: Callable[[Training], Pace | str] | None = None,
    notes: Sequence[Note] = (),
) -> Rollout:
    """Decide what a roll-out looks like; nothing is written.

    Args:
        folder: the folder of images.
        found: its cases, from :func:`nnactive_ext.intake.find_cases`.
        inspected: the measured cases, from :func:`nnactive_ext.intake.inspect`.
        settings: what the user set.
        time: times the training of a member (:func:`nnactive_ext.nnunet.pace.measure`); None: its hours are assumed.
        notes: what there is to tell about the folder, from :func:`nnactive_ext.intake.find.find`.

    Returns:
        The plan with each decision and its reason, and the dataset's description.

    Raises:
        NnActiveError: there are fewer than two cases, or a setting is not possible.
    """
    name = check_rollout(folder, settings)
    labels = settings.labels or ()
    if len(found) < 2:
        raise NnActiveError(f"{folder}: {len(found)} case(s) are too few: at least 2 are needed, one of them to validate on.")
    names = label_names(labels)
    decisions = Decisions()
    decisions.add("pool", f"{len(found)} cases", "all of them; a roll-out has no test set")
    for i, note in enumerate(notes):
        decisions.add("" if i else "in the folder", note.value, note.why)
    _tell_spacing(settings, decisions)
    grouping = grouped(settings, found)
    volumes = {source.block.volume for case in found.values() for source in case.sources if source.block}
    if grouping.groups or not volumes:
        tell_groups(grouping, list(found), list(found), decided_folds(settings), decisions)
    elif len(volumes) > 1:
        why = "members may train on one block of a volume and validate on another; -groups '{volume}_z{block}' avoids it"
        decisions.warn(f"blocks of {len(volumes)} volumes", why)
    _tell_copies(found, decisions)
    unplaced = tuple(case for case, i in inspected.items() if not i.placed)
    if unplaced:
        decisions.warn(*no_place(unplaced, len(inspected)))
    reader, turned, spaces = reading({case: i.space for case, i in inspected.items()}, decisions)
    measured, given, by_value, told = _given(found, spaces, names)
    channels = _channels(folder, found, inspected, settings.channels, decisions)
    for what, why in stored_higher({case: i.greys for case, i in inspected.items()}, channels):
        decisions.warn(what, why)
    geometry = {case: Geometry(space.shape, space.spacing_zyx) for case, space in spaces.items()}
    given_sizes = settings.patch_size, settings.structures
    size_mm = query_patch_mm(folder, measured, geometry, labels, *given_sizes, decisions, settings.protocol)

    plan = without_budget(settings, name, geometry, size_mm)
    kept = {"groups": grouping.text} if grouping.text else {}
    plan = replace(plan, source=".", annotator="human", groups=grouping.groups, settings={**plan.settings, **kept})
    plan = replace(plan, turned=turned, unplaced=unplaced)
    if settings.starting_budget is None and _labelled_enough(measured, labels, plan):
        settings = replace(settings, starting_budget=0)
        why = "every class in 2 of them or more, a query patch of it or more: no starting budget is needed"
        decisions.add("label maps", count(len(given), "case"), why)
    elif given:
        decisions.add("label maps", count(len(given), "case"), "used as they are, beside the starting budget")
    _add_labels(measured, by_value, names, decisions)
    for what, why in told:
        decisions.warn(what, why)
    plan = with_start(plan, settings, channels, decisions)
    plan = with_budget(plan, labels, str(folder), settings, decisions, settings.hard)
    warn_of_relevance(plan, settings.relevance, labels, decisions)
    if plan.air == SKIP_AIR:
        why = (
            f"patches with less than {share(LEAST_BODY)} body, by the grey values of the image, are neither drawn at random "
            "nor queried; -air keep includes them"
        )
        decisions.add("air", "left out", why)
    json = _described(plan, channels, names, _ending(found), reader)
    decisions.extend(_cost(plan, settings, json, time))
    if plan.starting_budget:
        classes = len(labels)
        marked, drawn = marked_per_class(plan.starting_budget, classes), random_patches(plan.starting_budget, classes)
        text = f"mark {count(marked, 'point')} of each class to put patches around them; "
        text += f"{count(drawn, 'other patch', 'other patches')} {plural(drawn, 'is', 'are')} random"
        points = Commands(plan).annotate("points", "FILE")
        decisions.add("points", text, f"{points}; random patches seldom hold a small structure")
    plan = replace(plan, decisions=tuple(decisions))
    return Rollout(plan, json, spaces, worth_keeping(plan, given), channels)


def _tell_spacing(settings: Settings, decisions: Decisions) -> None:
    if settings.spacing:
        z, y, x = typed_spacing(settings.spacing)
        decisions.add("spacing (z, y, x)", length_text((z, y, x)), "as given with -spacing, of images that do not state theirs")
        if y != x:
            why = "-spacing gives the distance between slices first, then between rows and between columns"
            decisions.warn(f"pixels of {length_text((y, x))}", why)


def grouped(settings: Settings, cases: Collection[str]) -> Grouping:
    """The group of each case by ``-groups``, none without; names alone decide, and a single group is an error."""
    grouping = read_groups(settings.groups, cases) if settings.groups else Grouping({}, "")
    check_groups(list(cases), grouping.groups)
    return grouping


def no_place(cases: Sequence[str], of: int) -> tuple[str, str]:
    """The words for images without a place: what, and what follows."""
    why = "their headers do not say where they lie, and programs place them differently; mark points in them by voxels (i,j,k)"
    return f"{count(len(cases), 'image')} of {of} without a place", f"{why}: {listed(cases, 3)}"


def worth_keeping(plan: Plan, given: Mapping[str, list[Patch]]) -> dict[str, list[Patch]]:
    """The labelled patches at least half as large as a query patch: scribbles and clicks do not keep queries away."""
    least = {case: math.prod(plan.patch_size(case)) / 2 for case in given}
    return {case: [box for box in boxes if box.voxels >= least[case]] for case, boxes in given.items()}


def _given(
    found: Mapping[str, FoundCase], spaces: Mapping[str, Space], names: Mapping[str, int]
) -> tuple[dict[str, Measured], dict[str, list[Patch]], list[str], list[tuple[str, str]]]:
    """What the label maps hold (sizes of structures from dense ones only), the labelled patches in them, the cases whose label
    map has no names and holds the value of ignore, and what people should know of how names were read."""
    measured, boxes, by_value = {}, {}, []
    told = list(next((entry.told for entry in found.values()), ()))
    for case, entry in found.items():
        if entry.label_map is not None:
            read = read_labels(entry.label_map, names)
            labels = laid(entry.label_map, read, spaces[case])
            told += [(f"label map of {case}", text) for text in read.told if isinstance(entry.label_map, Path)]
            ignored = labels == names["ignore"]
            if not read.by_name and ignored.any():
                by_value.append(case)
            values, counts = np.unique(labels[~ignored], return_counts=True)
            voxels = {int(v): int(n) for v, n in zip(values, counts, strict=True)}
            spacing = spaces[case].spacing_zyx
            extents = {} if ignored.any() else largest_components_mm(labels, spacing, [v for v in voxels if v])
            measured[case] = Measured(spaces[case].shape, spacing, voxels, extents)
            boxes[case] = boxes_of(case, labels, names["ignore"])
    return measured, boxes, by_value, told


def _labelled_enough(measured: Mapping[str, Measured], labels: Sequence[str], plan: Plan) -> bool:
    """Of each class there are as many voxels as a query patch has, and in 2 cases."""
    least = float(np.median([math.prod(plan.patch_size(case)) for case in plan.pool]))
    voxels = [[m.voxels[v] for m in measured.values() if v in m.voxels] for v in range(1, len(labels) + 1)]
    return all(len(counts) >= 2 and sum(counts) >= least for counts in voxels)


def _add_labels(
    measured: Mapping[str, Measured], by_value: Sequence[str], names: Mapping[str, int], decisions: Decisions
) -> None:
    """Show how the values of label maps were read, so that people can check it."""
    for name, value in names.items() if measured else ():
        if name not in ("background", "ignore"):
            counts = [m.voxels[value] for m in measured.values() if value in m.voxels]
            said = f"{sum(counts):,} voxels in {len(counts)} of {count(len(measured), 'label map')}"
            decisions.add("", f"{value} = {name}", said)
    if by_value:
        why = f'{names["ignore"]} means "not annotated" here; it is in {len(by_value)} label map(s): {listed(by_value)}'
        decisions.warn(f"value {names['ignore']} in label maps", why)


def _tell_copies(found: Mapping[str, FoundCase], decisions: Decisions) -> None:
    """Images that nnU-Net does not read at the place that they state."""
    files = [source.path for case in found.values() for source in case.sources if not (source.series or source.block)]
    for why, number in sorted(Counter(filter(None, map(why_copied, files))).items()):
        decisions.add("images", f"{count(number, 'copy', 'copies')} of {len(files)}", f"{why}; nnU-Net reads copies of them")


def _channels(
    folder: Path,
    found: Mapping[str, FoundCase],
    inspected: Mapping[str, Inspected],
    wanted: Sequence[str] | None,
    decisions: Decisions,
) -> list[str]:
    number = len(next(iter(found.values())).sources)
    if wanted:
        whence = f"as {DATASET} beside the images names them" if channels_beside(folder) == wanted else "as asked for"
        decisions.add("channels", ", ".join(wanted), f"{whence}; CT is normalised as CT, anything else by z-score")
    if number > 1:
        endings = ", ".join(channel_endings([source.path for source in case.sources] for case in found.values()))
        decisions.add(
            "channel files", endings, f"taken as the {number} channels of each case, by their names; -pattern decides"
        )
    if wanted:
        return list(wanted)
    if number > 1:
        channels = [f"channel_{i}" for i in range(number)]
        why = "normalised by z-score each; name them with -channels (CT is normalised as CT)"
        decisions.warn(f"channels {', '.join(channels)}", why)
        return channels
    ct = sum(i.minimum <= AIR for i in inspected.values()) > len(inspected) / 2
    why = f"grey values below {AIR:g} in most images" if ct else "no grey values as in CT: normalised by z-score"
    decisions.add("channels", "CT" if ct else "image", why + "; -channels sets another name")
    return ["CT" if ct else "image"]


def _described(plan: Plan, channels: Sequence[str], names: Mapping[str, int], ending: str, reader: str) -> dict[str, object]:
    """nnU-Net's dataset.json but for the cases."""
    return {
        "name": plan.dataset,
        "channel_names": {str(i): channel for i, channel in enumerate(channels)},
        "labels": names,
        "file_ending": ending,
        "overwrite_image_reader_writer": reader,
    }


def _cost(
    plan: Plan, settings: Settings, json: Mapping[str, object], time: Callable[[Training], Pace | str] | None
) -> list[tuple[str, str, str]]:
    patches = plan.starting_budget + (plan.cycles - 1) * plan.query_size
    if not patches:
        return []
    voxels, pool = plan.voxels
    hours = Hours.of(settings) or member_hours(plan, json, time)
    of_cycle = cycle_rows(plan, Network.of(hours.plans, plan.configuration), hours) if hours.plans else []
    return [*cost_rows(_estimate(settings, patches, round(voxels), pool, hours)), *of_cycle]


def _estimate(settings: Settings, patches: int, voxels: int, pool: int, hours: Hours) -> Cost:
    return estimate(
        patches,
        voxels,
        pool,
        settings.cycles,
        decided_folds(settings),
        settings.minutes_per_patch,
        hours.value,
        settings.expert_rate,
        settings.machine_rate,
        hours.why,
    )


def _ending(found: Mapping[str, FoundCase]) -> str:
    """That of all images, if nnU-Net can write it; else the one it writes best."""
    files = [source.path.name.lower() for case in found.values() for source in case.sources]
    copied = any(source.copied for case in found.values() for source in case.sources)
    for ending in (".nrrd", ".mha"):
        if not copied and all(file.endswith(ending) for file in files):
            return ending
    return ".nii.gz"
