"""The vectors of SISOM: activations of several layers, weighted by their gradients and squashed with a steepness per layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnactive_ext.selection.sisom import Origin, average, leave_one_out

FACTORS = (0.1, 1.0, 10.0)
ROUNDS = 2


def weighted_activations(products: Sequence[np.ndarray], steepness: Sequence[float]) -> np.ndarray:
    """sigma(alpha_j h_j g_j) of all layers j, concatenated (SISOM, Eq 13).

    Args:
        products: per layer the pooled activation times the pooled gradient of the divergence, float (N, D_j).
        steepness: alpha_j.

    Returns:
        float32 (N, sum of D_j), in 0 .. 1; 1/2 where the product is 0.
    """
    z = [0.5 + 0.5 * np.tanh(0.5 * a * np.asarray(p, np.float64)) for p, a in zip(products, steepness, strict=True)]
    return np.concatenate(z, axis=1).astype(np.float32)


def automatic_steepness(products: Sequence[np.ndarray]) -> list[float]:
    """alpha_j = 1 / median of abs(h_j g_j) over the bank's patches and all neurons, zeros left out; 1 where all are 0.

    Args:
        products: per layer, of the bank, float (M, D_j).

    Returns:
        alpha_j, one per layer.
    """
    found = []
    for product in products:
        sizes = np.abs(np.asarray(product, np.float64))
        sizes = sizes[sizes > 0]
        found.append(1 / float(np.median(sizes)) if sizes.size else 1.0)
    return found


def searched_steepness(products: Sequence[np.ndarray], classes: np.ndarray, *, origin: Origin = "query") -> list[float]:
    """The automatic steepness times 0.1, 1 or 10 per layer, by the smallest r_avg of the bank (SISOM, its "(5)").

    One layer is searched after the other, twice round; where nothing is better, a factor stays.

    Args:
        products: per layer, of the bank, float (M, D_j).
        classes: int (M,), of the bank.
        origin: as in :func:`~nnactive_ext.selection.sisom.sisom_ratios`.

    Returns:
        alpha_j, one per layer.
    """
    automatic = automatic_steepness(products)
    factors = [1.0] * len(products)

    def judged(trial: Sequence[float]) -> float:
        z = weighted_activations(products, [a * f for a, f in zip(automatic, trial, strict=True)])
        return average(leave_one_out(z, classes, origin=origin))

    best = judged(factors)
    for _ in range(ROUNDS):
        for layer in range(len(factors)):
            for factor in FACTORS:
                trial = [*factors[:layer], factor, *factors[layer + 1 :]]
                if trial != factors and (found := judged(trial)) < best:
                    best, factors = found, trial
    return [a * f for a, f in zip(automatic, factors, strict=True)]
