"""Checks what a plan says about relevance, ``-relevance`` and ``-screen``, before anything is made."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from nnactive_ext.experiment.plan import Plan
from nnactive_ext.planning.decisions import Decisions
from nnactive_ext.relevance.options import options_of
from nnactive_ext.relevance.reading import EMBEDDINGS, SIMILARITY, read_similarity


def check_relevance(plan: Plan, words: Sequence[str], labels: Collection[str]) -> list[str]:
    """Read the folder of ``-relevance``, if there is one.

    Args:
        plan: its pool needs rows; cases that left it, and those of the test set, may have some.
        words: the setting, as a plan keeps it.
        labels: the classes of the experiment, or its regions.

    Returns:
        What a user should know.

    Raises:
        NnActiveError: see :func:`nnactive_ext.relevance.read_similarity`.
    """
    folder = options_of(words).folder
    if folder is None:
        return []
    shapes = {case: geometry.shape for case, geometry in plan.pool.items()}
    similarity = read_similarity(folder, shapes, {*plan.dropped, *plan.test}, labels)
    if similarity is None:
        return [f"{folder}: there is neither {SIMILARITY} nor {EMBEDDINGS} yet, so texts have no effect until there is one."]
    return list(similarity.notes)


def warn_of_relevance(plan: Plan, words: Sequence[str], labels: Collection[str], decisions: Decisions) -> None:
    """Add what :func:`check_relevance` says to the decisions of planning; errors as there."""
    for note in check_relevance(plan, words, labels):
        decisions.warn("relevance", note)
