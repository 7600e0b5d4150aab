"""SISOM: how close a patch is to annotated patches of its own class, compared with those of other classes; and SISOMe.

The patches of the *bank* are the annotated ones of known class. Vectors are weighted activations (``steepness.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import expit
from threadpoolctl import threadpool_limits

from nnactive_ext.selection.degenerate import warn
from nnactive_ext.selection.distances import blocks, pairs, points

if TYPE_CHECKING:
    import torch

Origin = Literal["query", "neighbour"]


@dataclass(frozen=True)
class Ratios:
    """What the bank says about candidates.

    ``r``: float64 (N,), d_in / d_out; infinite where an annotated patch of another class coincides with the candidate and none
    of its own does, and where its class is not in the bank; 1 where both coincide. ``urgency``: float64 (N, 2), the order
    among infinite ones, larger first. ``bank``: float64 (k,), the leave-one-out r of the bank's patches that are not alone in
    their class; none where the bank has one class. ``average``: r_avg, the mean of ``bank``, 1 where that is empty.
    """

    r: np.ndarray
    urgency: np.ndarray
    bank: np.ndarray
    average: float


def sisom_ratio(
    candidates: np.ndarray,
    annotated: np.ndarray,
    candidate_class: np.ndarray,
    annotated_class: np.ndarray,
    *,
    origin: Origin = "query",
) -> np.ndarray:
    """The ``r`` of :func:`sisom_ratios` alone.

    Args:
        candidates: float (N, D).
        annotated: float (M, D), the bank.
        candidate_class: int (N,), predicted.
        annotated_class: int (M,).
        origin: as there.

    Returns:
        float64 (N,).
    """
    return sisom_ratios(candidates, annotated, candidate_class, annotated_class, origin=origin).r


def sisom_ratios(
    candidates: np.ndarray,
    annotated: np.ndarray,
    candidate_class: np.ndarray,
    annotated_class: np.ndarray,
    *,
    origin: Origin = "query",
) -> Ratios:
    """r = d_in / d_out: the distance to the nearest of the same class over that to the nearest of another (SISOM, Eq 5-7).

    Far from everything r tends to 1. With one class in the bank, d_in is divided by its median over the bank (leave one out)
    instead; with none, all r are infinite. A :class:`SelectionWarning` says both.

    Args:
        candidates: float (N, D).
        annotated: float (M, D), the bank.
        candidate_class: int (N,), predicted.
        annotated_class: int (M,).
        origin: from where d_out is measured: the candidate itself, as published, or its nearest neighbour of the same class,
            as the published code does. Far from everything, r then grows without bound.

    Returns:
        :class:`Ratios`.

    Raises:
        ValueError: a vector is not finite.
    """
    u, bank = points(candidates), points(annotated)
    own, known = np.asarray(candidate_class), np.asarray(annotated_class)
    if not len(bank):
        warn("No annotated patch has a class yet, so SISOM cannot compare. Predictive entropy chooses instead.")
        return Ratios(np.full(len(u), np.inf), np.zeros((len(u), 2)), np.empty(0), 1.0)
    d_in, inner, d_out = _in_and_out(u, own, bank, known)
    around = _in_and_out(bank, known, bank, known, apart=True)
    left_out = _left_out(*around, origin)
    if len(np.unique(known)) == 1:
        warn("All annotated patches have one class, so SISOM compares distances to them with those among them.")
        scale = around[0][np.isfinite(around[0])]
        r = _quotient(d_in, np.full(len(u), np.median(scale) if len(scale) else 1.0))
    else:
        r = _quotient(d_in, np.where(inner >= 0, around[2][inner], d_out) if origin == "neighbour" else d_out)
    # d_in is infinite where the class is not in the bank; these come after the patches that another class coincides with.
    urgency = np.where(np.isinf(d_in)[:, None], np.stack([np.zeros(len(u)), d_out], 1), np.stack([np.ones(len(u)), d_in], 1))
    return Ratios(r, urgency, left_out, average(left_out))


def leave_one_out(annotated: np.ndarray, annotated_class: np.ndarray, *, origin: Origin = "query") -> np.ndarray:
    """The r of each of the bank's patches among the others, float64 (k,): ``bank`` of :class:`Ratios`."""
    bank, known = points(annotated), np.asarray(annotated_class)
    return _left_out(*_in_and_out(bank, known, bank, known, apart=True), origin)


def average(left_out: np.ndarray) -> float:
    """r_avg (Eq 10) of leave-one-out ratios: their mean, 1 of none. Small where the bank's classes lie apart."""
    return float(left_out.mean()) if len(left_out) else 1.0


def sisome_score(ratios: Ratios, energy: np.ndarray, annotated_energy: np.ndarray) -> np.ndarray:
    """SISOMe: min(r_avg, 1) z(energy) + max(1 - r_avg, 0) z(r) (Eq 11).

    z: minus the mean over the bank, over its standard deviation (1 where that is 0), as in the published code. Eq 11 as printed
    adds an energy of any size to a ratio.

    Args:
        ratios: of the candidates.
        energy: float (N,), the patch means of -ln sum exp(logit).
        annotated_energy: float (M,), those of the bank.

    Returns:
        float64 (N,).
    """
    weight = min(ratios.average, 1.0)
    score = weight * _standardised(energy, annotated_energy)
    return score + (1 - weight) * _standardised(ratios.r, ratios.bank) if weight < 1 else score


