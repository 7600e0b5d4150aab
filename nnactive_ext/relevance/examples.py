"""What a detector learns from: annotated patches by their class, and what people called irrelevant."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from nnactive_ext.geometry.patch import Patch
from nnactive_ext.labelling.verdicts import Verdict
from nnactive_ext.relevance.detector import IRRELEVANT, UNLABELLED


@dataclass(frozen=True)
class Described:
    """Descriptors of one case: of its ``windows`` (W, D), which stand for the whole of it, and of its ``patches`` (P, D), those
    that were asked for or annotated from the start. ``classes``: int (P,), by the labels (0: background), -1 where no voxel is
    known."""

    windows: np.ndarray
    patches: tuple[Patch, ...]
    vectors: np.ndarray
    classes: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Of the windows, float64 (D,)."""
        return np.asarray(self.windows, np.float64).mean(axis=0)


def examples(
    described: Mapping[str, Described], verdicts: Iterable[Verdict], relevant: Collection[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """The examples of a detector.

    An irrelevant patch is one, and so is each window of an irrelevant case, whose patches have no class any more. Other
    patches have the class of their labels; where no voxel is known, they teach nothing. Windows of relevant cases are examples,
    too, unless a patch in them is irrelevant: annotated patches lie around structures and windows anywhere, so without them the
    detector learns that air and the rest of a body are irrelevant.

    Args:
        described: cases of the pool, and those that left it as irrelevant.
        verdicts: those that count.
        relevant: cases that belong: annotated ones, and those that somebody called relevant.

    Returns:
        Descriptors, float (L, D), and classes, int (L,), with :data:`IRRELEVANT` and :data:`UNLABELLED`.
    """
    judged = list(verdicts)
    cases = {one.case for one in judged if one.patch is None and one.irrelevant}
    patches = {one.patch for one in judged if one.patch is not None and one.irrelevant}
    doubtful = {patch.case for patch in patches}
    vectors: list[np.ndarray] = []
    classes: list[int] = []
    for case, known in sorted(described.items()):
        if case in cases:
            vectors += list(known.windows)
            classes += [IRRELEVANT] * len(known.windows)
            continue
        if case in relevant and case not in doubtful:
            vectors += list(known.windows)
            classes += [UNLABELLED] * len(known.windows)
        for patch, vector, label in zip(known.patches, known.vectors, known.classes.tolist(), strict=True):
            if patch in patches or label >= 0:
                vectors.append(vector)
                classes.append(IRRELEVANT if patch in patches else label)
    return np.array(vectors).reshape(len(vectors), -1 if vectors else 0), np.array(classes, int)
