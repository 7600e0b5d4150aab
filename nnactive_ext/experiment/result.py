"""The results of one cycle, ``cycle_NNN.json``: what the members are worth, and what was annotated for them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from nnactive_ext.experiment.commands import run_of
from nnactive_ext.experiment.environment import Environment
from nnactive_ext.experiment.inference import NNUNET, Inference
from nnactive_ext.files import read_json, write_json
from nnactive_ext.metrics.surface import Tolerance
from nnactive_ext.schemas import Amount, Count, Share, typed

_NAME = re.compile(r"cycle_(\d{3,})\.json")

Counts = Mapping[str, Count]
"""Of each class or label."""
Shares = Mapping[str, Share | None]
"""Of each class; None where no case has it."""
Lengths = Mapping[str, Amount | None]
"""Of each class, in mm; None where there is no finite one."""


@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """What members say of annotated voxels of cases that they were not trained on, where there is no test set.

    ``dice_per_class`` and ``mean_dice``: 0 to 1, None where nothing of a class is annotated or predicted.
    ``voxels_per_class``: annotated voxels that were compared; ``cases`` and ``cases_left_out``: how many; ``folds``: how many
    members had any.
    """

    dice_per_class: Shares
    mean_dice: Share | None
    voxels_per_class: Counts = field(default_factory=dict)
    cases: Count = 0
    cases_left_out: Count = 0
    folds: Count = 0
    predicted_voxels_per_class: Counts = field(default_factory=dict)
    """Of the voxels that were compared."""


@dataclass(frozen=True, kw_only=True)
class SurfaceCases:
    """How many cases the means of ``nsd`` and ``hd95`` rest on; ``infinite``: how many cases have no finite distance."""

    nsd: Count
    hd95: Count
    infinite: Count


@dataclass(frozen=True, kw_only=True)
class StratumYield:
    """What the patches of one stratum of a query held, as annotated: ``annotated`` of its ``patches`` are, in part at least.

    ``chosen_for``: the class that they were chosen for; empty for the rest. ``patches_with_any`` hold any class, in
    ``voxels_of_any`` voxels; those of single classes are missing where there are none. Voxels count once in a stratum.
    """

    patches: Count
    annotated: Count = 0
    chosen_for: str = ""
    patches_with_any: Count = 0
    voxels_of_any: Count = 0
    patches_per_class: Counts = field(default_factory=dict)
    voxels_per_class: Counts = field(default_factory=dict)

    @property
    def held(self) -> int:
        """Patches that held the class that they were chosen for; of the rest, any class."""
        return self.patches_per_class.get(self.chosen_for, 0) if self.chosen_for else self.patches_with_any

    @property
    def voxels(self) -> int:
        """Annotated voxels of the class that they were chosen for; of the rest, of any class."""
        return self.voxels_per_class.get(self.chosen_for, 0) if self.chosen_for else self.voxels_of_any


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What the members of a cycle are worth, as means over cases; ``cross_validation`` is None where there is a test set."""

    cycle: Count
    mean_dice: Share | None
    dice_per_class: Shares
    cases_per_class: Counts = field(default_factory=dict)
    classes_left_out: tuple[str, ...] = ()
    nsd_per_class: Shares = field(default_factory=dict)
    hd95_per_class: Lengths = field(default_factory=dict)
    surface_cases_per_class: Mapping[str, SurfaceCases] = field(default_factory=dict)
    tolerance_mm: Amount | None = None
    tolerance_mm_per_class: Lengths = field(default_factory=dict)
    """Of classes that have one of their own."""
    predicted_voxels_per_class: Counts = field(default_factory=dict)
    """On the test set."""
    cross_validation: CrossValidation | None = None


@dataclass(frozen=True, kw_only=True)
class InferenceScores(Scores):
    """What the members of a cycle are worth on the test set with one ``inference``, and case by case."""

    inference: Inference
    dice_per_case: Mapping[str, Shares]
    nsd_per_case: Mapping[str, Shares]
    hd95_per_case: Mapping[str, Lengths]


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """What was annotated for them: ``new_*`` describe the patches of this cycle, the other counts all patches up to it."""

    patches: Count
    new_patches: Count
    annotated_cases: Count
    annotated_voxels: Count
    annotated_voxels_per_label: Counts = field(default_factory=dict)
    foreground_share: Share | None = None
    share_of_all_foreground: Amount | None = None
    new_patches_per_class: Counts = field(default_factory=dict)
    new_voxels_per_label: Counts = field(default_factory=dict)
    new_foreground_share: Share | None = None
    new_yields: Mapping[str, StratumYield] = field(default_factory=dict)
    minutes_per_patch: Amount | None = None
    """The median of what experts took for a patch so far, where that was measured."""


