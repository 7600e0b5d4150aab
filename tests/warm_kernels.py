"""Loads the engine's compiled kernels when it is imported: a server that forks from here saves each child a second.

The maps are so small that the engine starts no threads, which a fork would lose.
"""

from __future__ import annotations

import numpy as np

from nnactive_ext.engine import add_entropy, box_means, select

_MAP = np.ones((4, 4, 4), np.float32)
add_entropy(_MAP.copy(), _MAP / 2)
add_entropy(_MAP.copy(), _MAP / 2, binary=True)
_SCORES = box_means(_MAP, (2, 2, 2))
box_means(_MAP, (2, 2, 2), _MAP)
select(_SCORES, (2, 2, 2), 2, blocked=[((0, 0, 0), (1, 1, 1))])
select(_SCORES, (2, 2, 2), 2, beta=1.0, rng=np.random.default_rng(0))
