"""BADGE: the gradient of the last layer as the descriptor of a patch."""

from __future__ import annotations

import numpy as np

VOXELS = 65536


def badge_gradient(p: np.ndarray, phi: np.ndarray, regions: bool = False) -> np.ndarray:
    """The gradient by the last layer's weights of the patch's mean cross-entropy, the prediction taken as label.

    It is the mean over voxels of (p - e_argmax) (x) phi (thesis Eq 3.7; Ash et al., ICLR 2020), without the bias, as in the
    published code. Gradients of the two sides of a boundary point in opposite directions and cancel, so its length does not
    measure uncertainty.

    Args:
        p: float (C, ...), one member's probabilities of the classes, background included, or of regions.
        phi: float (F, ...), the input of the last layer in the same voxels.
        regions: p are independent probabilities; the label of each is p > 1/2.

    Returns:
        float32 (C F,), all features of class 0, then of class 1, and so on; summed in double precision.

    >>> badge_gradient(np.array([[.7, .6, .4, .45], [.3, .4, .6, .55]]), np.array([[1, 1, 1, 0], [0, 1, 1, 2]]))
    array([-0.075,  0.225,  0.075, -0.225], dtype=float32)
    """
    p, phi = p.reshape(len(p), -1), phi.reshape(len(phi), -1)
    total = np.zeros((len(p), len(phi)))
    for start in range(0, p.shape[1], VOXELS):
        part = slice(start, start + VOXELS)
        residual = p[:, part].astype(np.float64)
        label = residual > 0.5 if regions else np.arange(len(p))[:, None] == residual.argmax(0)
        residual -= label
        total += residual @ phi[:, part].astype(np.float64).T
    return (total / p.shape[1]).astype(np.float32).ravel()
