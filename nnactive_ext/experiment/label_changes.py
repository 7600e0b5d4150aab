"""A change of the classes of a running experiment, and what labels and names from before it mean after it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError

LABELS = "labels"
"""What a change of classes is called, among the plan's changes and in the ledger."""
BACKGROUND, IGNORE = "background", "ignore"


@dataclass(frozen=True)
class LabelChange:
    """``before`` and ``after``: label name -> value, background and ``ignore`` among them. ``mapping``: each value before ->
    the value after that says the same; that of ``ignore`` where it cannot be known. ``operations``: as they were typed.
    ``event``: its number in the ledger; answers with a lower one are from before it. -1 where only the plan was read."""

    before: Mapping[str, int]
    after: Mapping[str, int]
    mapping: Mapping[int, int]
    operations: tuple[str, ...] = ()
    event: int = -1

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> LabelChange:
        """From an entry of the plan's changes, or from an event of the ledger."""
        mapping = {int(old): int(new) for old, new in content["mapping"].items()}
        operations, event = tuple(content["operations"]), int(content.get("event", -1))
        return cls(dict(content["before"]), dict(content["after"]), mapping, operations, event)

    def content(self) -> dict[str, Any]:
        """What :meth:`of` reads, but for ``event``."""
        mapping = {str(old): new for old, new in self.mapping.items()}
        return {"before": self.before, "after": self.after, "mapping": mapping, "operations": list(self.operations)}

    def name_after(self, name: str) -> str:
        """What a class is called afterwards; one that is no class any more, and what is no class, keeps its name."""
        value = self.mapping.get(self.before.get(name, -1), self.after[IGNORE])
        if name in (BACKGROUND, IGNORE) or value == self.after[IGNORE]:
            return name
        return next(other for other, number in self.after.items() if number == value)


def label_changes(changes: Iterable[Mapping[str, Any]]) -> list[LabelChange]:
    """The changes of classes among events of the ledger or the plan's changes, in order."""
    return [LabelChange.of(change) for change in changes if change["what"] == LABELS]


def mapped(labels: np.ndarray, changes: Sequence[LabelChange]) -> np.ndarray:
    """``labels`` (z, y, x) from before ``changes`` in the values after them; itself where there are none.

    >>> change = LabelChange({}, {}, {0: 3, 1: 1, 2: 3})
    >>> mapped(np.array([[[0, 1, 2, 1]]]), [change]).tolist()
    [[[3, 1, 3, 1]]]
    """
    for change in changes:
        highest = max(change.mapping)
        if int(labels.max(initial=0)) > highest:
            raise NnActiveError(
                f"A label map has the value {int(labels.max())}, which is none of {', '.join(change.before)} "
                f"(0 to {highest}). Restore the file."
            )
        table = np.array([change.mapping[value] for value in range(highest + 1)])
        labels = table.astype(np.uint8 if table.max() < 256 else np.uint16)[labels]
    return labels


def name_now(name: str, changes: Iterable[LabelChange]) -> str:
    """What a class from before ``changes`` is called after them; see :meth:`LabelChange.name_after`."""
    for change in changes:
        name = change.name_after(name)
    return name


def names_at(version: int, changes: Sequence[LabelChange], now: Mapping[str, int]) -> dict[str, int]:
    """Label name -> value after the first ``version`` of ``changes``; ``now`` are those after all of them."""
    return dict(changes[version].before if version < len(changes) else now)
