"""A made-up abdominal CT dataset in nnU-Net's raw format: something to try everything on without a download.

Each case is a small torso with an irregular organ, a branching vessel and, in most cases, one or two lesions in the
organ. Bones, bowel, spleen, kidneys and two unlabelled vessels of similar grey values keep a threshold from solving it.
Coordinates are millimetres from the centre of the image along (z, y, x): superior, posterior and left are positive.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.interpolate import make_interp_spline

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import write_json
from nnactive_ext.geometry.patch import triple
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.writing import write_image
from nnactive_ext.nnunet.dataset import check_dataset_name, dataset_name, existing_names, nnunet_folder
from nnactive_ext.randomness import generator

LABELS = {"background": 0, "organ": 1, "vessel": 2, "lesion": 3}
SPACING = (3.0, 1.2, 1.2)
"""Voxel size in mm along (z, y, x), the same in all cases."""
BACKGROUND, ORGAN, VESSEL, LESION = LABELS.values()
Vector = Sequence[float] | np.ndarray
"""Three numbers in mm along (z, y, x)."""


@dataclass(frozen=True)
class Phantom:
    """One case: ``image`` (int16, Hounsfield units) and ``labels`` (uint8), both (z, y, x), ITK's direction, and ``spacing`` in
    mm along (z, y, x)."""

    image: np.ndarray
    labels: np.ndarray
    direction: tuple[float, ...]
    spacing: tuple[float, float, float] = SPACING


def phantom(seed: int, case: str, lesions: int = 0) -> Phantom:
    """Draw one case: 32-40 x 64-72 x 64 voxels of :data:`SPACING`, with at least so many ``lesions`` as far as the organ has
    room for them; equal arguments give equal cases."""
    rng = generator(seed, 0, "phantom", case)
    shape = (int(rng.integers(32, 41)), int(rng.integers(64, 73)), 64)
    canvas = _Canvas(shape, rng)
    cavity = _torso(canvas, rng)
    _other_organs(canvas, cavity, rng)
    _labelled(canvas, cavity, rng, lesions)
    return Phantom(_scan(canvas.grey, rng), canvas.labels, _direction(rng))


class _Canvas:
    """Grey values and labels of one case; what is painted later covers what was painted before.

    ``fade``: over how many mm the grey value changes at a surface. ``build``: standard deviation of the size, and by how many
    mm everything is displaced, over which length in mm.
    """

    def __init__(
        self,
        shape: Sequence[int],
        rng: np.random.Generator,
        spacing: Sequence[float] = SPACING,
        fade: float = 1.5,
        build: tuple[float, float, float] = (0.06, 1.8, 32),
    ):
        self.axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
        self.straight = np.meshgrid(*self.axes, indexing="ij", sparse=True)
        self.fade = fade
        # A smooth displacement of everything together gives each case its own build.
        size = 1 + build[0] * rng.standard_normal()
        self.points = [size * c + build[1] * self.field(rng, build[2]) for c in self.straight]
        self.grey = np.full(shape, -1000.0)
        self.labels = np.zeros(shape, np.uint8)

    def field(self, rng: np.random.Generator, length: float) -> np.ndarray:
        """A smooth random field (z, y, x) of mean 0 and standard deviation 1 that varies over ``length`` mm."""
        weights = []
        for axis in self.axes:
            knots = np.arange(axis[0] - length, axis[-1] + 2 * length, length)
            weight = np.exp(-0.5 * ((axis[:, None] - knots) / (0.7 * length)) ** 2)
            weights.append(weight / weight.sum(1, keepdims=True))
        noise = rng.standard_normal([w.shape[1] for w in weights])
        field = np.einsum("zi,yj,xk,ijk->zyx", *weights, noise, optimize=True)
        return (field - field.mean()) / field.std()

    def ellipsoid(self, centre: Vector, radii: Vector, tilt: float = 0.0) -> np.ndarray:
        """Depth in mm (positive inside, rough) below an ellipsoid's surface, turned by ``tilt`` radians about z."""
        z, y, x = (p - c for p, c in zip(self.points, centre, strict=True))
        y, x = math.cos(tilt) * y - math.sin(tilt) * x, math.sin(tilt) * y + math.cos(tilt) * x
        distance = np.sqrt((z / radii[0]) ** 2 + (y / radii[1]) ** 2 + (x / radii[2]) ** 2)
        return (1 - distance) * min(radii)

    def tube(self, line: np.ndarray, radii: np.ndarray) -> np.ndarray:
        """Depth in mm below the surface of balls of ``radii`` (n,) along the centre line (n, 3)."""
        depth = np.full(self.grey.shape, -10.0)
        for centre, radius in zip(line, radii, strict=True):
            box = tuple(
                slice(*np.searchsorted(axis, (c - radius - 3, c + radius + 3)))
                for axis, c in zip(self.axes, centre, strict=True)
            )
            z, y, x = (a[b] - c for a, b, c in zip(self.axes, box, centre, strict=True))
            distance = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
            np.maximum(depth[box], radius - distance, out=depth[box])
        return depth

    def paint(self, depth: np.ndarray, value: float | np.ndarray, label: int = BACKGROUND) -> None:
        """Cover where ``depth`` is positive; the grey value fades at the surface (partial volume)."""
        self.grey += np.clip(depth / self.fade + 0.5, 0, 1) * (value - self.grey)
        self.labels[depth > 0] = label


