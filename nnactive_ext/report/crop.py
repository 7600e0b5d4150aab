"""A queried patch with what was seen, predicted and annotated around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnactive_ext.geometry.patch import Patch
from nnactive_ext.geometry.space import Space


@dataclass(frozen=True, eq=False)
class Crop:
    """All arrays are (z, y, x), of one shape, on the image's own grid.

    ``cycle``: in whose loop file the patch is (0: the starting budget); ``patch`` in voxels of the image, ``box`` the same
    in voxels of the crop. ``stratum``, ``score``: as the loop file has them ("" and None where it does not say).
    ``overlap``: the share of the patch's voxels that patches of earlier cycles cover, 0 to 1. ``image``: float32, one
    channel. ``annotation``: the partial labels as they are now, ``ignore`` where nobody annotated; None where the file is
    gone. ``prediction``: the label map of the members that chose the patch (of ``cycle - 1``); ``uncertainty``: the
    entropy of their mean prediction in nat, float32. Where these two are None, ``missing`` says why, in a sentence for
    people; else it is empty. ``space`` is that of the crop, not of the whole image. ``ignore``: the value in ``annotation``
    where nobody annotated (-1: there is none).
    """

    cycle: int
    patch: Patch
    box: Patch
    stratum: str
    score: float | None
    overlap: float
    image: np.ndarray
    annotation: np.ndarray | None
    prediction: np.ndarray | None
    uncertainty: np.ndarray | None
    space: Space
    missing: str
    ignore: int = -1
