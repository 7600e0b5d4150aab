"""``sisom`` and ``sisome``: how near a case's windows are to annotated patches of their own class and of others."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.geometry.grid import Grid
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.ood import TooFew
from nnactive_ext.query_methods.base import Description, Request, ScoredCase, Statistics
from nnactive_ext.query_methods.described import described
from nnactive_ext.querying.pool import pool_cases, request_for
from nnactive_ext.querying.stored import content_of
from nnactive_ext.selection import (
    SelectionWarning,
    automatic_steepness,
    sisom_ratios,
    sisome_score,
    weighted_activations,
)

LAYERS = Description("layers")
THETA = 0.01
"""The share of foreground from which a patch has a foreground class, as in queries."""
FEWEST = 3
"""Annotated patches that the reference needs."""


@dataclass(frozen=True)
class Layered:
    """Of one image: ``windows`` (W, D) and annotated patches ``bank`` (A, D), float32, layer after layer (``sections``); their
    classes, of windows ``predicted`` (W,), of patches by their labels ``known`` (A,), -1 where all is ignore; and mean
    ``energy`` of both, (W,) and (A,)."""

    windows: np.ndarray
    bank: np.ndarray
    sections: np.ndarray
    predicted: np.ndarray
    known: np.ndarray
    energy: np.ndarray
    bank_energy: np.ndarray


@dataclass(frozen=True)
class Annotated:
    """The annotated patches of an experiment's cases; ``patches`` in voxels of the image. New images have none."""

    experiment: Experiment
    request: Request
    patches: Mapping[str, Sequence[Patch]]

    @classmethod
    def of(cls, experiment: Experiment) -> Annotated:
        pool = pool_cases(experiment, references=False)
        return cls(experiment, request_for(experiment, 1, experiment.state["cycle"]), {n: c.annotated for n, c in pool.items()})

    def layered(
        self,
        case: str,
        boxes: Sequence[Patch],
        statistics: Statistics,
        grid: Grid,
        describe: Callable[[Sequence[Patch], Description], tuple[np.ndarray, tuple[int, ...]]],
        new: bool,
    ) -> Layered:
        """Describe windows (``boxes``) and annotated patches of a case on the network's grid."""
        both = [(patch, there) for patch in ([] if new else self.patches.get(case, ())) if (there := grid.to_network(patch))]
        annotated = [there for _, there in both]
        data = self.experiment.dataset
        labelled = content_of(data.label_map(case), [patch for patch, _ in both], data.labels) if both else []
        scored = ScoredCase(case, statistics, boxes[0].size, annotated, labelled=labelled)
        said, n = described(scored, list(boxes), self.request, THETA), len(boxes)
        vectors, sections = describe([*boxes, *annotated], LAYERS)
        if not np.isfinite(vectors).all():
            raise NnActiveError(f"{case}: a descriptor holds NaN or infinite values. Look for a diverged training (NaN loss).")
        return Layered(vectors[:n], vectors[n:], np.array(sections), said.predicted[0], said.labelled, *said.energy)


def ratio_scores(images: Sequence[Layered], in_reference: np.ndarray, energy: bool = False) -> np.ndarray:
    """The largest ratio over the windows of each image (SISOM, Eq 5-9; with ``energy`` SISOMe, Eq 11).

    The distance to another class is taken from the nearest annotated patch of a window's own class, as in the published code
    for out-of-distribution detection: by Eq 6 a far image has a ratio near 1, as a boundary has. The bank is the annotated
    patches of the reference; a case of it is compared with those of the others. Windows whose predicted class nobody
    annotated are left out.

    Args:
        images: of all images, N of them.
        in_reference: bool (N,).
        energy: combine the ratio with the energy.

    Returns:
        float64 (N,); NaN for an image without a window that can be compared.

    Raises:
        TooFew: the reference has fewer than three annotated patches.
    """
    chosen = np.asarray(in_reference, bool).tolist()
    owner = np.repeat([i if there else -1 for i, there in enumerate(chosen)], [len(one.bank) for one in images])
    bank, known = np.concatenate([one.bank for one in images]), np.concatenate([one.known for one in images])
    bank_energy = np.concatenate([one.bank_energy for one in images])
    usable = (owner >= 0) & (known >= 0)
    if usable.sum() < FEWEST:
        raise TooFew(f"The reference has {int(usable.sum())} annotated patches; ratios need {FEWEST}. Annotate more.")
    owner, bank, known, bank_energy = owner[usable], bank[usable], known[usable], bank_energy[usable]
    cuts = np.cumsum(images[0].sections)[:-1]
    steepness = automatic_steepness(np.split(bank, cuts, axis=1))
    z = weighted_activations(np.split(bank, cuts, axis=1), steepness)
    found = np.full(len(images), np.nan)
    for i, one in enumerate(images):
        others = owner != i
        if not others.any():
            continue
        own = weighted_activations(np.split(one.windows, cuts, axis=1), steepness)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SelectionWarning)  # of a bank with one class: distances stand alone then
            ratios = sisom_ratios(own, z[others], one.predicted, known[others], origin="neighbour")
        score = sisome_score(ratios, one.energy, bank_energy[others]) if energy else ratios.r
        finite = score[np.isfinite(score)]
        found[i] = finite.max() if len(finite) else np.nan
    return found
