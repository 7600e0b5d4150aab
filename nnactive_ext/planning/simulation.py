"""Plans a simulation: an experiment on a fully labelled dataset, from the user's settings."""

from __future__ import annotations

import math
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError, PoolExhausted
from nnactive_ext.experiment.environment import versions
from nnactive_ext.experiment.inference import Evaluation
from nnactive_ext.experiment.member_kinds import MemberKind
from nnactive_ext.experiment.plan import ALL_LABELS, KEEP_AIR, PUBLISHED, SKIP_AIR, Geometry, Plan
from nnactive_ext.geometry.patch import triple
from nnactive_ext.images.headers import states_spacing
from nnactive_ext.nnunet.dataset import Dataset, check_dataset_name, dataset_name, mistaken_names, nnunet_folder
from nnactive_ext.nnunet.planners import check_planner
from nnactive_ext.nnunet.trainers import check_trainer, mirrors
from nnactive_ext.parallel import default_processes
from nnactive_ext.planning.decisions import EVIDENCE, THESIS, Decisions
from nnactive_ext.planning.division import Division, divide
from nnactive_ext.planning.ensembles import check_classes, check_ensemble, decided_folds, default_trainer, tell_ensemble
from nnactive_ext.planning.grey_values import stored_higher
from nnactive_ext.planning.measure import Measured
from nnactive_ext.planning.options import SIMULATION, check_kind, kept
from nnactive_ext.planning.orientation import reading_labelled
from nnactive_ext.planning.patch_limit import apply_limit
from nnactive_ext.planning.pretrained import check_start, start_for, with_start
from nnactive_ext.planning.relevance import warn_of_relevance
from nnactive_ext.planning.settings import Settings
from nnactive_ext.planning.sizes import (
    LEAST_PER_CLASS,
    LEAST_PER_QUERY,
    MIN_CYCLES,
    MOST_OF_POOL,
    PATCHES_PER_CLASS,
    capacity,
    capped_query,
    check_fits,
    parse_patch_size,
    patch_size_from_structures,
    structure_medians,
)
from nnactive_ext.planning.tolerance import decide_tolerance, typed_tolerance
from nnactive_ext.query_methods import methods
from nnactive_ext.querying.screen import checked_screen
from nnactive_ext.querying.start import check_descriptors, starting_method
from nnactive_ext.words import count, listed, share


def decide(source: Dataset, measured: Mapping[str, Measured], settings: Settings, division: Division | None = None) -> Plan:
    """Decide what a simulation looks like; nothing is written.

    Args:
        source: the labelled dataset.
        measured: its measured cases, from :func:`nnactive_ext.planning.measure.measure`.
        settings: what the user set.
        division: pool and test set, by default those of :func:`nnactive_ext.planning.division.divide`.

    Returns:
        The plan with each decision and its reason.

    Raises:
        NnActiveError: a setting is not possible, or no case of the pool contains a class.
    """
    name = check_simulation(source, settings)
    decisions = Decisions()
    division = division or divide(source, settings)
    pool = division.pool
    decisions.extend(division.decisions)
    channels = _channels(source)
    greys = {case: found.greys for case, found in measured.items()}
    for what, why in stored_higher(greys, channels):
        decisions.warn(what, why)
    reader = type(source.reader_writer).__name__
    turned, measured = reading_labelled(measured, reader, decisions)
    if reader == "Tiff3DIO" and (
        unknown := [name for name, case in source.cases.items() if not states_spacing(case.images[0])]
    ):
        why = f"without a .json file beside it, nnU-Net takes the spacing for 1 x 1 x 1 mm: {listed(unknown)}"
        decisions.warn(f"spacing of {count(len(unknown), 'case')} not known", why)
    cases = [measured[name] for name in pool if name not in division.irrelevant]  # whose labels say what the classes look like
    absent = [name for label, name in source.labels.foreground.items() if not any(c.voxels.get(label) for c in cases)]
    if absent:
        raise NnActiveError(
            f"{source.folder}: no pool case contains {', '.join(absent)}, so no model could learn it. Remove "
            "it from the labels in dataset.json, or add cases that show it."
        )
    spacing = np.median([c.spacing for c in cases], axis=0)
    if settings.patch_size:
        size_mm, why = parse_patch_size(list(settings.patch_size), spacing.tolist()), "as asked for"
    else:
        size_mm = patch_size_from_structures(cases, source.labels.foreground)
        why = f"largest component per class: median over images, then over classes (D.5 in {THESIS})"
    check_fits(size_mm, cases)
    voxels = triple([max(1, round(mm / s)) for mm, s in zip(size_mm, spacing, strict=True)])
    told = Decisions()
    if settings.protocol != PUBLISHED:
        medians = structure_medians(cases, source.labels.foreground)
        names = {} if settings.patch_size else {source.labels.foreground[c]: mm for c, mm in medians.items()}
        voxels, told = apply_limit(voxels, cases, bool(settings.patch_size), names)
    decisions.add("query patch (z, y, x)", f"{'x'.join(map(str, voxels))} voxels", why)
    # Kept as whole voxels of the median spacing, so equal spacings give exactly this size everywhere.
    z, y, x = (float(n * s) for n, s in zip(voxels, spacing, strict=True))
    size_mm = (z, y, x)
    decisions.add("", " x ".join(f"{mm:.4g}" for mm in size_mm) + " mm", "the same in every case, whatever its spacing")
    decisions.extend(told)
    tolerance = decide_tolerance(settings.tolerance, cases, source.labels.classes, decisions)

    geometry = {name: Geometry(measured[name].shape, measured[name].spacing) for name in pool}
    plan = replace(
        division.of(without_budget(settings, name, geometry, size_mm)),
        tolerance_mm=tolerance.mm,
        tolerances_mm=tolerance.per_class,
        turned=turned,
        pool_foreground_voxels=sum(n for c in cases for label, n in c.voxels.items() if label in source.labels.foreground),
    )
    plan = with_start(plan, settings, channels, decisions)
    if settings.all_labels:
        settings = replace(settings, starting_budget=len(pool), query_size=1, cycles=1)
        plan = replace(plan, purpose=ALL_LABELS, cycles=1)
        decisions.add("labels", "all of the pool", "what the trainer reaches when nothing is left to annotate")
    plan = with_budget(plan, list(source.labels.foreground.values()), str(source.folder), settings, decisions)
    warn_of_relevance(plan, settings.relevance, source.labels.classes, decisions)
    return replace(plan, source=_relative(source.folder, nnunet_folder("nnUNet_raw") / plan.dataset))


