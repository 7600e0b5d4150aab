"""Which classes the tasks of a cycle show as predicted, and which start blank because members do not find them well enough."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.result import read_results, same_classes
from nnactive_ext.files import read_json_if_any, write_json
from nnactive_ext.words import percent

ABOVE = 0.5
"""Dice of a class from which its predictions are proposed unless another is said: correcting a worse one takes longer than
painting from nothing, and leads the expert."""
FILE = "started_blank.json"
"""Beside the ledger: by task, the classes that started blank in its last export."""


@dataclass(frozen=True)
class Start:
    """``proposed``: classes whose predictions tasks start with; ``blank``: class -> why it starts blank."""

    proposed: tuple[str, ...]
    blank: Mapping[str, str] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """The blank classes, each with its reason; empty for none."""
        reasons: dict[str, list[str]] = {}
        for name, why in self.blank.items():
            reasons.setdefault(why, []).append(name)
        return "; ".join(f"{', '.join(names)} ({why})" for why, names in reasons.items())


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
    if not 0 <= above <= 1:
        raise NnActiveError(f"-start_above {above:g}: give a Dice from 0 to 1; 0 proposes every prediction.")
    names = list(experiment.dataset.labels.classes)
    if above == 0:
        return Start(tuple(names))
    version = experiment.plan.label_version
    results = [result for result in read_results(experiment.results) if result.label_version == version]
    last = same_classes(results)[-1] if results else None
    tested = bool(experiment.plan.test)
    scores = (last if tested else last.cross_validation) if last else None
    what = "Dice on the test set" if tested else "CV Dice"
    proposed, blank = [], {}
    for name in names:
        dice = scores.dice_per_class.get(name) if scores else None
        if dice is None:
            blank[name] = f"its {what} is not known"
        elif dice < above:
            blank[name] = f"{what} {percent(dice)}, below {percent(above)}"
        else:
            proposed.append(name)
    return Start(tuple(proposed), blank)


def note_blank(experiment: Experiment, tasks: Iterable[str], blank: Iterable[str]) -> None:
    """Write down which classes start blank in ``tasks``, which are about to be exported."""
    names, before = sorted(blank), started_blank(experiment)
    after = {task: found for task, found in {**before, **dict.fromkeys(tasks, names)}.items() if found}
    if after != before:
        write_json(experiment.annotation / FILE, after)


def started_blank(experiment: Experiment) -> dict[str, list[str]]:
    """By task: the classes that started blank; tasks that the file does not name were exported before there were such."""
    return dict(read_json_if_any(experiment.annotation / FILE, {}))
