"""Which patches of a cycle's query are shown when all of them are too many."""

from __future__ import annotations

from collections.abc import Sequence

from nnactive_ext.labelling.tasks import Task


def telling(tasks: Sequence[Task], most: int) -> list[Task]:
    """At most ``most`` of ``tasks``, in their order: as many of each stratum as of any other, and of a stratum the best,
    the last and some evenly between, by score (where there is none, by the order in which they were chosen).

    >>> from nnactive_ext.geometry.patch import Patch
    >>> tasks = [Task(str(i), 1, i, Patch("a", (i, 0, 0), (1, 1, 1)), "liver", i / 10) for i in range(9)]
    >>> [task.number for task in telling([*tasks, Task("t", 1, 9, Patch("b", (0, 0, 0), (1, 1, 1)), "tumour")], 4)]
    [0, 4, 8, 9]
    """
    strata: dict[str, list[Task]] = {}
    for task in tasks:
        strata.setdefault(task.stratum, []).append(task)
    shares = _shares([len(members) for members in strata.values()], most)
    shown = {id(task) for members, n in zip(strata.values(), shares, strict=True) for task in _spread(members, n)}
    return [task for task in tasks if id(task) in shown]


def _shares(sizes: Sequence[int], most: int) -> list[int]:
    """How many of each stratum: one more of each in turn, as long as it has any left."""
    shares, left = [0] * len(sizes), min(most, sum(sizes))
    while left > 0:
        for i, size in enumerate(sizes):
            if shares[i] < size and left > 0:
                shares[i] += 1
                left -= 1
    return shares


def _spread(tasks: Sequence[Task], n: int) -> list[Task]:
    ranked = sorted(tasks, key=lambda task: -task.score if task.score is not None else 0.0)  # stable: ties as chosen
    if n < 2:
        return ranked[:n]
    return [ranked[round(i * (len(ranked) - 1) / (n - 1))] for i in range(n)]