def sisom_ood(r: np.ndarray) -> np.ndarray:
    """r_OOD = 1 - (1 + sigma(r)) / 2 (SISOM, Eq 9, in the form of the published code), sigma the logistic function.

    The larger, the more like the bank.

    The ratio cannot be negative, so this lies in (0, .25]; it only reverses the order of ``r``.

    >>> [round(float(value), 4) for value in sisom_ood(np.array([0.0, 1.0, 4.0]))]
    [0.25, 0.1345, 0.009]

    Args:
        r: float, of any shape, d_in / d_out.

    Returns:
        float64 of that shape; 0 where ``r`` is infinite, NaN where it is NaN.
    """
    return np.asarray(0.5 * expit(-np.asarray(r, np.float64)))


def largest(score: np.ndarray, ratios: Ratios, entropy: np.ndarray, n: int) -> np.ndarray:
    """The candidates with the largest score.

    Infinite scores: first those that coincide with an annotated patch of another class, by d_in; then those whose class is not
    in the bank, by d_out, then by entropy. Equal ones go by index.

    Args:
        score: float (N,), ``ratios.r`` or :func:`sisome_score`.
        ratios: of the candidates.
        entropy: float (N,), patch means of the predictive entropy.
        n: how many.

    Returns:
        int64 (min(n, N),), indices of candidates, the largest first.
    """
    urgent = np.where(np.isinf(score)[:, None], np.column_stack([ratios.urgency, entropy]), 0)
    order = np.lexsort((-urgent[:, 2], -urgent[:, 1], -urgent[:, 0], -np.asarray(score, np.float64)))
    return order[:n].astype(np.int64)


def uniform_divergence(logits: torch.Tensor, regions: bool = False) -> torch.Tensor:
    """KL(u || p), the uniform distribution against the softmax (Eq 3). Its gradient by the logits is p - 1/C.

    Args:
        logits: float tensor (C, ...).
        regions: the mean over regions of the same for (p_r, 1 - p_r), with the gradient (p_r - 1/2) / C.

    Returns:
        Tensor (...), one value per voxel, in nat.
    """
    if regions:
        from torch.nn.functional import softplus  # here, because all else needs no torch

        return (softplus(logits) + softplus(-logits)).mean(0) / 2 - np.log(2)
    return -logits.log_softmax(0).mean(0) - np.log(len(logits))


def _in_and_out(
    u: np.ndarray, own: np.ndarray, bank: np.ndarray, known: np.ndarray, apart: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance to and index of the nearest of the same class (infinite and -1: none), and distance to the nearest other.

    ``apart``: ``u`` is the bank, and a patch is no neighbour of itself.
    """
    inner, outer = np.full(len(u), -1), np.full(len(u), -1)
    with threadpool_limits(1):
        for rows, squared, _ in blocks(u, bank):
            same = own[rows, None] == known
            others = np.where(same, np.inf, squared)
            outer[rows] = np.where(same.all(1), -1, others.argmin(1))
            if apart:
                same[np.arange(len(same)), np.arange(rows.start, rows.stop)] = False
            squared[~same] = np.inf
            inner[rows] = np.where(same.any(1), squared.argmin(1), -1)
    return _distances(u, bank, inner), inner, _distances(u, bank, outer)


def _distances(u: np.ndarray, bank: np.ndarray, index: np.ndarray) -> np.ndarray:
    found = np.flatnonzero(index >= 0)
    distances = np.full(len(u), np.inf)
    distances[found] = np.sqrt(pairs(u, bank, found, index[found]))
    return distances


def _quotient(d_in: np.ndarray, d_out: np.ndarray) -> np.ndarray:
    """d_in / d_out; 1 where both are 0, infinite where d_out is 0 or d_in infinite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = np.where((d_in == 0) & (d_out == 0), 1.0, d_in / d_out)
    return np.where(np.isinf(d_in), np.inf, quotient)


def _left_out(d_in: np.ndarray, inner: np.ndarray, d_out: np.ndarray, origin: Origin) -> np.ndarray:
    """Leave-one-out ratios of those who are not alone in their class; none where there is one class.

    Infinite ones count as the largest finite one, at least as 1: two equal vectors of two classes must not hide all others.
    """
    known = np.isfinite(d_in) & np.isfinite(d_out)
    ratios = _quotient(d_in, d_out[inner] if origin == "neighbour" else d_out)[known]
    finite = np.isfinite(ratios)
    return np.where(finite, ratios, max(1.0, ratios[finite].max(initial=0)))


def _standardised(values: np.ndarray, bank: np.ndarray) -> np.ndarray:
    return (np.asarray(values, np.float64) - np.mean(bank)) / (np.std(bank) or 1.0)
