"""The size of the query patch in mm, from what is known of the structures' sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.plan import Geometry
from nnactive_ext.planning.budget import check_fits, parse_patch_size, patch_size_from_structures
from nnactive_ext.planning.measure import Measured


def query_patch_mm(
    folder: Path,
    measured: Mapping[str, Measured],
    geometry: Mapping[str, Geometry],
    labels: Sequence[str],
    asked: Sequence[str] | None,
    structures: Sequence[str],
    rows: list[tuple[str, str, str]],
) -> tuple[float, float, float]:
    """As ``asked`` for (-patch_size), else from the ``structures`` given (-structures), else from the label maps that were
    ``measured``; the decision is added to ``rows``. ``labels`` are the foreground classes, of value 1 and so on. One of
    the three must be there, and fit into an image of the pool, whose ``geometry`` this is; anything else is an error."""
    spacing = np.median([g.spacing for g in geometry.values()], axis=0).tolist()
    labelled = [v for v in range(1, len(labels) + 1) if any(v in m.extents for m in measured.values())]
    if asked:
        size_mm, why = parse_patch_size(list(asked), spacing), "as asked for"
    elif structures:
        sizes = structure_sizes(structures, labels)
        z, y, x = np.median(list(sizes.values()), axis=0)
        size_mm, why = (float(z), float(y), float(x)), f"median of the structures given: {', '.join(sizes)} (D.5)"
    elif labelled:
        size_mm = patch_size_from_structures(measured.values(), labelled)
        why = f"largest component per class in {len(measured)} label maps: median over images, then over classes (D.5)"
    else:
        raise NnActiveError(
            f"{folder}: how large are the structures? Say it in mm for those that matter, e.g. -structures "
            f"{labels[-1]}=25 (or =20x25x25 along z y x), give dense label maps (-label_maps), or the size of the box "
            "itself (-patch_size 32mm)."
        )
    check_fits(size_mm, [Measured(g.shape, g.spacing) for g in geometry.values()])
    text = " x ".join(f"{mm:.4g}" for mm in size_mm)
    rows.append(("query patch (z, y, x)", f"{text} mm", why))
    voxels = [max(1, round(mm / s)) for mm, s in zip(size_mm, spacing, strict=True)]
    rows.append(("", f"{'x'.join(map(str, voxels))} voxels", "at the median spacing; each case has it in voxels of its own"))
    return size_mm


def structure_sizes(words: Sequence[str], labels: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """``["tumour=25", "vessel=40x8x8"]`` -> mm along (z, y, x) by name."""
    sizes = {}
    for word in words:
        name, equals, text = word.rpartition("=")
        try:
            numbers = [float(n) for n in text.removesuffix("mm").split("x")]
        except ValueError:
            numbers = []
        good = len(numbers) in (1, 3) and all(math.isfinite(n) and n > 0 for n in numbers)
        if not equals or name not in labels or not good:
            raise NnActiveError(f"-structures {word}: write NAME=MM or NAME=ZxYxX in mm, with a NAME of --labels.")
        z, y, x = numbers * (3 // len(numbers))
        sizes[name] = (z, y, x)
    return sizes
