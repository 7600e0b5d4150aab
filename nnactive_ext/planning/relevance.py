"""Checks what a plan says about relevance, ``-relevance`` and ``-screen``, before anything is made."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from nnactive_ext.geometry.patch import Triple
from nnactive_ext.relevance.options import options_of
from nnactive_ext.relevance.reading import EMBEDDINGS, SIMILARITY, read_similarity


def check_relevance(
    words: Sequence[str], needed: Mapping[str, Triple], known: Collection[str], labels: Collection[str]
) -> list[str]:
    """Read the folder of ``-relevance``, if there is one.

    Args:
        words: the setting, as a plan keeps it.
        needed: case of the pool -> voxels (z, y, x) of its image.
        known: other cases of the experiment.
        labels: the classes of the experiment.

    Returns:
        What a user should know.

    Raises:
        NnActiveError: see :func:`nnactive_ext.relevance.read_similarity`.
    """
    folder = options_of(words).folder
    if folder is None:
        return []
    similarity = read_similarity(folder, needed, known, labels)
    if similarity is None:
        return [f"{folder}: there is neither {SIMILARITY} nor {EMBEDDINGS} yet, so texts have no effect until there is one."]
    return list(similarity.texts.notes)
