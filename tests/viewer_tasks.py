"""Tasks as an annotator gets them, for the tests of what viewers open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from nnactive_ext.exchange.view import View
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.geometry.space import Space
from nnactive_ext.labelling.tasks import Task

NAMES = {"background": 0, "left kidney": 1, 'cyst "<&>"': 2, "Gefäß": 3, "ignore": 4}
TURNS = {
    "straight": np.eye(3),
    "flipped": np.diag([-1.0, -1.0, 1.0]),
    "left_handed": np.diag([-1.0, 1.0, 1.0]),
    "sagittal": np.eye(3)[[2, 0, 1]],
    "oblique": Rotation.from_euler("xyz", (10, -25, 40), degrees=True).as_matrix(),
}


def space_of(turn: np.ndarray, shape=(7, 9, 8)) -> Space:
    return Space(shape, (0.8, 1.0, 2.5), (-12.5, 30.0, 101.0), tuple(turn.ravel().tolist()))


def make_view(folder: Path, space: Space, number: int = 3, predicted: bool = False) -> View:
    """Two channels, and a box with an organ in it if ``predicted``, in ``folder/c001_00{number}_liver_12``."""
    box = Patch("liver_12", (2, 1, 3), (4, 5, 2))
    task = Task(f"c001_{number:03}_liver_12", 1, number, Patch("liver_12", (12, 1, 3), box.size))
    place = folder / task.id
    place.mkdir(parents=True)
    labels = np.full(space.shape, NAMES["ignore"], np.uint8)
    labels[box.slices] = 0
    if predicted:
        labels[3:5, 2:4, 3] = 1
    images, channels = [], ("CT", "PET")
    for number, channel in enumerate(channels):
        file = place / f"image_{channel}.nii.gz"
        values = np.random.default_rng(number).normal(size=space.shape).astype(np.float32)
        sitk.WriteImage(space.image(values), str(file))
        images.append(file)
    label = place / f"{task.id}.nii.gz"
    sitk.WriteImage(space.image(labels), str(label))
    return View(task, place, tuple(images), label, labels, space, box, NAMES, channels, predicted)


@st.composite
def boxes_in_space(draw) -> tuple[Space, Patch]:
    """Flipped, permuted and oblique lattices, and a box in them."""
    rotation = Rotation.from_euler("xyz", draw(st.tuples(*[st.floats(-180, 180)] * 3)), degrees=True).as_matrix()
    signs = np.diag(draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3)))
    order = np.eye(3)[list(draw(st.permutations(range(3))))]
    turn = signs @ order if draw(st.booleans()) else rotation @ signs
    shape = draw(st.tuples(*[st.integers(1, 9)] * 3))
    spacing, origin = draw(st.tuples(*[st.floats(0.2, 6)] * 3)), draw(st.tuples(*[st.floats(-300, 300)] * 3))
    start = [draw(st.integers(0, n - 1)) for n in shape]
    size = [draw(st.integers(1, n - s)) for n, s in zip(shape, start, strict=True)]
    return Space(shape, spacing, origin, tuple(turn.ravel().tolist())), Patch("case", tuple(start), tuple(size))
