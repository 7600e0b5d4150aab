"""A trajectory (one method, one seed, one setting) as its results folder tells it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nnactive_ext.compare.methods import method_key
from nnactive_ext.experiment.evaluating import evaluated
from nnactive_ext.experiment.plan import cycles_at_first
from nnactive_ext.experiment.record import read_record
from nnactive_ext.experiment.result import CycleResult, result_files


@dataclass(frozen=True, eq=False)
class Trajectory:
    """``cycles`` are the results of cycle 0, 1, ... up to the first one that is not there; ``behind_gap`` numbers those
    behind it, which are not used. ``planned`` counts cycle 0, too; ``schedule`` is what it was at first, with which the
    schedules of methods end, however many cycles are made or compared. ``as_nnunet``: the result of the last cycle as nnU-Net
    evaluates it; None where a comparison does without (:func:`nnactive_ext.compare.settings.group`)."""

    folder: Path
    record: Mapping[str, Any]
    cycles: tuple[CycleResult, ...]
    behind_gap: tuple[int, ...]
    planned: int
    schedule: int
    as_nnunet: CycleResult | None = None

    @property
    def name(self) -> str:
        return str(self.record["name"])

    @property
    def label(self) -> str:
        """The name and the folder, for messages: folders of one name may come from several machines."""
        return f"{self.name} ({self.folder})"

    @property
    def plan(self) -> Mapping[str, Any]:
        return self.record["plan"]

    @property
    def purpose(self) -> str:
        return str(self.plan.get("purpose", ""))

    @property
    def method(self) -> str:
        return method_key(self.plan)

    @property
    def seed(self) -> int:
        return int(self.plan["seed"])

    @property
    def scored(self) -> list[CycleResult]:
        """The cycles that were evaluated on the test set, in a way that can be compared; those of the learning curve."""
        return evaluated(self.cycles)

    @property
    def final(self) -> CycleResult:
        """The result of the last cycle of the curve, as nnU-Net evaluates it where the others have that, too."""
        return self.as_nnunet or self.scored[-1]

    @property
    def budgets(self) -> list[int]:
        """Annotated patches in all, at each cycle of the curve."""
        return [cycle.patches for cycle in self.scored]

    @property
    def dice(self) -> list[float]:
        """Mean Dice (0..1), at each cycle of the curve; NaN where no class has a value."""
        return self.values(lambda cycle: cycle.mean_dice)

    def class_dice(self, name: str) -> list[float]:
        """Dice (0..1) of a class, at each cycle of the curve; NaN where it has no value."""
        return self.values(lambda cycle: cycle.dice_per_class.get(name))

    def values(self, number: Callable[[CycleResult], float | None]) -> list[float]:
        """A ``number`` of each cycle of the curve; NaN where it is None."""
        return [math.nan if (value := number(cycle)) is None else float(value) for cycle in self.scored]

    def first(self, cycles: int) -> Trajectory:
        """The trajectory as if so many cycles had been planned: with the seed that it had then."""
        gap = tuple(cycle for cycle in self.behind_gap if cycle < cycles)
        later = [c for c in self.plan.get("changes", ()) if c["what"] == "seed" and c["after_cycle"] >= cycles - 1]
        seed = later[0]["before"] if later else self.seed
        changes = [change for change in self.plan.get("changes", ()) if change not in later]
        record = {**self.record, "plan": {**self.plan, "seed": seed, "changes": changes}}
        return replace(self, record=record, cycles=self.cycles[:cycles], behind_gap=gap, planned=min(self.planned, cycles))


def read_trajectory(folder: Path) -> Trajectory:
    """From an experiment's results folder (with experiment.json); damaged files are an error that names them."""
    record = read_record(folder)
    found = result_files(folder)
    whole = next(cycle for cycle in range(len(found) + 1) if cycle not in found)
    cycles = tuple(CycleResult.read(found[cycle]) for cycle in range(whole))
    behind = tuple(sorted(cycle for cycle in found if cycle > whole))
    plan = record["plan"]
    return Trajectory(folder, record, cycles, behind, plan["cycles"], cycles_at_first(plan["cycles"], plan.get("changes", ())))


def read_trajectories(folders: Sequence[Path]) -> list[Trajectory]:
    """Read the trajectories of experiments.

    Args:
        folders: results folders; one that is given twice is read once, and their order does not matter.

    Returns:
        The trajectories, sorted.

    Raises:
        NnActiveError: a folder holds no results, or a file is damaged.
    """
    different = {folder.resolve(): folder for folder in sorted(folders, reverse=True)}
    return sorted((read_trajectory(folder) for folder in different.values()), key=lambda t: (t.name, str(t.folder)))
