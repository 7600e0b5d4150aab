"""exp and ln of single numbers in single precision, written so that loops over them are vectorised."""

from __future__ import annotations

from functools import partial

import numpy as np

from nnactive_ext.engine.compiling import kernel

fused = partial(kernel, error_model="numpy", fastmath={"contract"})
"""How loops over these are compiled: without a check for divisions by zero, and a x b + c may be rounded once."""

LEAST = np.float32(-87.0)
"""exp of anything below is 0: the smallest normal number is exp(-87.3)."""
_LOG2E, _LN2 = np.float32(np.log2(np.e)), np.float32(np.log(2))
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # the first has 10 bits, so n times it is exact
_ROUND = np.float32(1.5 * 2**23)  # added to a number, it leaves the nearest whole number in the last bits
_SQRT_HALF = int(np.float32(np.sqrt(0.5)).view(np.int32))


@fused
def exp(d):
    """exp(d) for d <= 0, right to 1e-7 of itself; exactly 1 for 0, and 0 below :data:`LEAST`.

    d = n ln 2 + r with |r| <= ln 2 / 2; exp(r) is Cephes' polynomial, and n goes into the exponent.
    """
    bounded = max(d, LEAST)
    shifted = bounded * _LOG2E + _ROUND
    n = shifted - _ROUND
    r = (bounded - n * _LN2_HIGH) - n * _LN2_LOW
    series = np.float32(1.9875691500e-4) * r + np.float32(1.3981999507e-3)
    series = series * r + np.float32(8.3334519073e-3)
    series = series * r + np.float32(4.1665795894e-2)
    series = series * r + np.float32(1.6666665459e-1)
    series = series * r + np.float32(5.0000001201e-1)
    power = (series * r) * r + r + np.float32(1)
    bits = np.float32(power).view(np.int32) + (np.float32(shifted).view(np.int32) << np.int32(23))
    return np.int32(bits).view(np.float32) if d >= LEAST else np.float32(0)


@fused
def ln(x):
    """ln(x) of a normal number, right to 3e-7 of itself and exactly 0 for 1, as in :mod:`nnactive_ext.engine.entropy`."""
    bits = np.float32(x).view(np.int32)
    exponent = np.int32((bits - np.int32(_SQRT_HALF)) >> np.int32(23))
    mantissa = np.int32(bits - (exponent << np.int32(23))).view(np.float32)
    s = (mantissa - np.float32(1)) / (mantissa + np.float32(1))
    q = s * s
    series = np.float32(1 / 7) + q * np.float32(1 / 9)
    series = np.float32(1 / 5) + q * series
    series = np.float32(1 / 3) + q * series
    return np.float32(2) * s * (np.float32(1) + q * series) + np.float32(exponent) * _LN2
