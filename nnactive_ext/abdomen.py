"""A made-up abdomen with the 13 organs of multi-organ CT datasets (BTCV's list): from a liver to adrenals of 60 voxels.

Made for studies of query methods with many classes: sizes differ by a factor of several hundred, neighbours have similar grey
values, and some organs are absent in some cases. Coordinates are millimetres as in :mod:`nnactive_ext.phantom`; lengths are
those of an adult.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from nnactive_ext.phantom import Kind, Phantom, Vector, _Canvas, _centre_line, _direction, _near, _scan
from nnactive_ext.randomness import generator

ORGANS = (
    *("spleen", "right_kidney", "left_kidney", "gallbladder", "oesophagus", "liver", "stomach"),
    *("aorta", "vena_cava", "portal_and_splenic_vein", "pancreas", "right_adrenal", "left_adrenal"),
)
"""In the order of BTCV, whose label values they have: 1 to 13."""
LABELS = {"background": 0, **{name: value for value, name in enumerate(ORGANS, start=1)}}
SPACING = (4.0, 4.0, 4.0)
"""Voxel size in mm along (z, y, x), the same in all cases."""
VOXELS = {
    **{"spleen": (600, 3600), "right_kidney": (1000, 3600), "left_kidney": (1000, 3600), "gallbladder": (150, 520)},
    **{"oesophagus": (180, 400), "liver": (9000, 32000), "stomach": (2700, 9000), "aorta": (800, 2200)},
    **{"vena_cava": (850, 2400), "portal_and_splenic_vein": (220, 680), "pancreas": (450, 1600)},
    **{"right_adrenal": (30, 100), "left_adrenal": (30, 100)},
}
"""How many voxels an organ has where it is not absent, at least and at most; tests/test_abdomen.py draws cases and counts."""
ABSENT = {"gallbladder": 0.2, "spleen": 0.1, "right_adrenal": 0.1, "left_adrenal": 0.1}
"""Organs that are removed in this share of the cases, each on its own."""
ONE_KIDNEY = 0.15
"""The share of the cases that have one kidney only."""
_FAT, _MUSCLE = -98.0, 60.0


def abdomen(seed: int, case: str) -> Phantom:
    """Draw one case: 60-68 x 66-72 x 80 voxels of :data:`SPACING`; equal arguments give equal cases."""
    rng = generator(seed, 0, "abdomen", case)
    shape = (int(rng.integers(60, 69)), int(rng.integers(66, 73)), 80)
    absent = {name for name, share in ABSENT.items() if rng.random() < share}
    if rng.random() < ONE_KIDNEY:
        absent.add(str(rng.choice(["right_kidney", "left_kidney"])))
    canvas = _Organs(shape, rng, absent)
    cavity, dome = _trunk(canvas, rng)
    _large(canvas, rng, np.minimum(cavity - 2, 0.7 * (dome - canvas.points[0]) - 2))
    _bowel(canvas, rng, cavity)
    _retroperitoneal(canvas, rng)
    _small(canvas, rng)
    return Phantom(_scan(canvas.grey, rng), canvas.labels, _direction(rng), SPACING)


class _Organs(_Canvas):
    """A canvas of an adult that leaves out the ``absent`` organs."""

    def __init__(self, shape: Sequence[int], rng: np.random.Generator, absent: set[str]):
        super().__init__(shape, rng, SPACING, fade=4.0, build=(0.035, 4.0, 96))
        self._absent = absent

    def organ(self, name: str, depth: np.ndarray, value: float | np.ndarray) -> None:
        """Paint an organ unless it is absent."""
        if name not in self._absent:
            self.paint(depth, value, LABELS[name])

    def along(self, knots: Sequence[Vector], radii: Vector, spread: float, rng: np.random.Generator) -> np.ndarray:
        """Depth in mm below the surface of a tube through ``knots``, whose radius changes as ``radii`` say."""
        line = _centre_line(knots, spread, rng)
        return self.tube(line, np.interp(np.linspace(0, 1, len(line)), np.linspace(0, 1, len(radii)), radii))


def _trunk(canvas: _Organs, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Paint skin, fat, muscle, bones, lungs and heart; returns the depth below the cavity's wall, and z of the diaphragm."""
    z, y, x = canvas.points
    half_y, half_x = rng.uniform(100, 108), rng.uniform(134, 144)
    body = (1 - ((np.abs(y) / half_y) ** 2.4 + (np.abs(x) / half_x) ** 2.4) ** (1 / 2.4)) * half_y
    fat, wall = rng.uniform(6, 14), rng.uniform(10, 13)
    canvas.paint(body, _FAT + 8 * canvas.field(rng, 24))
    canvas.paint(body - fat, _MUSCLE)
    cavity = body - fat - wall
    canvas.paint(cavity, _FAT + 10 * canvas.field(rng, 20))

    dome = np.maximum(
        98 - 45 * (((y + 5) / 90) ** 2 + ((x + 62) / 75) ** 2), 90 - 45 * (((y + 5) / 90) ** 2 + ((x - 65) / 70) ** 2)
    )
    dome = dome + rng.uniform(-4, 4) + 0 * z
    canvas.paint(np.minimum(cavity + 4, z - dome), -860)
    canvas.paint(canvas.ellipsoid((130, 12, 6), (90, 34, 34)), -60)
    canvas.paint(canvas.ellipsoid(_near(rng, (128, -40, 18), 4), (42, 42, 52)), rng.uniform(125, 150))

    along = (z + 0.45 * y + rng.uniform(0, 44)) % 44 - 22  # ribs run downwards to the front
    canvas.paint(np.where((y > -0.5 * half_y) & (z > -40), 6 - np.hypot(cavity + wall / 2, along), -10.0), 260)
    for side in (-1, 1):  # the muscles beside the spine
        canvas.paint(
            canvas.along([(10, 58, 26 * side), (-50, 58, 38 * side), (-140, 50, 46 * side)], (8, 18, 22), 2, rng), _MUSCLE
        )
        canvas.paint(canvas.along([(140, 78, 32 * side), (-140, 78, 32 * side)], (18, 20), 2, rng), _MUSCLE)
    level = (z + rng.uniform(0, 40)) % 40
    canvas.paint(canvas.ellipsoid((0, 80, 0), (1e4, 16, 8)), 230.0)
    canvas.paint(canvas.ellipsoid((0, 52, 0), (1e4, 18, 23)), np.where(level < 31, 220 + 30 * canvas.field(rng, 18), 90))
    canvas.paint(canvas.ellipsoid((0, 76, 0), (1e4, 7, 9)), 30)
    table = 4 - np.abs(canvas.straight[1] - half_y - 10 - 0.0012 * canvas.straight[2] ** 2)
    canvas.paint(np.broadcast_to(np.where(body < -4, table, -10.0), body.shape), -650)
    return cavity, dome