def _near(rng: np.random.Generator, centre: Vector, spread: float) -> np.ndarray:
    return np.asarray(centre) + spread * rng.uniform(-1, 1, 3)


def _centre_line(knots: Sequence[Vector], spread: float, rng: np.random.Generator) -> np.ndarray:
    """A smooth curve (80, 3) in mm through the ``knots``, each moved by up to ``spread`` mm."""
    moved = np.stack([_near(rng, knot, spread) for knot in knots])
    return make_interp_spline(np.linspace(0, 1, len(moved)), moved, k=min(3, len(moved) - 1))(np.linspace(0, 1, 80))


def _torso(canvas: _Canvas, rng: np.random.Generator) -> np.ndarray:
    """Paint skin, fat, muscle, bones and bowel; returns the depth below the wall of the abdominal cavity."""
    z, y, x = canvas.points
    half_y, half_x = rng.uniform(28, 32), rng.uniform(33, 36)
    body = (1 - ((np.abs(y) / half_y) ** 2.4 + (np.abs(x) / half_x) ** 2.4) ** (1 / 2.4)) * half_y
    fat, wall = rng.uniform(1.5, 4.0), rng.uniform(3.5, 5.0)
    muscle = rng.uniform(50, 65)
    canvas.paint(body, -95 + 12 * canvas.field(rng, 8))
    canvas.paint(body - fat, muscle)
    cavity = body - fat - wall
    bowel = np.tanh(2.5 * canvas.field(rng, 9))
    canvas.paint(cavity, -25 + 65 * bowel)

    along = (z + 0.45 * y + rng.uniform(0, 22)) % 22 - 11  # ribs run downwards to the front
    rib = 2.2 - np.hypot(cavity + wall / 2, along)
    canvas.paint(np.where(y > -0.5 * half_y, rib, -10.0), 260)

    back = half_y - fat - 14
    level = (z + rng.uniform(0, 21)) % 21
    bone = np.where(level < 16, 230 + 30 * canvas.field(rng, 6), 90)  # vertebrae and the discs between them
    canvas.paint(canvas.ellipsoid((0, back + 9, 0), (1e3, 5, 9)), muscle + 5)
    canvas.paint(canvas.ellipsoid((0, back + 9, 0), (1e3, 4.5, 2.5)), bone)
    canvas.paint(canvas.ellipsoid((0, back, 0), (1e3, 6.5, 8)), bone)
    canvas.paint(canvas.ellipsoid((0, back + 7.5, 0), (1e3, 2.5, 3)), 30)

    table = 1.2 - np.abs(canvas.straight[1] - half_y - 3.5 - 0.004 * canvas.straight[2] ** 2)
    canvas.paint(np.broadcast_to(np.where(body < -1, table, -10.0), body.shape), -650)
    return cavity


