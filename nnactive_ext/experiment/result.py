"""The results of one cycle, ``cycle_NNN.json``: what the members are worth, and what was annotated for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import read_json, write_json

_NAME = re.compile(r"cycle_(\d{3,})\.json")

Numbers = Mapping[str, float | None]
"""A number of each class; None where no case has it."""


@dataclass(frozen=True)
class CrossValidation:
    """What members say of annotated voxels of cases that they were not trained on, where there is no test set.

    ``mean_dice`` and ``dice_per_class``: 0 to 1, None where nothing of a class is annotated or predicted.
    ``voxels_per_class``: annotated voxels that were compared; ``cases`` and ``cases_left_out``: how many; ``folds``: how many
    members had any.
    """

    mean_dice: float | None
    dice_per_class: Numbers
    voxels_per_class: Mapping[str, int] = field(default_factory=dict)
    cases: int = 0
    cases_left_out: int = 0
    folds: int = 0


@dataclass(frozen=True)
class CycleResult:
    """The only place that spells the keys of a results file; each field is a key.

    Dice and NSD are 0 to 1, distances in mm; None is a number that does not exist (a class in no case, an infinite distance).
    Fields with a default are absent from files of earlier versions. ``new_*`` describe the patches of this cycle, the other
    counts all patches up to it. ``cross_validation`` is None where there is a test set.
    """

    cycle: int
    patches: int
    mean_dice: float | None
    dice_per_class: Numbers
    cases_per_class: Mapping[str, int] = field(default_factory=dict)
    classes_left_out: tuple[str, ...] = ()
    nsd_per_class: Numbers = field(default_factory=dict)
    hd95_per_class: Numbers = field(default_factory=dict)
    surface_cases_per_class: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    tolerance_mm: float | None = None
    cross_validation: CrossValidation | None = None
    new_patches: int | None = None
    annotated_cases: int = 0
    annotated_voxels: int = 0
    annotated_voxels_per_label: Mapping[str, int] = field(default_factory=dict)
    foreground_share: float | None = None
    share_of_all_foreground: float | None = None
    new_patches_per_class: Mapping[str, int] = field(default_factory=dict)
    new_voxels_per_label: Mapping[str, int] = field(default_factory=dict)
    new_foreground_share: float | None = None
    dice_per_case: Mapping[str, Numbers] = field(default_factory=dict)
    nsd_per_case: Mapping[str, Numbers] = field(default_factory=dict)
    hd95_per_case: Mapping[str, Numbers] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> CycleResult:
        """From a results file; a damaged one is an NnActiveError that names it and says what to do."""
        content = read_json(file)
        try:
            return cls.of(content)
        except ValueError as error:
            raise NnActiveError(
                f"{file}: no results of a cycle ({error}). Restore it, or delete it and run nnactive_run."
            ) from None

    @classmethod
    def of(cls, content: Any) -> CycleResult:
        """From the content of a results file; ValueError says what is wrong with it."""
        if not isinstance(content, Mapping):
            raise ValueError("it holds no object")
        values = _checked(cls, content)
        found = values.get("cross_validation")
        if found is not None:
            values["cross_validation"] = CrossValidation(**_checked(CrossValidation, found))
        values["classes_left_out"] = tuple(values.get("classes_left_out", ()))
        return cls(**values)

    def write(self, file: Path) -> None:
        """Whole or not at all."""
        write_json(file, asdict(self))


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


_SHARES = (
    "mean_dice",
    "dice_per_class",
    "nsd_per_class",
    "foreground_share",
    "share_of_all_foreground",
    "new_foreground_share",
)
"""Numbers between 0 and 1."""


def _checked(kind: type, content: Any) -> dict[str, Any]:
    """The values of a dataclass's fields in ``content``; keys of later versions are passed over."""
    if not isinstance(content, Mapping):
        raise ValueError("its cross-validation is no object")
    needed = [one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING]
    missing = sorted(set(needed) - set(content))
    if missing:
        raise ValueError(f"{', '.join(missing)} missing")
    values = {one.name: content[one.name] for one in fields(kind) if one.name in content}
    for name, value in values.items():
        if name == "cross_validation":
            continue
        if not _fits(name, value):
            raise ValueError(f"{name}: {str(value)[:60]!r} is not what stands there")
    return values


def _fits(name: str, value: Any) -> bool:
    if name == "classes_left_out":
        return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
    if "_per_" in name:
        numbers = list(value.values()) if isinstance(value, Mapping) else [value]
        if name.endswith("_per_case") or name == "surface_cases_per_class":
            return isinstance(value, Mapping) and all(
                isinstance(one, Mapping) and all(map(_is_number, one.values())) for one in numbers
            )
        return isinstance(value, Mapping) and all(map(_is_share if name in _SHARES else _is_number, numbers))
    if name in ("cycle", "patches", "annotated_voxels", "annotated_cases", "cases", "cases_left_out", "folds"):
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return _is_share(value) if name in _SHARES else _is_number(value)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _is_share(value: Any) -> bool:
    return value is None or (_is_number(value) and 0 <= value <= 1)
