"""Volumes as microscopes' software writes them: OME-Zarr of both versions, with a pyramid, and tiled TIFF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr


def write_zarr(
    path: Path,
    voxels: np.ndarray,
    axes: str = "zyx",
    scale: Sequence[float] = (2.0, 0.5, 0.5),
    unit: str = "micrometer",
    version: str = "0.5",
    levels: int = 2,
    chunks: int = 16,
    shards: int = 0,
    channels: Sequence[str] = (),
    more: dict[str, Any] | None = None,
    translation: Sequence[float] = (0.0, 0.0, 0.0),
) -> Path:
    """``scale`` and ``translation`` along (z, y, x) in ``unit``; each level takes every second voxel of the one before."""
    group = zarr.open_group(path, mode="w", zarr_format=3 if version == "0.5" else 2)
    datasets = []
    for level in range(levels):
        step = 2**level
        array = voxels[tuple(slice(None, None, step if axis in "zyx" else 1) for axis in axes)]
        side = tuple(chunks if axis in "zyx" else 1 for axis in axes)
        given = {"shards": tuple(shards if axis in "zyx" else 1 for axis in axes)} if shards else {}
        made = group.create_array(str(level), shape=array.shape, chunks=side, dtype=array.dtype, **given)
        made[...] = array
        along = dict(zip("zyx", scale, strict=True))
        places = dict(zip("zyx", translation, strict=True))
        steps: list[dict[str, Any]] = [
            {"type": "scale", "scale": [along[axis] * step if axis in along else 1.0 for axis in axes]}
        ]
        if any(translation):
            steps.append({"type": "translation", "translation": [places.get(axis, 0.0) for axis in axes]})
        datasets.append({"path": str(level), "coordinateTransformations": steps})
    kinds = {"c": "channel", "t": "time"}
    described = [
        {"name": axis, "type": kinds.get(axis, "space"), **({"unit": unit} if unit and axis in "zyx" else {})} for axis in axes
    ]
    image = {"name": path.stem, "axes": described, "datasets": datasets, **(more or {})}
    content: dict[str, Any] = {"multiscales": [image]}
    if channels:
        content["omero"] = {"channels": [{"label": name, "color": "FFFFFF"} for name in channels]}
    if version == "0.5":
        group.attrs["ome"] = {"version": version, **content}
    else:
        image["version"] = version
        group.attrs.update(content)
    return path


def brain(shape: Sequence[int] = (48, 64, 80), seed: int = 0) -> np.ndarray:
    """16 bit: an ellipsoid with bright spots in it, dark and empty around."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    body = (z / 0.9) ** 2 + (y / 0.85) ** 2 + (x / 0.8) ** 2 < 1
    spots = np.sin(9 * z) * np.sin(11 * y) * np.sin(13 * x) > 0.3
    image = 100 + body * (400 + 300 * x + 700 * spots) + rng.normal(0, 8, shape) * (1 + 3 * body)
    return image.clip(0, 65535).astype(np.uint16)
