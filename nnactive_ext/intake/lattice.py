"""Label maps that come with images, laid on the lattice of their image's array."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nnactive_ext.annotation.label_files import LabelFile, read_label_file
from nnactive_ext.errors import NnActiveError
from nnactive_ext.space import Space, align


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
    window = tuple(slice(-low, n - low) for low, n in zip(placed.start, space.shape, strict=True))
    if any(w.start < 0 or w.stop > n for w, n in zip(window, labels.shape, strict=True)):
        if returned.whole:
            raise NnActiveError(f"{file}: covers only a part of its image. Pad it (with ignore where nothing is labelled).")
        full = np.zeros(space.shape, labels.dtype)  # a .seg.nrrd is cut to its segments
        inner = tuple(slice(max(0, low), low + n) for low, n in zip(placed.start, labels.shape, strict=True))
        cut = tuple(slice(max(0, -low), n - low) for low, n in zip(placed.start, space.shape, strict=True))
        full[inner] = labels[cut]
        return full
    return np.ascontiguousarray(labels[window])
