"""How many paired seeds tell a difference: power of the two-sided paired t-test, and the limit of a standard deviation."""

from __future__ import annotations

import math

from scipy.optimize import brentq
from scipy.stats import chi2, nct, norm, t

ALPHA, POWER, LEVEL = 0.05, 0.8, 0.95
"""Probability of a false positive, of finding a difference that is there, and of an upper limit above the true value."""
LEAST = 2
"""Pairs without which there is no t-test."""
_ONE_SIDED = 5.0
"""Standard errors; beyond them the wrong side of the test has a probability below 3e-7, for which scipy's nct returns NaN."""
_LARGEST = 1000.0
"""Standard errors; the power is 1 there, for any number of pairs."""


def power(pairs: int, difference: float, sd: float, alpha: float = ALPHA) -> float:
    """Probability that a two-sided paired t-test finds a true difference.

    Under this difference the test's statistic has a noncentral t distribution with pairs - 1 degrees of freedom and
    noncentrality difference / sd * sqrt(pairs) (Cohen, Statistical Power Analysis for the Behavioral Sciences, chapter 2).

    Args:
        pairs: number of paired differences, here seeds; at least 2.
        difference: the true mean of the paired differences.
        sd: standard deviation of one paired difference, in the same unit; above 0.
        alpha: significance level of the test.

    Returns:
        The power, 0 to 1.

    Raises:
        ValueError: fewer than 2 pairs, or an ``sd`` that is not above 0.

    >>> round(power(10, 1.0, 1.0), 3), round(power(9, 1.0, 1.0), 3)
    (0.803, 0.748)
    """
    if pairs < LEAST or not sd > 0:
        raise ValueError(f"a paired t-test needs 2 pairs and a standard deviation above 0, given: {pairs} and {sd}")
    df, shift = pairs - 1, abs(difference) / sd * math.sqrt(pairs)
    critical = float(t.ppf(1 - alpha / 2, df))
    wrong_side = nct.cdf(-critical, df, shift) if shift < _ONE_SIDED else 0.0
    return float(nct.sf(critical, df, min(shift, _LARGEST)) + wrong_side)


def seeds_needed(difference: float, sd: float, alpha: float = ALPHA, wanted: float = POWER) -> int:
    """Smallest number of paired seeds with which a two-sided paired t-test has the wanted power.

    Args:
        difference: the true difference that is to be found; not 0.
        sd: standard deviation of the paired differences, in the same unit; above 0.
        alpha: significance level of the test.
        wanted: the power, between ``alpha`` and 1.

    Returns:
        The number of seeds, at least 2.

    Raises:
        ValueError: a difference of 0, an ``sd`` that is not above 0, or a power that is not between ``alpha`` and 1.

    >>> seeds_needed(1.0, 1.0), seeds_needed(0.5, 1.0), seeds_needed(2.0, 1.0)
    (10, 34, 5)
    """
    if not (difference and alpha < wanted < 1 and sd > 0):
        raise ValueError(f"no number of pairs has the power {wanted} for a difference of {difference} and a deviation of {sd}")
    # With a deviation that is known, fewer suffice; the power grows with the number of pairs.
    low = max(LEAST, math.floor(((norm.ppf(1 - alpha / 2) + norm.ppf(wanted)) * sd / difference) ** 2))
    if power(low, difference, sd, alpha) >= wanted:
        return low
    high = low + 1
    while power(high, difference, sd, alpha) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle, difference, sd, alpha) >= wanted else (middle, high)
    return high


def detectable(pairs: int, sd: float, alpha: float = ALPHA, wanted: float = POWER) -> float:
    """Smallest true difference that a two-sided paired t-test finds with the wanted power; arguments as :func:`seeds_needed`.

    >>> round(detectable(10, 1.0), 2), round(detectable(3, 1.0), 2)
    (1.0, 3.26)
    """
    if pairs < LEAST or not sd >= 0 or not alpha < wanted < 1:
        raise ValueError(f"a paired t-test needs 2 pairs and a standard deviation, given: {pairs} and {sd}")
    high = 1.0
    while power(pairs, high, 1.0, alpha) < wanted:
        high *= 2
    return sd * float(brentq(lambda shift: power(pairs, shift, 1.0, alpha) - wanted, 0.0, high))


def upper_limit(sd: float, df: float, level: float = LEVEL) -> float:
    """One-sided upper confidence limit of a standard deviation of normal values, from the chi-squared distribution.

    Args:
        sd: the estimate, the root of a mean square.
        df: its degrees of freedom; above 0.
        level: probability that the limit is above the true standard deviation.

    Returns:
        The limit, in the unit of ``sd``.

    Raises:
        ValueError: there is no degree of freedom.

    >>> round(upper_limit(1.0, 2), 2), round(upper_limit(1.0, 30), 2)
    (4.42, 1.27)
    """
    if not df > 0:
        raise ValueError("a standard deviation needs at least one degree of freedom")
    return sd * math.sqrt(df / float(chi2.ppf(1 - level, df)))
