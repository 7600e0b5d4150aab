"""Turns images of one or several acquisition planes so that those of one plane lie alike, and as few as can be are turned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations, product

import numpy as np

from nnactive_ext.geometry.axes import Turn
from nnactive_ext.geometry.patch import triple
from nnactive_ext.geometry.space import Space

_FLIPS = [(a, b, c) for a, b, c in product((False, True), repeat=3)]
_TURNS = [Turn(triple(axes), flips) for axes in permutations(range(3)) for flips in _FLIPS]
"""All there are; the first one changes nothing."""
_AXES, _SIGNS = np.array([turn.axes for turn in _TURNS]), np.array([np.where(turn.flipped, -1, 1) for turn in _TURNS])
_NEAR = float(np.cos(np.radians(45)))
"""Nearer than this an axis has no other that it could be meant for."""
_MOST = 200
"""Images that are tried as the one that others are turned to."""


def turns_alike(
    spaces: Mapping[str, Space], thick: Mapping[str, int | None], place: int = 0, like: Sequence[Space] = ()
) -> dict[str, Turn]:
    """For each image the turn that brings its thick axis to ``place`` and its other axes to those of images like it.

    Images whose axes can be brought within 45 degrees of each other are of one acquisition plane, and agree afterwards. Of
    several planes the axes within the slices run the same way in the patient, and the order of slices is such that none is the
    mirror image of another. Among the ways to do this the one is taken that leaves most images as they are.

    Args:
        spaces: of the arrays (z, y, x) as stored, by case.
        thick: the thick stored axis of each case; None: any axis may come to ``place``.
        place: the array axis that the thick ones come to.
        like: spaces to lie like instead, such as those of a pool that the images are added to.

    Returns:
        Case -> turn.
    """
    candidates = {case: _Candidates(_frame(space), thick[case], place) for case, space in spaces.items()}
    sliced = [candidates[case] for case in spaces if thick[case] is not None]
    targets = [_frame(space) for space in like] or _targets(_groups(sliced), sliced, place)
    return {case: _TURNS[found.nearest(targets)] for case, found in candidates.items()}


class _Candidates:
    """The ways in which an image may be turned: ``numbers`` in :data:`_TURNS`, and the ``frames`` that it then has."""

    def __init__(self, frame: np.ndarray, thick: int | None, place: int):
        allowed = np.ones(len(_TURNS), bool) if thick is None else _AXES[:, place] == thick
        self.numbers = np.flatnonzero(allowed)
        self.frames = frame[:, _AXES[self.numbers]].transpose(1, 0, 2) * _SIGNS[self.numbers, None]

    def nearest(self, targets: Sequence[np.ndarray]) -> int:
        """The number of the turn after which the axes are closest to those of one of the ``targets``."""
        close = np.round([(self.frames * target).sum((1, 2)) for target in targets], 6)
        best = close[np.argmax(close.max(1))]  # of targets that are equally close, the first
        return int(self.numbers[np.argmax(best)])


def _frame(space: Space) -> np.ndarray:
    """Columns: the directions of the array's axes (z, y, x) in world."""
    return np.reshape(space.direction, (3, 3))[:, ::-1]


def _groups(images: Sequence[_Candidates]) -> list[np.ndarray]:
    """One frame for each acquisition plane, that with most images first: the one that most images can be brought near to."""
    if not images:
        return []
    frames, left = np.stack([image.frames for image in images]), np.arange(len(images))
    found = []
    while left.size:
        tried = left[:: -(-left.size // _MOST)]
        # Of the angles between axes that are meant for each other the largest one counts.
        near = [(frames[left] * frames[number, 0]).sum(2).min(2).max(1) for number in tried]
        best = max(range(len(tried)), key=lambda i: (int((near[i] > _NEAR).sum()), round(float(near[i].sum()), 6)))
        found.append(frames[tried[best], 0])
        left = left[(near[best] <= _NEAR) & (left != tried[best])]
    return found


def _targets(groups: Sequence[np.ndarray], images: Sequence[_Candidates], place: int) -> list[np.ndarray]:
    """The frames of the acquisition planes, turned so that as few ``images`` as can be have to be turned."""

    def unchanged(targets: Sequence[np.ndarray]) -> int:
        return sum(image.nearest(targets) == 0 for image in images)

    every = product(product((1, -1), repeat=3), (False, True), (1, -1))
    ways = [[_target(group, place, *way) for group in groups] for way in every]
    return max(ways, key=unchanged)  # the first of equals


def _target(frame: np.ndarray, place: int, signs: Sequence[int], swapped: bool, handed: int) -> np.ndarray:
    """``frame`` with the axes within its slices in the order of the patient's z, y, x, along or (sign -1) against them, and
    the order of slices that makes it right- or left-handed."""
    patient = max(permutations(range(3)), key=lambda order: sum(abs(frame[w, axis]) for axis, w in enumerate(order)))
    within = sorted((axis for axis in range(3) if axis != place), key=lambda axis: -patient[axis])
    target = frame.copy()
    for to, axis in zip(_others(place), reversed(within) if swapped else within, strict=True):
        target[:, to] = frame[:, axis] * np.sign(frame[patient[axis], axis]) * signs[patient[axis]]
    if np.linalg.det(target) * handed < 0:
        target[:, place] *= -1
    return target


def _others(place: int) -> Iterator[int]:
    return (axis for axis in range(3) if axis != place)
