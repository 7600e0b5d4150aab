"""Label maps that come with images, laid on the lattice of their image's array."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.patch import Patch, shared, triple
from nnactive_ext.geometry.space import Space, align
from nnactive_ext.images.label_files import LabelFile, read_label_file


def on_lattice(file: Path, names: Mapping[str, int], space: Space) -> np.ndarray:
    """The label map of ``file`` as an array (z, y, x) in ``space``; one that does not cover it all is an error."""
    return laid(file, read_label_file(file, names), space)


def laid(file: Path, returned: LabelFile, space: Space) -> np.ndarray:
    """As :func:`on_lattice`, of a ``file`` that was read."""
    try:
        placed = align(space, returned.space)
    except ValueError as error:
        raise NnActiveError(f"{file}: not the geometry of its image: {error}. Resample it to the image.") from None
    labels = placed.turned(returned.labels)
    target, source = shared(Patch("", (0, 0, 0), space.shape), Patch("", placed.start, triple(labels.shape)))
    if returned.whole and labels[source].shape != space.shape:
        raise NnActiveError(f"{file}: covers only a part of its image. Pad it (with ignore where nothing is labelled).")
    full = np.zeros(space.shape, labels.dtype)  # a .seg.nrrd is cut to its segments: beyond, it says background
    full[target] = labels[source]
    return full
