"""One Gaussian over all windows of the reference, in the space of the principal components that hold their variance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

VARIANCE = 0.99
"""The share of the variance that the principal components hold."""
PER_COMPONENT = 10
"""Windows of the reference per principal component, at least."""


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian in the space of q principal components.

    ``mean`` float64 (D,), ``components`` float64 (q, D), orthonormal, and ``variances`` float64 (q,), after shrinkage.
    """

    mean: np.ndarray
    components: np.ndarray
    variances: np.ndarray

    @classmethod
    def fitted(cls, reference: np.ndarray, shrinkage: float | None = None, components: int | None = None) -> Gaussian:
        """Fit to windows, by maximum likelihood.

        Args:
            reference: float (N, D), N >= 1.
            shrinkage: towards the mean variance of the components, 0 to 1 (default: Ledoit and Wolf's; 2004).
            components: principal components that are kept (default: as many as hold 99 % of the variance, at most N / 10, at
                least one).

        Raises:
            ValueError: no window, or a value is not finite.
        """
        values = np.asarray(reference, np.float64)
        if not len(values) or not np.isfinite(values).all():
            raise ValueError(f"a Gaussian needs finite windows (N, D), given: {values.shape}")
        mean = values.mean(0)
        centred = values - mean
        found, axes = np.linalg.eigh(centred.T @ centred / len(values))
        found, axes = np.maximum(found[::-1], 0), axes[:, ::-1].T
        if not components:
            holding = int((np.cumsum(found) < VARIANCE * found.sum()).sum()) + 1
            components = min(holding, max(1, len(values) // PER_COMPONENT)) if found.any() else len(found)
        directions, variances = axes[:components], found[:components]
        if shrinkage is None:
            from sklearn.covariance import ledoit_wolf_shrinkage

            shrinkage = float(ledoit_wolf_shrinkage(centred @ directions.T, assume_centered=True))
        return cls(mean, directions, (1 - shrinkage) * variances + shrinkage * variances.mean())

    def squared(self, windows: np.ndarray) -> np.ndarray:
        """The squared Mahalanobis distances of windows (M, D), float64 (M,): infinite off a direction without variance."""
        along = ((np.asarray(windows, np.float64) - self.mean) @ self.components.T) ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(along > 0, along / self.variances, 0).sum(1)
