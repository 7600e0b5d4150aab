"""Made-up images of kinds that hospitals and microscopes have and the product's own phantom is not, small enough for tests.

Arrays and centres run along (z, y, x); lengths are mm. Equal arguments give equal images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from nnactive_ext.files import write_json
from nnactive_ext.geometry.patch import triple
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.writing import write_image

CARDIAC = ("left_ventricle", "myocardium", "right_ventricle")
ORGANS = (
    *("spleen", "right_kidney", "left_kidney", "gallbladder", "oesophagus", "liver", "stomach"),
    *("aorta", "vena_cava", "portal_vein", "pancreas", "right_adrenal", "left_adrenal"),
)
"""Those of abdominal CT datasets with 13 classes; the oesophagus and the adrenals are tiny."""
NORMALS = ((0.80, 0.45, 0.40), (0.45, 0.80, 0.40), (0.66, 0.55, 0.51), (-0.5, 0.75, 0.43), (0.72, -0.5, 0.48))
"""World directions of the slice axis of short-axis cardiac images: the closest world axis is x in some and y in others."""


@dataclass(frozen=True)
class Made:
    """One case: ``channels`` and ``labels`` (z, y, x), the ``names`` of labels 1, 2, ..., spacing in mm along (z, y, x), and
    ITK's direction (row-major, columns are the axes x, y, z)."""

    channels: tuple[np.ndarray, ...]
    labels: np.ndarray
    names: tuple[str, ...]
    spacing: tuple[float, float, float]
    direction: tuple[float, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1)

    @property
    def space(self) -> Space:
        z, y, x = self.spacing
        return Space(triple(self.labels.shape), (x, y, z), (0.0, 0.0, 0.0), self.direction)

    def stored(self, axes: Sequence[int], flips: Sequence[bool] = (False, False, False)) -> Made:
        """The same anatomy at the same place, stored with its array axes in the order ``axes`` and then flipped. (The origin
        is that of the new first voxel only up to a shift.)"""
        turned = [np.flip(np.transpose(a, axes), np.flatnonzero(flips)) for a in (*self.channels, self.labels)]
        columns = np.reshape(self.direction, (3, 3))[:, ::-1][:, list(axes)] * np.where(flips, -1, 1)  # along (z, y, x)
        z, y, x = (self.spacing[axis] for axis in axes)
        return replace(
            self,
            channels=tuple(np.ascontiguousarray(a) for a in turned[:-1]),
            labels=np.ascontiguousarray(turned[-1]),
            spacing=(z, y, x),
            direction=tuple(columns[:, ::-1].ravel().tolist()),
        )


def cardiac(seed: int, normal: Sequence[float] = NORMALS[0], slices: int = 10) -> Made:
    """Short-axis cardiac MRI: ``slices`` x 64 x 64 voxels of 8 x 1.25 x 1.25 mm, whose slice axis lies along ``normal``."""
    canvas = _Canvas((slices, 64, 64), (8.0, 1.25, 1.25), 12, seed)
    canvas.paint(0, 300, (0, 0, 0), (400, 38, 34))
    canvas.paint(3, 700, (0, 2, -19), (26, 12, 8))
    canvas.paint(2, 250, (0, 0, 0), (32, 15, 15))
    canvas.paint(1, 750, (0, 0, 0), (28, 9.5, 9.5))
    third = np.asarray(normal) / np.linalg.norm(normal)
    first = np.cross((0.0, 0.0, 1.0), third)
    first /= np.linalg.norm(first)
    direction = np.stack([first, np.cross(third, first), third], axis=1)
    return replace(canvas.made(CARDIAC), direction=tuple(direction.ravel().tolist()))


def vessels(seed: int, shape: Sequence[int] = (21, 160, 160)) -> Made:
    """A connected vessel tree under a microscope, 5 x 1 x 1 mm; its bounding box is nearly the image, and there is no air."""
    rng = np.random.default_rng(seed)
    depth = np.zeros(shape, bool)
    for _ in range(6):
        start, end = (rng.uniform(0, 1, 3) * shape for _ in range(2))
        start[1], end[1] = 0, shape[1] - 1
        bend = np.array(shape) / 2  # all run through the centre
        t = np.linspace(0, 1, 400)[:, None]
        line = (1 - t) ** 2 * start + 2 * t * (1 - t) * (2 * bend - (start + end) / 2) + t**2 * end
        at = np.clip(line.round().astype(int), 0, np.array(shape) - 1)
        depth[tuple(at.T)] = True
    tree = ndimage.distance_transform_edt(~depth, sampling=(5, 1, 1)) < 2.5
    image = 120 + 90 * ndimage.gaussian_filter(tree.astype(float), (0, 1, 1)) + 12 * rng.standard_normal(shape)
    return Made((image.clip(0, 255).astype(np.float32),), tree.astype(np.uint8), ("vessel",), (5.0, 1.0, 1.0))


def thick_mri(seed: int) -> Made:
    """Abdominal MRI, 14 x 96 x 96 voxels of 7.7 x 1.6 x 1.6 mm: liver and both kidneys in a body, much air around it."""
    canvas = _Canvas((14, 96, 96), (7.7, 1.6, 1.6), 12, seed)
    canvas.paint(0, 260, (0, 0, 0), (400, 38, 50))
    canvas.paint(1, 480, (10, -8, -16), (36, 18, 22))
    canvas.paint(2, 620, (-14, 14, -20), (24, 8, 7))
    canvas.paint(3, 620, (-14, 14, 20), (24, 8, 7))
    return canvas.made(("liver", "right_kidney", "left_kidney"))


