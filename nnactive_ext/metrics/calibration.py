"""From uncertainty to confidence (Platt), and how far confidence lies from accuracy (ACE)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy.special import expit

BINS = 20
_STEPS, _TOLERANCE = 100, 1e-12


class Platt(NamedTuple):
    """Confidence = 1 / (1 + exp(a u + b)) of an uncertainty u; ``a`` is above 0 where uncertain voxels are more often wrong."""

    a: float
    b: float

    def confidence(self, uncertainty: np.ndarray) -> np.ndarray:
        """The confidence (0 to 1), float64, of uncertainties of any shape."""
        return expit(-(self.a * np.asarray(uncertainty, float) + self.b))


def fit_platt(uncertainty: np.ndarray, right: np.ndarray) -> Platt:
    """Fit by maximum likelihood with Platt's smoothed targets, (n+ + 1) / (n+ + 2) for right voxels and 1 / (n- + 2) for wrong.

    The smoothing (Platt 1999) keeps the fit finite where a threshold separates right from wrong. Newton's method with halved
    steps, after Lin, Lin and Weng (Machine Learning 2007). Where nothing can be told (all right, all wrong, or equal
    uncertainties) a is 0 and the confidence is the mean target.

    Args:
        uncertainty: of each voxel, finite.
        right: bool, whether each voxel's predicted label is the reference's.

    Returns:
        The two numbers of the curve.

    Raises:
        ValueError: no voxel, shapes that differ, or an uncertainty that is not finite.

    >>> fitted = fit_platt(np.array([0.1, 0.2, 0.3, 0.5, 0.6, 0.8]), np.array([1, 1, 1, 0, 1, 0]))
    >>> round(fitted.a, 4), round(fitted.b, 4)
    (3.6758, -2.1985)
    """
    u, hit = np.asarray(uncertainty, float).ravel(), np.asarray(right, bool).ravel()
    if u.shape != hit.shape or not len(u) or not np.isfinite(u).all():
        raise ValueError(f"one finite uncertainty for each of one voxel or more, given: {u.shape} and {hit.shape}")
    hits = int(hit.sum())
    target = np.where(hit, (hits + 1) / (hits + 2), 1 / (len(hit) - hits + 2))
    rate, scale = float(target.mean()), float(u.std())
    start = math.log((1 - rate) / rate)
    if hits in (0, len(hit)) or scale < _TOLERANCE * max(1.0, float(np.abs(u).max())):
        return Platt(0.0, start)
    centre = float(u.mean())
    a, b = _newton((u - centre) / scale, target, start)  # in standard units, or an energy of -30 would be badly conditioned
    return Platt(a / scale, b - a * centre / scale)


def _newton(u: np.ndarray, target: np.ndarray, b: float) -> tuple[float, float]:
    found = np.array([0.0, b])
    loss = _loss(found, u, target)
    for _ in range(_STEPS):
        p = expit(-(found[0] * u + found[1]))
        left, weight = target - p, p * (1 - p)
        slope = np.array([(left * u).sum(), left.sum()])
        mixed = (weight * u).sum()
        step = np.linalg.solve([[(weight * u * u).sum() + 1e-12, mixed], [mixed, weight.sum() + 1e-12]], -slope)
        size = 1.0
        while (better := _loss(found + size * step, u, target)) > loss and size > 1e-10:
            size /= 2
        found, gain, loss = found + size * step, loss - better, better
        if gain <= _TOLERANCE * abs(loss) and np.abs(size * step).max() < 1e-9:
            break
    return float(found[0]), float(found[1])


def _loss(ab: np.ndarray, u: np.ndarray, target: np.ndarray) -> float:
    """-sum t ln p + (1 - t) ln(1 - p), with p = 1 / (1 + exp(z))."""
    z = ab[0] * u + ab[1]
    return float((np.logaddexp(0, z) - (1 - target) * z).sum())


@dataclass
class Reliability:
    """Confidence and accuracy in equal bins over [0, 1], of voxels that come block by block."""

    bins: int = BINS
    voxels: np.ndarray = field(init=False)
    _confidence: np.ndarray = field(init=False)
    _right: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.voxels, self._confidence, self._right = (np.zeros(self.bins) for _ in range(3))

    def add(self, confidence: np.ndarray, right: np.ndarray) -> None:
        """Count voxels: their ``confidence`` (0 to 1) and whether they are ``right``, of one shape."""
        sure, hit = np.asarray(confidence, float).ravel(), np.asarray(right, float).ravel()
        which = np.minimum((sure * self.bins).astype(int), self.bins - 1)
        self.voxels += np.bincount(which, minlength=self.bins)
        self._confidence += np.bincount(which, sure, self.bins)
        self._right += np.bincount(which, hit, self.bins)

    @property
    def ace(self) -> float:
        """See :func:`ace`; NaN without a voxel."""
        full = self.voxels > 0
        if not full.any():
            return math.nan
        return float((np.abs(self._confidence - self._right)[full] / self.voxels[full]).mean())


def ace(confidence: Sequence[float] | np.ndarray, right: Sequence[int] | np.ndarray, bins: int = BINS) -> float:
    """Average calibration error of one case: the mean over non-empty bins of abs(mean confidence - accuracy) (thesis B.10).

    Args:
        confidence: of each voxel, 0 to 1.
        right: whether each voxel's predicted label is the reference's.
        bins: number of equal bins over [0, 1]; each counts once, however many voxels it holds.

    Returns:
        The error, 0 to 1; NaN without a voxel.

    >>> round(ace([0.1, 0.15, 0.55, 0.95, 0.9], [0, 1, 1, 1, 0], bins=5), 5)
    0.41667
    """
    counted = Reliability(bins)
    counted.add(np.asarray(confidence), np.asarray(right))
    return counted.ace
