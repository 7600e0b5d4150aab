"""By how much the grey values of a CT are higher than Hounsfield units: 1024 where a rescale intercept was lost."""

from __future__ import annotations

import numpy as np

HIGHER = 1024
_VOXELS = 400_000
"""As many voxels of an image are looked at, more or less; a lattice of them."""
_SOFT = 0.15
"""The least share of soft tissue, fat and water."""
_GAP = 0.35
"""Between lung and fat there is little: at most this share of the soft tissue."""
_AIR = 0.02
"""The most that an image without air holds in air's place, of edges that were interpolated."""


def hounsfield_offset(channel: np.ndarray) -> int | None:
    """By how much an image is stored higher than Hounsfield units, if it looks like a CT.

    A CT has a peak of soft tissue, fat and water (-200 to 200), little between lung and fat (-600 to -250), and air, unless it
    was cut to the body. The lowest value does not count: it is the padding around the field of view, -1024, -2048 or -3024.

    Args:
        channel: grey values, real, of any shape.

    Returns:
        0 or 1024; None where it looks like neither.
    """
    every = max(1, round((channel.size / _VOXELS) ** (1 / max(channel.ndim, 1))))
    values = np.asarray(channel[(slice(None, None, every),) * channel.ndim], np.float32).ravel()
    values = values[values > channel.min()] if values.size else values
    if not values.size:
        return None

    def share(low: float, high: float) -> float:
        return float(np.count_nonzero((values >= low) & (values <= high))) / values.size

    def looks_like_ct(zero: float) -> bool:
        soft = share(zero - 200, zero + 200)
        return soft >= _SOFT and share(zero - 600, zero - 250) <= _GAP * soft

    # The air of what is stored higher lies where soft tissue should, so it looks like both; but nothing is in air's place.
    if looks_like_ct(HIGHER) and share(-1150, -700) <= _AIR:
        return HIGHER
    return 0 if looks_like_ct(0) else None
