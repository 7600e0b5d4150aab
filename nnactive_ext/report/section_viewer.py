"""Section 4 of the report: a few crops in an interactive 3D viewer, with pictures of them where it cannot run."""

from __future__ import annotations

import base64
import gzip
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from nnactive_ext.experiment.plan import ALL_LABELS
from nnactive_ext.geometry.space import Space
from nnactive_ext.pages.colours import UNSURE
from nnactive_ext.pages.slices import grey_window
from nnactive_ext.report.crop import Crop, thinned
from nnactive_ext.report.facts import Facts
from nnactive_ext.report.section_gallery import anchor, place

MOST_VOXELS = 300_000
"""Of a volume: noise packs badly, and four volumes of this many stay below 500 kB."""
Volumes = Callable[[Crop], Mapping[str, bytes]]
"""The layers of a crop as .nii.gz."""
_LAYERS = {"prediction": 50, "uncertainty": 0, "annotation": 0}
"""Their opacity at first, in per cent."""


@dataclass(frozen=True)
class Choice:
    """A crop that can be looked at: its ``picture`` is the id of its figure, and ``data`` is for the viewer's script."""

    case: str
    cycle: int
    stratum: str
    place: str
    picture: str
    data: Mapping[str, Any]


def chosen(facts: Facts, most: int, pictures: int) -> list[Crop]:
    """The crops worth turning around: those with a prediction first, of the last queries, of each reason they were asked
    for in turn. Only the first ``pictures`` of each cycle count, as the others are not in the gallery."""
    found: list[Crop] = []
    for cycle in sorted(facts.crops, reverse=True):
        seen: Counter[str] = Counter()
        turns = []
        for crop in facts.crops[cycle][:pictures]:
            turns.append((seen[crop.stratum], crop))
            seen[crop.stratum] += 1
        found += [crop for _, crop in sorted(turns, key=lambda turn: turn[0])]  # stable, as is the next one
    return sorted(found, key=lambda crop: crop.prediction is None)[:most]


def viewer(facts: Facts, crops: Sequence[Crop], volumes: Volumes) -> dict[str, Any]:
    """What ``viewer.html`` says; without ``crops`` there is no viewer."""
    return {
        "queried": facts.plan.purpose != ALL_LABELS,
        "choices": [_choice(crop, volumes) for crop in crops],
        "layers": _LAYERS,
        "settings": _settings(facts),
    }


def _choice(crop: Crop, volumes: Volumes) -> Choice:
    return Choice(crop.patch.case, crop.cycle, crop.stratum, place(crop), anchor(crop), _data(crop, volumes))


def _data(crop: Crop, volumes: Volumes) -> dict[str, Any]:
    layers = {name: base64.b64encode(content).decode() for name, content in volumes(crop).items()}
    return {
        "volumes": {name: layers[name] for name in ("image", *_LAYERS) if name in layers},  # drawn in this order
        "window": [float(edge) for edge in grey_window(crop.image, crop.box)],
        "frame": frame(crop),
        "middle": _ras(crop, [a + (n - 1) / 2 for a, n in zip(crop.box.start, crop.box.size, strict=True)]),
    }


def _settings(facts: Facts) -> dict[str, Any]:
    """The table of colours: background, ignore and what has no colour are not drawn."""
    values = {value: (*colour, 255) for value, colour in facts.by_value.items()}
    rows = [values.get(value, (0, 0, 0, 0)) for value in range(facts.labels.ignore + 1)]
    red, green, blue, alpha = (list(column) for column in zip(*rows, strict=True))
    labels = {"R": red, "G": green, "B": blue, "A": alpha, "I": list(range(len(rows))), "labels": [""] * len(rows)}
    return {"labels": labels, "unsure": UNSURE}


def frame(crop: Crop) -> dict[str, Any]:
    """The edges of the query patch in RAS mm, as niivue takes nodes and edges."""
    corners = list(product((0, 1), repeat=3))
    ends = [
        [start - 0.5 + side * size for start, size, side in zip(crop.box.start, crop.box.size, corner, strict=True)]
        for corner in corners
    ]
    nodes = [
        {"name": "", "x": x, "y": y, "z": z, "colorValue": 1, "sizeValue": 0.01}
        for x, y, z in (_ras(crop, end) for end in ends)
    ]
    edges = [
        {"first": i, "second": j, "colorValue": 1}
        for i, one in enumerate(corners)
        for j, other in enumerate(corners)
        if i < j and sum(a != b for a, b in zip(one, other, strict=True)) == 1
    ]
    thin = 0.006 * max(n * mm for n, mm in zip(crop.space.shape, crop.space.spacing_zyx, strict=True))
    return {
        "name": "box",
        "nodeColormap": "warm",
        "nodeColormapNegative": "winter",
        "nodeMinColor": 0,
        "nodeMaxColor": 1,
        "nodeScale": thin,
        "edgeColormap": "warm",
        "edgeColormapNegative": "winter",
        "edgeMin": 0,
        "edgeMax": 1,
        "edgeScale": thin,
        "legendLineThickness": 0,
        "showLegend": False,
        "nodes": nodes,
        "edges": edges,
    }


def _ras(crop: Crop, index: Sequence[float]) -> list[float]:
    """An index (z, y, x) of the crop in RAS mm."""
    x, y, z = crop.space.to_world(index)
    return [-float(x), -float(y), float(z)]


def volumes(crop: Crop) -> dict[str, bytes]:
    """Name -> the bytes of a ``.nii.gz``; what the crop has not is left out.

    ``image``: grey values within the window that the pictures have, in 256 steps; ``prediction`` and ``annotation``: label
    values, the latter with 0 where nobody annotated; ``uncertainty``: nat, in 256 steps. Steps are scaled in the header, so
    viewers show the values meant. Larger crops are thinned out along their finest axes.
    """
    low, high = grey_window(crop.image, crop.box)
    image = np.nan_to_num(np.clip(crop.image, low, high), nan=low)
    crop = thinned(replace(crop, image=image), MOST_VOXELS)
    found = {"image": _scaled(crop.image, crop.space, low, high)}
    if crop.annotation is not None:
        known = np.where(crop.annotation != crop.ignore, crop.annotation, 0)
        found["annotation"] = _nifti(known.astype(crop.annotation.dtype), crop.space)
    if crop.prediction is not None:
        found["prediction"] = _nifti(crop.prediction, crop.space)
    if crop.uncertainty is not None:
        most = max(UNSURE, float(crop.uncertainty.max()))
        found["uncertainty"] = _scaled(crop.uncertainty, crop.space, 0, most)
    return found


def _scaled(array: np.ndarray, space: Space, low: float, high: float) -> bytes:
    """With 256 values from ``low`` to ``high``."""
    slope = (high - low) / 255 or 1.0
    return _nifti(np.clip(np.rint((array - low) / slope), 0, 255).astype(np.uint8), space, slope, low)


def _nifti(array: np.ndarray, space: Space, slope: float = 1.0, intercept: float = 0.0) -> bytes:
    import nibabel

    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ space.affine  # NIfTI's RAS
    image = nibabel.Nifti1Image(np.ascontiguousarray(array.T), affine)
    image.header.set_slope_inter(slope, intercept)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    return gzip.compress(image.to_bytes(), compresslevel=9, mtime=0)  # no date: the same crop gives the same bytes
