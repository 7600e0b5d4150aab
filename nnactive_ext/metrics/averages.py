"""Means with what they rest on: over the seeds of a setting, and over settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class MeanAndSpread(NamedTuple):
    """Mean over seeds, and how far the seeds lie apart."""

    mean: float
    """NaN where there is no value."""
    std: float
    """Sample standard deviation (divided by n - 1); NaN for fewer than two values."""
    n: int
    """How many values both rest on."""


def mean_and_spread(values: Sequence[float]) -> MeanAndSpread:
    """Mean, sample standard deviation and number of the values that are not NaN.

    The deviation is divided by n - 1, as the published spreads are: the authors' code takes them from pandas, whose
    default that is. One seed has no spread, which is NaN and not 0.

    >>> mean_and_spread([1.0, 3.0, math.nan])
    MeanAndSpread(mean=2.0, std=1.4142135623730951, n=2)
    >>> mean_and_spread([0.5])
    MeanAndSpread(mean=0.5, std=nan, n=1)
    """
    known = [float(v) for v in values if not math.isnan(v)]
    # fsum does not depend on the order of the seeds.
    mean = math.fsum(known) / len(known) if known else math.nan
    std = math.sqrt(math.fsum((v - mean) ** 2 for v in known) / (len(known) - 1)) if len(known) > 1 else math.nan
    return MeanAndSpread(mean, std, len(known))


def average_over_settings(means: Sequence[float], spreads: Sequence[float], seeds: int | Sequence[int]) -> tuple[float, float]:
    """Mean over settings, and 1.96 of its standard errors over seeds: 1.96 * sqrt(sum of spread^2 / (n^2 * seeds)).

    ``means`` and ``spreads`` (sample standard deviations over seeds) have one number for each of the n settings; ``seeds``
    is how many each rests on, one number for all or one for each. It is about other seeds in the same settings and says
    nothing of other datasets. The factor 1.96 is the published one. It would give a 95 % interval if the deviations were
    known; estimated from few seeds, it covers less: in one setting 70 % with 2 seeds, 81 % with 3, 86 % with 4.
    A NaN mean makes both NaN, a NaN spread the width: leave a setting out for all methods or for none. Different
    lengths, no setting, a negative spread or fewer than one seed are a ValueError. (Table 8.1 from D.3 and D.4.)

    >>> average_over_settings([0.5, 0.7], [0.06, 0.08], seeds=4)
    (0.6, 0.049)
    """
    mean, spread = np.asarray(means, float), np.asarray(spreads, float)
    if mean.ndim != 1 or mean.shape != spread.shape or not len(mean):
        raise ValueError(f"each setting needs a mean and a spread, given: {mean.shape} means, {spread.shape} spreads")
    count = np.broadcast_to(np.asarray(seeds), mean.shape) if np.ndim(seeds) == 0 else np.asarray(seeds)
    if count.shape != mean.shape or (count < 1).any() or (spread < 0).any():
        raise ValueError(f"each setting needs at least one seed and a spread of 0 or more, given: {seeds} and {spreads}")
    variance = math.fsum(spread**2 / count) / len(mean) ** 2
    return math.fsum(mean) / len(mean), 1.96 * math.sqrt(variance)