def _other_organs(canvas: _Canvas, cavity: np.ndarray, rng: np.random.Generator) -> None:
    """Paint what looks like the labelled structures and is not: spleen, stomach, kidneys, aorta and vena cava."""
    rough = canvas.field(rng, 11)
    for side in (-1, 1):
        kidney = canvas.ellipsoid(_near(rng, (-20, 9, 15 * side), 3), (18, 6.5, 6), 0.4 * side) + 0.5 * rough
        canvas.paint(kidney, 150)
        canvas.paint(kidney - 3, 95)
    spleen = canvas.ellipsoid(_near(rng, (16, 5, 20), 2.5), (16, 10, 6), -0.4) - rough
    canvas.paint(np.minimum(spleen, cavity), rng.uniform(85, 115))
    stomach = canvas.ellipsoid(_near(rng, (14, -7, 11), 3), (17, 9, 11), 0.5) + 1.5 * rough
    canvas.paint(np.minimum(stomach, cavity - 0.5), 75)
    canvas.paint(np.minimum(stomach, cavity - 0.5) - 2, 25)
    cyst = canvas.ellipsoid(_near(rng, (-6, -6, 14), 6), rng.uniform(3.5, 6, 3))
    canvas.paint(cyst, rng.uniform(45, 65))  # as dark as a lesion, but outside the organ
    for side, radius in ((5, 4.0), (-5, 4.4)):
        line = _centre_line([(-70, 5, side), (-20, 4, side), (20, 5, side), (70, 6, side)], 1.5, rng)
        canvas.paint(canvas.tube(line, np.full(len(line), radius)), rng.uniform(155, 190))


def _labelled(canvas: _Canvas, cavity: np.ndarray, rng: np.random.Generator, lesions: int) -> None:
    """Paint the organ with its left and right lobe, its lesions, and the vessel that enters it and divides."""
    centre = _near(rng, (8, -2, -13), 3)
    right = canvas.ellipsoid(centre, (32, 18, 13) * rng.uniform(0.85, 1.15, 3), rng.uniform(-0.2, 0.3))
    left = canvas.ellipsoid(centre + np.array((8, -9, 15)), (16, 7, 16) * rng.uniform(0.8, 1.2, 3), rng.uniform(-0.2, 0.4))
    organ = np.logaddexp(0.7 * right, 0.7 * left) / 0.7 + 2.0 * canvas.field(rng, 12) + 0.7 * canvas.field(rng, 6)
    organ = np.minimum(organ, cavity - 0.5)
    pieces, _ = ndimage.label(organ > 0)
    largest = np.bincount(pieces[pieces > 0]).argmax()
    organ[(pieces > 0) & (pieces != largest)] = -1  # the rough surface may throw off crumbs
    grey = rng.uniform(112, 128)
    canvas.paint(organ, grey + 4 * canvas.field(rng, 7), ORGAN)

    hilum, taper = centre + np.array((-8, 3, 8)), np.linspace(1, 0, 80)
    hilum = _near(rng, hilum, 2)
    trunk = _centre_line([(-48, -3, 3), (-34, 1, -3), (-20, -3, 4), hilum], 3, rng)
    trunk[-1] = hilum
    depth = canvas.tube(trunk, 3.6 + 0.8 * taper)
    for end, bend in (((16, 4, -12), (7, 1, -3)), ((18, -9, 4), (6, -6, -4))):
        branch = _centre_line([hilum, hilum + bend, hilum + end], 1.5, rng)
        branch += (hilum - branch[0]) * taper[:, None]
        depth = np.maximum(depth, canvas.tube(branch, 2.4 + 1.0 * taper))

    # Lesions keep away from the vessel, and their number does not depend on whether there is room for them.
    for _ in range(max(lesions, rng.choice(3, p=(0.38, 0.38, 0.24)))):
        radius, spot = rng.uniform(4.5, 7), rng.random()
        room = np.flatnonzero((organ > 0.8 * radius) & (depth < -min(radius, 6)))
        if len(room):
            at = np.unravel_index(room[int(spot * len(room))], organ.shape)
            place = [p[at] for p in canvas.points]
            lesion = canvas.ellipsoid(place, radius * rng.uniform(0.8, 1.2, 3)) + 0.6 * canvas.field(rng, 5)
            canvas.paint(np.minimum(lesion, organ - 0.5), grey - rng.uniform(70, 95), LESION)
    canvas.paint(depth, rng.uniform(225, 255), VESSEL)  # brighter than the aorta, as bright as bone