def check_simulation(source: Dataset, settings: Settings) -> str:
    """Settings that no simulation can have are an error, whatever the images are; returns its name, by default the dataset's.

    Args:
        source: the labelled dataset, of which dataset.json is read and its files are looked for.
        settings: what the user set.

    Returns:
        The name of the experiment, without its number.

    Raises:
        NnActiveError: a setting, or two of them together, are not possible.
    """
    check_kind(settings, SIMULATION)
    if settings.all_labels and (settings.start_from or settings.start or settings.starting_budget or settings.query_size):
        raise NnActiveError(
            "--all_labels annotates the whole pool: leave out -start, -start_from, -starting_budget and -query_size."
        )
    if settings.start and settings.start_from:
        raise NnActiveError("-start and -start_from both say what the starting budget is. Give one of them.")
    if settings.tolerance:
        typed_tolerance(settings.tolerance, source.labels.classes)
    check(settings, name := settings.name or source.name.split("_", 1)[-1])
    _ = source.labels, source.cases  # errors in them, too, before every image is read
    check_classes(source.labels.regions, trainer_of(settings))
    start_for(settings, _channels(source))
    return name


def _channels(source: Dataset) -> list[str]:
    """The names of the images' channels."""
    called = source.json.get("channel_names", {})
    return [str(called[key]) for key in sorted(called, key=int)]


def check(settings: Settings, name: str) -> None:
    """Settings that no experiment called ``name`` can have are an error. Trainer and planner are looked up last, because
    that may import nnU-Net."""
    if "cascade" in settings.configuration:
        raise NnActiveError("The cascade is not supported: its second stage needs dense labels. Use -c 3d_fullres.")
    check_dataset_name(settings.number, name)
    MemberKind.of(settings.members)
    if settings.cycles < 1 or settings.folds < 1:
        raise NnActiveError("An experiment needs at least 1 cycle and 1 fold.")
    if settings.patch_size:
        parse_patch_size(list(settings.patch_size), (1.0, 1.0, 1.0))
    _check_budget(settings.query_size, settings.starting_budget, human=bool(settings.labels))
    _check_nnunet_planning(settings)
    Evaluation.of(vars(settings))
    checked_screen(settings.screen or 0, methods.get_confirmed(settings.method, **settings.method_options))
    if settings.start:
        starting_method(settings.start, human=bool(settings.labels))
    check_planner(settings.planner, settings.configuration)
    check_trainer(trainer := trainer_of(settings))
    check_ensemble(settings, trainer)
    check_start(settings, trainer)


