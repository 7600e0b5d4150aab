"""The facts of an experiment that was never run, to lay out a report without members, images or folders."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from nnactive_ext.experiment.plan import Geometry, Plan
from nnactive_ext.experiment.result import CycleResult
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.geometry.space import Space
from nnactive_ext.labelling.tasks import Task
from nnactive_ext.nnunet.dataset import Labels
from nnactive_ext.report.advice import advice
from nnactive_ext.report.crop import Crop
from nnactive_ext.report.facts import Facts, Loop
from nnactive_ext.report.places import AXES, Overlap, Place, Places

CLASSES = ("liver", "tumour")
SIZE = (6, 8, 8)


def result(cycle: int, dice: dict[str, float | None], **more: Any) -> CycleResult:
    """The result of a cycle with a test set, as an earlier version wrote it."""
    known = [value for value in dice.values() if value is not None]
    voxels = {"background": 3000 * (cycle + 1), **{name: 500 * (cycle + 1) for name in dice}}
    content = {
        "cycle": cycle,
        "mean_dice": sum(known) / len(known) if known else None,
        "dice_per_class": dice,
        "cases_per_class": dict.fromkeys(dice, 2),
        "classes_left_out": [name for name, value in dice.items() if value is None],
        "patches": 4 * (cycle + 1),
        "new_patches": 4,
        "annotated_cases": 3,
        "annotated_voxels": sum(voxels.values()),
        "annotated_voxels_per_label": voxels,
        "foreground_share": 1 - voxels["background"] / sum(voxels.values()),
        "share_of_all_foreground": 0.1,
        "dice_per_case": {"test_1": dice, "test_2": dice},
    }
    return CycleResult.of({**content, **more})


def measured(cycle: int, dice: dict[str, float | None]) -> CycleResult:
    """As this version writes it."""
    return result(
        cycle,
        dice,
        nsd_per_class={name: None if value is None else value / 2 for name, value in dice.items()},
        hd95_per_class={name: 12.3 for name in dice},
        surface_cases_per_class={name: {"nsd": 2, "hd95": 1, "infinite": 1} for name in dice},
        tolerance_mm=3.0,
        new_patches_per_class=dict.fromkeys(dice, 3),
        new_voxels_per_label={"background": 60, **dict.fromkeys(dice, 20)},
        new_foreground_share=0.4,
    )


def plan(cases: tuple[str, ...] = ("case_0", "case_1", "case_2"), classes: tuple[str, ...] = CLASSES, **more: Any) -> Plan:
    return replace(
        Plan(
            experiment="0123456789ab",
            dataset="Dataset504_Made",
            source="../Dataset004_Source",
            pool={case: Geometry((20, 24, 24), (3.0, 1.5, 1.5)) for case in cases},
            test=("test_1", "test_2"),
            patch_size_mm=(18.0, 12.0, 12.0),
            query_size=4,
            starting_budget=4,
            cycles=3,
            seed=7,
            method="clasp_pe",
            method_options={"alpha": "0.5"},
            versions={"nnactive-ext": "0.1.0", "nnunetv2": "2.8.1"},
            decisions=(("pool / test cases", "3 / 2", "75 / 25 %"),),
        ),
        **more,
    )


def crop(cycle: int, case: str, stratum: str, start=(6, 8, 8), shape=(18, 24, 24), values=(1, 2), ignore: int = 3) -> Crop:
    """A ball in a ball; members saw it from cycle 1 on."""
    middle = [(n - 1) / 2 for n in shape]
    index = np.indices(shape)
    away = np.sqrt(sum(((i - m) / n * 2) ** 2 for i, m, n in zip(index, middle, shape, strict=True)))
    labels = np.where(away < 0.4, values[1], np.where(away < 0.8, values[0], 0)).astype(np.uint8)
    noise = np.random.default_rng(cycle).normal(0, 5, shape)
    box = Patch(case, start, SIZE)
    annotation = np.full(shape, ignore, np.uint8)
    annotation[box.slices] = labels[box.slices]
    there = cycle > 0
    return Crop(
        cycle=cycle,
        patch=Patch(case, (cycle, *start[1:]), SIZE),
        box=box,
        stratum=stratum,
        score=0.3 if there else None,
        overlap=0.25,
        image=(100 * (away < 0.8) + 50 * (away < 0.4) + noise).astype(np.float32),
        annotation=annotation,
        prediction=labels if there else None,
        uncertainty=np.exp(-(((away - 0.8) / 0.1) ** 2)).astype(np.float32) if there else None,
        space=Space(shape, (1.5, 1.5, 3.0), (-20.0, -20.0, 50.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)),
        missing="" if there else "Chosen before the first training.",
        ignore=ignore,
    )


def facts(
    cases: tuple[str, ...] = ("case_0", "case_1", "case_2"),
    classes: tuple[str, ...] = CLASSES,
    notes: tuple[str, ...] = (),
    pictures: bool = True,
    results: list[CycleResult] | None = None,
    **planned: Any,
) -> Facts:
    """Three cycles, the last of which is still open."""
    made = plan(cases, classes, **planned)
    if results is None:
        results = [
            measured(0, dict(zip(classes, (0.5, 0.1), strict=True))),
            measured(1, dict(zip(classes, (0.7, 0.2), strict=True))),
        ]
    crops = {
        cycle: [crop(cycle, case, name) for case, name in zip(cases, (*classes, "all"), strict=True)] for cycle in range(3)
    }
    tasks = {
        cycle: [
            Task(f"c{cycle:03d}_{i}", cycle, i, one.patch, one.stratum, one.score, "clasp_pe")
            for i, one in enumerate(crops[cycle])
        ]
        for cycle in crops
    }
    loops = [Loop({"method": "clasp_pe", "warnings": list(notes), "missing": 0}, tasks[cycle]) for cycle in crops]
    places = tuple(
        Place(cycle, task.patch.case, task.stratum, 0.2 + 0.2 * cycle, 0.5, 0.1 + 0.3 * i)
        for cycle in tasks
        for i, task in enumerate(tasks[cycle])
    )
    bins = {axis: {cycle: (3, *[0] * 9) for cycle in tasks} for axis in AXES}
    names = {"background": 0, **{name: i for i, name in enumerate(classes, start=1)}, "ignore": len(classes) + 1}
    return Facts(
        name=made.dataset,
        number=504,
        plan=made,
        labels=Labels(names),
        channels=["CT"],
        results=results,
        loops=loops,
        cycle=1,
        seconds={cycle: {"train": 60.0 * cycle, "predict": 2.5} for cycle in tasks},
        network={"patch_size": [32, 32, 32]},
        crops=crops if pictures else {},
        places=Places(places, bins, ()),
        overlaps=[Overlap(cycle, 3, 3, 3 if cycle == 0 else 0, 0.1, 0.25) for cycle in tasks],
        advice=advice(results, made, None),
    )