@dataclass(frozen=True, kw_only=True)
class CycleResult(Annotation, Scores):
    """The only place that spells the keys of a results file; each field is a key, in the file's order.

    Dice and NSD are 0 to 1, distances in mm; None is a number that does not exist (a class in no case, an infinite distance).
    ``environment`` is that of the process that evaluated. Fields with a default may be absent, as they are from files of
    earlier versions.
    """

    label_version: Count = 0
    """How many times the classes had been changed."""
    dice_per_case: Mapping[str, Shares] = field(default_factory=dict)
    nsd_per_case: Mapping[str, Shares] = field(default_factory=dict)
    hd95_per_case: Mapping[str, Lengths] = field(default_factory=dict)
    environment: Environment | None = None
    inference: Inference | None = NNUNET
    """With which the test set was predicted; None where it was not, so that there are no scores."""
    as_before: InferenceScores | None = None
    """Of the last cycle: its scores with the inference of the cycles before it, where that is another one."""

    @property
    def inferences(self) -> list[Inference]:
        """Those with which there are scores on the test set."""
        return [one for one in (self.inference, self.as_before and self.as_before.inference) if one]

    def scored(self, inference: Inference | None) -> CycleResult:
        """This result with the scores of one inference; without any where it does not have them."""
        if self.inference == inference:
            return replace(self, as_before=None)
        if self.as_before and self.as_before.inference == inference:
            return replace(self, **vars(self.as_before), as_before=None)
        none = {one.name: one.default_factory() for one in fields(InferenceScores) if one.default_factory is not MISSING}
        empty: dict[str, Any] = {**none, "dice_per_class": dict.fromkeys(self.dice_per_class), "mean_dice": None}
        empty |= {"classes_left_out": (), "tolerance_mm": None, "inference": None, "as_before": None}
        return replace(self, **empty, dice_per_case={}, nsd_per_case={}, hd95_per_case={})

    @property
    def tolerance(self) -> Tolerance | None:
        """Of the NSD; None where surfaces were not measured, as in files of earlier versions."""
        own = {name: mm for name, mm in self.tolerance_mm_per_class.items() if mm}
        return Tolerance(self.tolerance_mm, own) if self.tolerance_mm else None

    @classmethod
    def read(cls, file: Path) -> CycleResult:
        """From a results file; a damaged one is an NnActiveError that names it and says what to do."""
        return read_json(file, cls, lambda: f"Restore it, or delete it and run {run_of(file.parent)}")

    @classmethod
    def of(cls, content: Any) -> CycleResult:
        """From the content of a results file; ValueError says what is wrong with it."""
        return typed(cls, content)

    def write(self, file: Path) -> None:
        """Whole or not at all."""
        content = asdict(self)
        if self.as_before is None:
            del content["as_before"]
        write_json(file, content)


def result_file(folder: Path, cycle: int) -> Path:
    """``folder`` is an experiment's ``nnactive`` results folder."""
    return folder / f"cycle_{cycle:03d}.json"


def result_files(folder: Path) -> dict[int, Path]:
    """Cycle -> its results file, in order of the cycles; empty where the folder is absent."""
    files = folder.iterdir() if folder.is_dir() else ()
    found = {int(match[1]): file for file in files if (match := _NAME.fullmatch(file.name))}
    return dict(sorted(found.items()))


def read_results(folder: Path) -> list[CycleResult]:
    """Read the results of all cycles.

    Args:
        folder: the results folder of an experiment, with ``cycle_NNN.json``.

    Returns:
        One result per file, in order of the cycles.

    Raises:
        NnActiveError: a file is damaged; the message names it and a remedy.
    """
    return [CycleResult.read(file) for file in result_files(folder).values()]


def same_classes(results: Sequence[CycleResult]) -> list[CycleResult]:
    """Those of ``results`` that are for the same classes as the last one: numbers for other classes do not compare."""
    return [result for result in results if result.label_version == results[-1].label_version]
