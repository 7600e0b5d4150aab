"""A pool with strangers: phantoms, Hippocampus MRIs among them, shifted grey values, one upside down, one empty slab."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nnactive_ext.files import write_json
from nnactive_ext.geometry.patch import triple
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.writing import write_image
from nnactive_ext.phantom import LABELS, SPACING, phantom

OTHER, SHIFTED, UPSIDE_DOWN, EMPTY = "hippocampus", "shifted", "upside_down", "empty"
"""How the names of strangers begin, which says what they are."""
SHIFT = 1024
"""What a scanner's intercept that was left out adds to Hounsfield units."""


def is_stranger(case: str) -> bool:
    """Whether a case of :func:`write_strange_pool` does not belong."""
    return not case.startswith("phantom")


def write_strange_pool(
    folder: Path, hippocampus: Path, phantoms: int = 12, seed: int = 0, tests: int = 0, lesions: int = 0
) -> list[str]:
    """Write a labelled dataset in nnU-Net's raw format.

    Strangers are 4 images of ``hippocampus`` (an nnU-Net dataset; resampled to the phantom's spacing, other images for each
    seed), 2 phantoms with grey values shifted by :data:`SHIFT`, 1 upside down and 1 empty slab of air with noise. Their
    labels are background.

    Args:
        folder: ``$nnUNet_raw/DatasetXXX_NAME``, a new one.
        hippocampus: the folder of Dataset004_Hippocampus.
        phantoms: how many cases belong to the pool.
        seed: of the phantoms and of the choice among images.
        tests: how many phantoms more there are, called ``phantom_t00`` and so on.
        lesions: the fewest in each phantom.

    Returns:
        The names of the strangers.
    """
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    names = [f"phantom_{i:03d}" for i in range(phantoms)] + [f"phantom_t{i:02d}" for i in range(tests)]
    for name in names:
        drawn = phantom(seed, name, lesions)
        _write(folder, name, drawn.image, drawn.labels, drawn.direction)
    images = sorted((hippocampus / "imagesTr").glob("*.nii.gz"))
    chosen = np.random.default_rng(seed).choice(len(images), 4, replace=False)
    strangers = [f"{OTHER}_{i}" for i in range(4)]
    for name, number in zip(strangers, sorted(chosen.tolist()), strict=True):
        _write(folder, name, _resampled(images[number]))
    for name in (f"{SHIFTED}_0", f"{SHIFTED}_1", UPSIDE_DOWN):
        drawn = phantom(seed, name)
        image = drawn.image[::-1] if name == UPSIDE_DOWN else drawn.image + np.int16(SHIFT)
        _write(folder, name, np.ascontiguousarray(image), direction=drawn.direction)
    noise = np.random.default_rng(seed).normal(-1000, 15, (36, 68, 64))
    _write(folder, EMPTY, np.rint(noise).clip(-1024).astype(np.int16))
    strangers += [f"{SHIFTED}_0", f"{SHIFTED}_1", UPSIDE_DOWN, EMPTY]
    content = {
        "channel_names": {"0": "CT"},
        "labels": LABELS,
        "numTraining": len(names) + len(strangers),
        "file_ending": ".nii.gz",
    }
    write_json(folder / "dataset.json", content)
    return strangers


def _resampled(file: Path) -> np.ndarray:
    """A Hippocampus MRI (z, y, x) at the phantom's spacing."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(file), sitk.sitkFloat32)
    spacing = SPACING[::-1]
    size = [max(1, round(n * mm / new)) for n, mm, new in zip(image.GetSize(), image.GetSpacing(), spacing, strict=True)]
    moved = sitk.Resample(image, size, sitk.Transform(), sitk.sitkLinear, image.GetOrigin(), spacing, image.GetDirection(), 0.0)
    return np.asarray(sitk.GetArrayFromImage(moved))


def _write(
    folder: Path,
    name: str,
    image: np.ndarray,
    labels: np.ndarray | None = None,
    direction: tuple[float, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1),
) -> None:
    space = Space(triple(image.shape), SPACING[::-1], (0.0, 0.0, 0.0), tuple(direction))
    write_image(folder / "imagesTr" / f"{name}_0000.nii.gz", space.image(image))
    labels = np.zeros(image.shape, np.uint8) if labels is None else labels
    write_image(folder / "labelsTr" / f"{name}.nii.gz", space.image(labels))
