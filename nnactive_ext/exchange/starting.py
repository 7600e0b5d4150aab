"""Which classes the tasks of a cycle show as predicted, and which start blank because members do not find them well enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nnactive_ext.errors import NnActiveError
from nnactive_ext.words import percent

if TYPE_CHECKING:
    from nnactive_ext.experiment.experiment import Experiment

ABOVE = 0.5
"""Dice of a class from which its predictions are proposed unless another is said: correcting a worse one takes longer than
painting from nothing, and leads the expert."""


@dataclass(frozen=True)
class Start:
    """``proposed``: classes whose predictions tasks start with; ``blank``: the others with their Dice (0 to 1), None where it
    is not known; ``what``: which Dice that is; ``above``: what it would have to be."""

    proposed: tuple[str, ...]
    blank: Mapping[str, float | None] = field(default_factory=dict)
    what: str = ""
    above: float = ABOVE

    @property
    def words(self) -> str:
        """The blank classes and why; empty for none."""
        low = [f"{name} {percent(dice)}" for name, dice in self.blank.items() if dice is not None]
        unknown = [name for name, dice in self.blank.items() if dice is None]
        parts = [f"{', '.join(low)} ({self.what} below {percent(self.above)})"] if low else []
        parts += [f"{', '.join(unknown)} ({self.what} not known)"] if unknown else []
        return "; ".join(parts)


def starting(experiment: Experiment, above: float = ABOVE) -> Start:
    """Decide by the Dice of the last cycle that was evaluated: in cross-validation, or on the test set if there is one.

    Args:
        experiment: a roll-out with trained members.
        above: Dice, 0 to 1, from which a class is proposed; a class whose Dice is not known is not. 0: all are, whatever is
            known of them.

    Returns:
        The classes that are proposed, and why the others start blank.

    Raises:
        NnActiveError: ``above`` is no Dice.
    """
    from nnactive_ext.experiment.result import read_results  # loads numpy, which the help of the command does without

    if not 0 <= above <= 1:
        raise NnActiveError(f"-start_above {above:g}: give a Dice from 0 to 1; 0 proposes every prediction.")
    names = list(experiment.dataset.labels.classes)
    if above == 0:
        return Start(tuple(names))
    version = experiment.plan.label_version
    results = [result for result in read_results(experiment.results) if result.label_version == version]
    last = results[-1] if results else None
    tested = bool(experiment.plan.test)
    scores = (last if tested else last.cross_validation) if last else None
    what = "Dice on the test set" if tested else "CV Dice"
    dice = {name: scores.dice_per_class.get(name) if scores else None for name in names}
    proposed = tuple(name for name in names if (dice[name] or 0.0) >= above)
    return Start(proposed, {name: dice[name] for name in names if name not in proposed}, what, above)