def _large(canvas: _Organs, rng: np.random.Generator, inside: np.ndarray) -> None:
    """Paint liver, stomach and spleen, where they are ``inside`` the cavity (depth in mm)."""
    rough, fine = canvas.field(rng, 36), canvas.field(rng, 20)
    right = canvas.ellipsoid(_near(rng, (30, -6, -70), 5), (80, 74, 54) * rng.uniform(0.92, 1.08, 3), rng.uniform(-0.1, 0.2))
    left = canvas.ellipsoid(_near(rng, (54, -42, -4), 6), (36, 34, 58) * rng.uniform(0.85, 1.15, 3), rng.uniform(-0.1, 0.3))
    liver = np.minimum(np.logaddexp(0.25 * right, 0.25 * left) / 0.25 + 4 * rough + 1.5 * fine, inside)
    behind = canvas.ellipsoid((20, 54, 0), (200, 42, 50))  # where great vessels and adrenals lie
    canvas.organ("liver", _largest(np.minimum(liver, -behind)), rng.uniform(100, 114) + 4 * canvas.field(rng, 16))

    full = rng.uniform(0.8, 1.1)
    knots = [(68, 14, 58), (48, -14, 66), (14, -46, 52), (-8, -54, 14), (-2, -44, -16), (2, -34, -30)]
    stomach = np.minimum(canvas.along(knots, np.array((30, 32, 27, 19, 14, 9)) * full, 4, rng) + 1.5 * fine, inside)
    stomach = _largest(stomach)
    canvas.organ("stomach", stomach, 78)
    canvas.organ("stomach", stomach - 7, rng.uniform(10, 50))

    spleen = canvas.ellipsoid(_near(rng, (44, 36, 88), 4), (50, 38, 25) * rng.uniform(0.85, 1.15, 3), rng.uniform(-0.7, -0.4))
    canvas.organ("spleen", _largest(np.minimum(spleen - 2 * rough, inside)), rng.uniform(108, 126))


def _bowel(canvas: _Organs, rng: np.random.Generator, cavity: np.ndarray) -> None:
    """Paint what resembles organs and has no label: duodenum, colon and small bowel, with liquid or gas in them."""
    z, y, _ = canvas.points
    free = canvas.labels == 0
    loops = np.minimum(10 * (np.abs(canvas.field(rng, 22)) - 0.55), np.minimum(cavity - 8, np.minimum(-34 - z, 16 - y)))
    colon = np.full(canvas.grey.shape, -10.0)
    for knots in (
        [(-130, 18, -92), (-90, 16, -94), (-58, 4, -90), (-60, -50, -60), (-66, -66, 0), (-40, -52, 66), (-10, -10, 100)],
        [(-10, -10, 100), (-50, 26, 102), (-132, 24, 96)],
    ):
        colon = np.maximum(colon, canvas.along(knots, (21, 17, 18), 4, rng))
    duodenum = canvas.along([(2, -34, -30), (-8, -24, -46), (-40, -2, -46), (-62, 4, -22), (-58, 2, 6)], (9, 11, 10), 2, rng)
    for depth, content in ((loops, 25.0), (colon, float(rng.choice([-300.0, 20.0]))), (duodenum, 30.0)):
        depth = np.where(free, depth, -10.0)
        canvas.paint(depth, rng.uniform(62, 82))
        canvas.paint(depth - 5, content)


