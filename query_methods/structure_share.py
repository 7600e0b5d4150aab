"""When a patch counts for a class: it holds a share of its structure, or is filled by it; and where structures are deepest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from nnactive_ext.geometry.patch import Patch, Slices, Triple, triple
from nnactive_ext.query_methods.references import Reference

LEAST_SHARE = 0.1
"""Of the largest component of the class in the case, or of the patch where that is smaller."""
BACKGROUND = 0


def holds(reference: Reference, patch: Patch, label: int, share: float = LEAST_SHARE) -> bool:
    """Whether a patch counts for a class.

    Args:
        reference: of the patch's case.
        patch: any patch of it.
        label: the class, or 0 for the background.
        share: of the largest component of the class in this case that must be in the patch, or of the patch's voxels that the
            class must fill, whichever are fewer; with 0, a single voxel counts.
    """
    inside = int(np.count_nonzero(reference.labels(patch.slices) == label))
    if inside == 0 or inside >= share * patch.voxels:
        return inside > 0
    return label != BACKGROUND and inside >= share * reference.largest_voxels(label)


def deepest(reference: Reference, label: int, allowed: Callable[[Slices], np.ndarray], size: Triple) -> Triple | None:
    """The voxel of the largest component of a class that is farthest from its border, among the ``allowed`` ones (bool in a
    box); None if there is none. Distances are in patches of ``size`` voxels, so that spacings do not matter."""
    box, component = reference.largest(label)
    # Padded, because a structure that the image cuts is not deep there.
    depth = ndimage.distance_transform_edt(np.pad(component, 1), sampling=[1 / n for n in size])[1:-1, 1:-1, 1:-1]
    depth = np.where(allowed(box), depth, 0)
    if not depth.any():
        return None
    at = np.unravel_index(int(np.argmax(depth)), depth.shape)
    return triple([int(i) + s.start for i, s in zip(at, box, strict=True)])