def _check_budget(query_size: int | None, starting_budget: int | None, human: bool) -> None:
    """People may begin with what is labelled already."""
    too_small = query_size is not None and query_size < 1
    if too_small or (starting_budget is not None and starting_budget < (0 if human else 1)):
        raise NnActiveError("The query size and the starting budget must be at least 1 patch.")


def _check_nnunet_planning(settings: Settings) -> None:
    """Options of nnU-Net's planner that nnU-Net would not use, or could not."""
    memory, spacing, name = settings.gpu_memory_target, settings.overwrite_target_spacing, settings.overwrite_plans_name
    if memory is not None:
        if not (math.isfinite(memory) and memory > 0):
            raise NnActiveError(f"-gpu_memory_target {memory:g}: give the memory in GB, above 0.")
        if settings.preset == "cpu":
            raise NnActiveError(
                f"-gpu_memory_target {memory:g} sizes the network for a GPU, --preset cpu for two CPU cores. Give one of them."
            )
    if spacing is not None:
        given = f"-overwrite_target_spacing {' '.join(f'{mm:g}' for mm in spacing)}"
        if len(spacing) != 3 or not all(math.isfinite(mm) and mm > 0 for mm in spacing):
            raise NnActiveError(f"{given}: give three spacings in mm, above 0, along z y x.")
    if name is not None and (not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or "__" in name or name[0] in ".-" or name[-1] == "_"):
        raise NnActiveError(f"-overwrite_plans_name {name!r}: use letters, digits, '-', '.' and single '_'.")
    if name in _OTHER_FILES:
        raise NnActiveError(f"-overwrite_plans_name {name}: nnU-Net has another file {name}.json. Choose another name.")


_OTHER_FILES = ("dataset", "dataset_fingerprint", "splits_final", "nnactive_state")
"""In nnU-Net's preprocessed folder of a dataset, beside its plans."""


def without_budget(settings: Settings, name: str, pool: Mapping[str, Geometry], size_mm: tuple[float, float, float]) -> Plan:
    """The plan of an experiment called ``name`` as far as it does not depend on how many patches are asked for."""
    method, options = methods.lasting(settings.method, settings.method_options)
    shapes = {case: geometry.shape for case, geometry in pool.items()}
    for chosen in (methods.get_confirmed(method, **options), *([starting_method(settings.start)] if settings.start else [])):
        check_descriptors(chosen, shapes, bool(settings.pretrained))
    decided = {"query_size": 0, "starting_budget": 0, "tolerance_mm": 0.0, "method": method, "method_options": options}
    decided |= {"trainer": trainer_of(settings), "folds": decided_folds(settings)}
    decided["air"] = settings.air or (SKIP_AIR if settings.labels and settings.protocol != PUBLISHED else KEEP_AIR)
    decided["processes"] = settings.processes or default_processes(sum(float(np.prod(g.shape)) for g in pool.values()))
    return Plan(
        experiment=uuid.uuid4().hex[:12],
        dataset=dataset_name(settings.number, name),
        source="",
        pool=pool,
        test=(),
        patch_size_mm=size_mm,
        versions=versions(),
        **{**kept(settings), **decided},
    )


def trainer_of(settings: Settings) -> str:
    return settings.trainer or default_trainer(settings)


def _patches(number: int) -> str:
    return count(number, "patch", "patches")