def abdominal_ct(seed: int) -> Made:
    """Abdominal CT with 13 organs, 40 x 112 x 112 voxels of 4 x 2 x 2 mm; the smallest organ has some 30 voxels."""
    canvas = _Canvas((40, 112, 112), (4.0, 2.0, 2.0), -1000, seed)
    canvas.paint(0, 20, (0, 0, 0), (400, 56, 76))
    for label, grey, centre, radii in (
        (6, 110, (14, -10, -34), (44, 28, 26)),
        (1, 115, (22, 12, 48), (22, 12, 12)),
        (7, 40, (24, -18, 28), (24, 13, 16)),
        (2, 160, (-28, 22, -34), (26, 11, 11)),
        (3, 160, (-26, 22, 34), (26, 11, 11)),
        (11, 95, (-6, -6, 8), (7, 7, 30)),
        (4, 8, (-10, -24, -24), (10, 8, 7)),
        (8, 180, (0, 26, 6), (400, 7, 7)),
        (9, 150, (0, 22, -12), (400, 7, 8)),
        (10, 170, (0, 2, -10), (16, 5, 5)),
        (5, 60, (62, 18, 8), (22, 4, 4)),
        (12, 70, (4, 18, -26), (7, 3.2, 3.2)),
        (13, 70, (6, 18, 24), (7, 3.2, 3.2)),
    ):
        canvas.paint(label, grey, centre, radii)
    return canvas.made(ORGANS)


def brain_mri(seed: int) -> Made:
    """Brain MRI of three channels, 40 x 48 x 48 voxels of 2 mm: oedema around a core that enhances in one channel."""
    channels = [_Canvas((40, 48, 48), (2.0, 2.0, 2.0), 8, seed + 1000 * number) for number in range(3)]
    for canvas, grey in zip(channels, ((300, 400, 500), (250, 700, 300), (200, 220, 800)), strict=True):
        canvas.rng = np.random.default_rng(seed)  # one anatomy in all channels
        for label, value, radii in zip((0, 1, 2), grey, ((34, 40, 36), (13, 14, 12), (7, 7, 6)), strict=True):
            canvas.paint(label, value, (0, 0, 0) if label == 0 else (8, -6, 10), radii)
    made = [canvas.made(("oedema", "core")) for canvas in channels]
    return replace(made[0], channels=tuple(m.channels[0] for m in made))


KINDS: Mapping[str, Callable[[int], Made]] = {
    "cardiac": lambda seed: cardiac(seed, NORMALS[seed % len(NORMALS)], 8 + seed % 5),
    "vessels": vessels,
    "thick_mri": thick_mri,
    "abdominal_ct": abdominal_ct,
    "brain_mri": brain_mri,
}
"""By name: a function from a seed to a case."""


class _Canvas:
    """Grey values and labels of one channel; what is painted later covers what was painted before."""

    def __init__(self, shape: Sequence[int], spacing: tuple[float, float, float], air: float, seed: int):
        self.rng, self.spacing, self.air = np.random.default_rng(seed), spacing, air
        axes = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape, spacing, strict=True)]
        self.points = np.meshgrid(*axes, indexing="ij", sparse=True)
        self.grey, self.labels = np.full(shape, float(air)), np.zeros(shape, np.uint8)

    def paint(self, label: int, grey: float, centre: Sequence[float], radii: Sequence[float]) -> None:
        """An ellipsoid, moved and scaled a little, so that no two cases are the same."""
        centre, radii = np.asarray(centre) + self.rng.uniform(-1, 1, 3), np.asarray(radii) * self.rng.uniform(0.95, 1.05)
        inside = sum(((p - c) / r) ** 2 for p, c, r in zip(self.points, centre, radii, strict=True)) <= 1
        self.grey[inside], self.labels[inside] = grey, label

    def made(self, names: tuple[str, ...]) -> Made:
        noise = self.rng.standard_normal(self.grey.shape)
        grey = ndimage.gaussian_filter(self.grey, (0, 0.5, 0.5)) + 0.01 * np.ptp(self.grey) * noise
        grey = np.abs(grey) if self.air >= 0 else grey  # magnitudes, as of MRI
        return Made((np.round(grey).astype(np.float32),), self.labels, names, self.spacing)


def write_folder(folder: Path, cases: Mapping[str, Made], label_maps: Path | None = None) -> Path:
    """Images as people have them (one file, or CASE_0000, CASE_0001, ... for several channels), and dense label maps."""
    for name, made in cases.items():
        for number, channel in enumerate(made.channels):
            file = name if len(made.channels) == 1 else f"{name}_{number:04d}"
            _write(folder / f"{file}.nii.gz", made, channel)
        if label_maps is not None:
            _write(label_maps / f"{name}.nii.gz", made, made.labels)
    return folder


def write_raw(folder: Path, cases: Mapping[str, Made]) -> Path:
    """A labelled dataset in nnU-Net's raw format; ``folder`` is ``$nnUNet_raw/DatasetXXX_NAME``."""
    for name, made in cases.items():
        for number, channel in enumerate(made.channels):
            _write(folder / "imagesTr" / f"{name}_{number:04d}.nii.gz", made, channel)
        _write(folder / "labelsTr" / f"{name}.nii.gz", made, made.labels)
    some = next(iter(cases.values()))
    channel = "CT" if some.channels[0].min() < -500 else "MRI"
    write_json(
        folder / "dataset.json",
        {
            "channel_names": {str(i): channel for i in range(len(some.channels))},
            "labels": {"background": 0, **{name: i for i, name in enumerate(some.names, start=1)}},
            "numTraining": len(cases),
            "file_ending": ".nii.gz",
        },
    )
    return folder


def _write(file: Path, made: Made, array: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_image(file, made.space.image(array))