def _retroperitoneal(canvas: _Organs, rng: np.random.Generator) -> None:
    """Paint kidneys in their fat, and the pancreas."""
    for name, side, z in (("right_kidney", -1, -42), ("left_kidney", 1, -30)):
        centre, radii = _near(rng, (z, 42, 64 * side), 5), np.array((52, 26, 25)) * rng.uniform(0.88, 1.1, 3)
        for extent, covered in (((16, 10, 8), (0,)), ((3, 3, 3), (0, LABELS["liver"], LABELS["spleen"]))):
            around = canvas.ellipsoid(centre, radii + np.array(extent), 0.4 * side)
            canvas.paint(np.where(np.isin(canvas.labels, covered), around, -10.0), _FAT)
        kidney = canvas.ellipsoid(centre, radii, 0.4 * side) + 1.2 * canvas.field(rng, 30)
        pelvis = canvas.ellipsoid(centre - np.array((0, 4, 16 * side)), (20, 9, 11))
        canvas.organ(name, np.minimum(kidney, 2 - pelvis), 175)
        canvas.organ(name, np.minimum(kidney - 9, -2 - pelvis), rng.uniform(115, 135))
    knots = [(-34, -6, -24), (-16, -10, -24), (0, -16, -8), (10, -10, 18), (20, 4, 44), (30, 18, 68)]
    pancreas = canvas.along(knots, np.array((13, 15, 10, 11, 11, 9)) * rng.uniform(0.85, 1.15), 3, rng)
    canvas.organ("pancreas", pancreas + 1.2 * canvas.field(rng, 14), rng.uniform(84, 100))


def _small(canvas: _Organs, rng: np.random.Generator) -> None:
    """Paint vessels, gallbladder, oesophagus and adrenals; nothing covers them."""
    arterial, venous = rng.uniform(140, 185), rng.uniform(125, 160)
    wide = rng.uniform(0.85, 1.15, 2)
    aorta = canvas.along(
        [(140, 30, 16), (60, 24, 12), (-20, 22, 9), (-140, 22, 7)], wide[0] * np.array((11.5, 11, 10, 9)), 2, rng
    )
    knots = [(-140, 22, -19), (0, 20, -21), (50, 10, -24), (96, 2, -22)]
    cava = canvas.along(knots, wide[1] * np.array((10.5, 11, 12.5, 12)), 2, rng)
    artery = canvas.along([(-2, 12, 5), (-20, -2, 2), (-110, -10, 0)], (4.5, 4, 4), 1.5, rng)
    canvas.paint(artery, arterial)  # the superior mesenteric artery, which has no label
    confluence, hilum = _near(rng, (-2, -1, -8), 1.5), _near(rng, (30, -14, -42), 3)
    branches: tuple[tuple[Sequence[Vector], Vector], ...] = (
        ([(-28, -6, -7), confluence], (6.0, 6.5)),
        ([confluence, (12, -6, -26), hilum], (7.5, 7.0)),
        ([hilum, (38, -10, -54), (42, -6, -68)], (6.0, 4.5)),
        ([hilum, (46, -26, -30), (52, -38, -16)], (5.5, 4.5)),
        ([confluence, (10, 4, 20), (20, 16, 48), (32, 26, 76)], (5.5, 5.0)),
    )
    width = rng.uniform(0.85, 1.15)
    portal = np.max([canvas.along(knots, width * np.array(radii), 0.7, rng) for knots, radii in branches], axis=0)
    canvas.organ("vena_cava", cava, venous)
    canvas.organ("aorta", aorta, arterial)
    canvas.organ("portal_and_splenic_vein", portal, venous + rng.uniform(5, 20))

    gallbladder = canvas.ellipsoid(_near(rng, (-26, -44, -50), 3), np.array((23, 14, 14)) * rng.uniform(0.85, 1.15, 3), 0.4)
    canvas.organ("gallbladder", gallbladder, rng.uniform(4, 22))
    oesophagus = canvas.along([(140, 8, 4), (100, 8, 6), (78, 6, 14), (64, 4, 34)], (8.5, 8, 8.5), 1.5, rng)
    canvas.organ("oesophagus", oesophagus, rng.uniform(48, 62))
    for name, side, centre in (("right_adrenal", -1, (24, 34, -36)), ("left_adrenal", 1, (22, 30, 38))):
        z, y, x = _near(rng, centre, 2.5)
        apex, radii = (z + 10, y - 8, x), np.array((4.6, 4.2)) * rng.uniform(0.92, 1.12)
        limbs = [canvas.along([apex, (z - 8, y + 14, x + out * side)], radii, 1, rng) for out in (-3, 11)]
        canvas.organ(name, np.max(limbs, axis=0), rng.uniform(62, 82))


def _largest(depth: np.ndarray) -> np.ndarray:
    """``depth`` without the crumbs that a rough surface throws off."""
    pieces, number = ndimage.label(depth > 0)
    if number > 1:
        largest = np.bincount(pieces[pieces > 0]).argmax()
        depth = np.where((pieces > 0) & (pieces != largest), -10.0, depth)
    return depth


ABDOMEN = Kind(abdomen, LABELS, "abdomen", "Abdomen", "Made-up abdomens with 13 organs")