def with_budget(
    plan: Plan, names: Sequence[str], where: str, settings: Settings, decisions: Decisions, hard: Sequence[str] = ()
) -> Plan:
    """``plan`` with query size and starting budget for the foreground classes ``names``, of which the ``hard`` ones get
    twice as many patches; what is decided is added to ``decisions``. ``where`` the images are is for messages."""
    shapes = {name: geometry.shape for name, geometry in plan.pool.items()}
    room = capacity(shapes, {name: plan.patch_size(name) for name in plan.pool})
    classes = len(names)
    decisions.add("room in the pool", _patches(room), "the largest number of disjoint patches that fit into it")
    if settings.query_size is not None:
        query, why = settings.query_size, "as asked for"
    else:
        query, why = _default_query(plan, names, hard, settings, room)
    starting = settings.starting_budget if settings.starting_budget is not None else query
    _check_budget(query, starting, plan.human)
    first = starting + (query if settings.cycles > 1 else 0)
    if first > room:
        raise PoolExhausted(
            f"The pool of {where} can hold {room} disjoint patches, but the starting budget and the first query "
            f"need {first}. Ask for fewer patches (-query_size, -starting_budget) or smaller ones (-patch_size)."
        )
    total = starting + (settings.cycles - 1) * query
    why_starting = "= query size" if settings.starting_budget is None else "as asked for"
    decisions.add("starting budget", _patches(starting), why_starting)
    if settings.start:
        decisions.add("", f"by {' '.join(settings.start)}", "as asked for; nobody makes sure that every class is among them")
    decisions.add("query size", _patches(query), why)
    decisions.add(
        "cycles", str(settings.cycles), f"{count(settings.cycles - 1, 'query', 'queries')}; {_patches(total)} in total"
    )
    if plan.evaluation != Evaluation():
        rest = "the last one as nnU-Net does, and also as the others" if plan.evaluation.every else "as nnU-Net does"
        decisions.add("evaluation", f"{plan.evaluation.when} cycles, {plan.evaluation.inference}", f"as asked for; {rest}")
        if not (plan.evaluation.inference.mirroring or mirrors(plan.trainer)):
            decisions.warn("-evaluate_mirroring no", f"saves nothing: {plan.trainer} does not mirror")
    if total > room:
        decisions.warn("pool too small", f"{total} patches are planned and at most {room} fit")
    where = f"({count(classes, 'class', 'classes')}; {EVIDENCE})"
    if query < LEAST_PER_QUERY * classes:
        decisions.warn("small queries", f"fewer than 2 patches per class and query {where}")
    if total < LEAST_PER_CLASS * classes:
        decisions.warn("small budget", f"fewer than 14 patches per class in total {where}")
    why = "default" if plan.method == methods.DEFAULT else "as asked for"
    known = f"; what is known of methods: {EVIDENCE}" if plan.method in methods.names() else ""
    decisions.add("query method", plan.method_words, f"{why}{known}")
    if settings.screen:
        why = "the least relevant give no patches to a query, by verdicts, texts or intensities"
        decisions.add("", f"{share(settings.screen)} of the cases left out", why)
    tell_ensemble(plan, decisions)
    decisions.add("trainer", plan.trainer, "small plans for a CPU" if settings.preset == "cpu" else "200 epochs unless named")
    decisions.add("seed", str(plan.seed), "of the patches and folds; nnU-Net's training itself is not seeded")
    if others := mistaken_names(settings.number):
        decisions.warn(
            f"number {settings.number}",
            f"nnU-Net takes {listed(others)} for the same number; give its own commands the names of these datasets",
        )
    for flag in ("gpu_memory_target", "overwrite_target_spacing", "overwrite_plans_name"):
        if (value := getattr(settings, flag)) is not None:
            text = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
            decisions.add(flag, text, "as asked for" if plan.pretrained else "as asked for; passed to nnU-Net's planner")
    if plan.cycles < MIN_CYCLES:
        decisions.warn("few cycles", f"fewer than {MIN_CYCLES} (D.5 in {THESIS})")
    return replace(plan, query_size=query, starting_budget=starting, decisions=tuple(decisions))


def _default_query(plan: Plan, names: Sequence[str], hard: Sequence[str], settings: Settings, room: int) -> tuple[int, str]:
    """The query size that nobody asked for, and why; ``room``: the patches that fit into the pool."""
    query, why = PATCHES_PER_CLASS * (len(names) + len(hard)), f"{PATCHES_PER_CLASS} for each of {len(names)} classes"
    if hard:
        why += f", {2 * PATCHES_PER_CLASS} where hard ({', '.join(hard)})"
    why += f" (D.5 in {THESIS})"
    lowered = ""
    if query * settings.cycles > room // 2:
        query = max(1, room // 2 // settings.cycles)
        lowered = f", lowered so that {settings.cycles} cycles take at most half of the pool"
    if plan.human and settings.protocol != PUBLISHED:  # what simulations of the published protocol ask for stays
        most = capped_query(query, settings.cycles, settings.starting_budget, len(names), *plan.voxels)
        if most < query:
            lowered = f", lowered to {share(MOST_OF_POOL)} of the pool's voxels, or {LEAST_PER_CLASS} patches per class in all"
            query, lowered = most, f"{lowered}; -query_size {query} lifts this"
    return query, why + lowered


def _relative(folder: Path, start: Path) -> str:
    """``folder`` as seen from ``start``, with forward slashes; absolute where it lies on another drive."""
    try:
        return Path(os.path.relpath(folder, start)).as_posix()
    except ValueError:
        return folder.as_posix()