def _scan(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What the scanner makes of it: blur, shading and noise; air is about -1000, never a constant."""
    image = ndimage.gaussian_filter(grey, (0.35, 0.55, 0.55))
    axes = [np.linspace(-1, 1, n) for n in grey.shape]
    slope = np.einsum("i,izyx->zyx", rng.normal(0, 8, 3), np.stack(np.meshgrid(*axes, indexing="ij")))
    noise = ndimage.gaussian_filter(rng.standard_normal(grey.shape), (0, 0.6, 0.6))
    image += slope + rng.uniform(14, 20) * noise / noise.std()
    return np.round(image).clip(-1024, 3071).astype(np.int16)


def _direction(rng: np.random.Generator) -> tuple[float, ...]:
    """Three cases in four lie straight; the others are tilted by a few degrees, as with an angled gantry."""
    tilted, angle = rng.random() < 0.25, math.radians(rng.uniform(2, 8))
    if not tilted:
        return (1, 0, 0, 0, 1, 0, 0, 0, 1)
    return (1, 0, 0, 0, math.cos(angle), -math.sin(angle), 0, math.sin(angle), math.cos(angle))


def _write(array: np.ndarray, direction: Sequence[float], path: Path, spacing: tuple[float, float, float] = SPACING) -> None:
    space = Space(triple(array.shape), spacing[::-1], (0.0, 0.0, 0.0), tuple(direction))
    write_image(path, space.image(array))


@dataclass(frozen=True)
class Kind:
    """What a dataset shows: ``draw`` makes a case from a seed and its name, which begins with ``prefix``; ``labels``: name ->
    value; ``dataset``: the name of the dataset by default; ``words``: for its description."""

    draw: Callable[[int, str], Phantom]
    labels: Mapping[str, int]
    prefix: str
    dataset: str
    words: str


def torso(lesions: int = 0) -> Kind:
    """Torsos with at least so many lesions, as far as the organ has room for them."""
    return Kind(partial(phantom, lesions=lesions), LABELS, "phantom", "Phantom", "Made-up torsos")


TORSO = torso()


def write_dataset(dataset_id: int, cases: int = 24, seed: int = 0, name: str = "", kind: Kind = TORSO) -> Path:
    """Write ``cases`` cases with labels as ``$nnUNet_raw/DatasetXXX_<name>`` (default: the kind's) and return that folder.

    A case depends on ``seed`` and its number only, so a larger dataset begins with the cases of a smaller one.
    The dataset appears whole or not at all. An existing number, an impossible one, an impossible name or a missing
    ``nnUNet_raw`` is an :class:`NnActiveError`.
    """
    name = name or kind.dataset
    check_dataset_name(dataset_id, name)
    if cases < 1:
        raise NnActiveError(f"{cases} cases were asked for; a dataset needs at least one.")
    raw = nnunet_folder("nnUNet_raw")
    if not raw.is_dir():
        raise NnActiveError(f"{raw}: no such folder. nnUNet_raw must name an existing one.")
    existing = existing_names(dataset_id)
    if existing:
        raise NnActiveError(
            f"Dataset number {dataset_id} is taken by {', '.join(existing)} in nnUNet_raw, nnUNet_preprocessed or "
            "nnUNet_results. Choose another number with -d."
        )

    folder = raw / dataset_name(dataset_id, name)
    with tempfile.TemporaryDirectory(prefix=".tmp_", dir=raw) as temporary:
        building = Path(temporary) / folder.name
        for part in ("imagesTr", "labelsTr"):
            (building / part).mkdir(parents=True)
        for case in (f"{kind.prefix}_{i:03d}" for i in range(cases)):
            drawn = kind.draw(seed, case)
            _write(drawn.image, drawn.direction, building / "imagesTr" / f"{case}_0000.nii.gz", drawn.spacing)
            _write(drawn.labels, drawn.direction, building / "labelsTr" / f"{case}.nii.gz", drawn.spacing)
        write_json(
            building / "dataset.json",
            {
                "channel_names": {"0": "CT"},
                "labels": dict(kind.labels),
                "numTraining": cases,
                "file_ending": ".nii.gz",
                "description": f"{kind.words} by nnactive_phantom, seed {seed}; no patient data.",
            },
        )
        os.rename(building, folder)
    return folder
