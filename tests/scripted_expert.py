"""An expert who sees only exported tasks (and knows the anatomy): answers them by writing files as viewers do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nrrd
import numpy as np
import SimpleITK as sitk

from nnactive_ext.files import read_json


@dataclass
class Seen:
    """A task as the expert's viewer shows it: the label map to edit, the true labels on its grid, and the box."""

    id: str
    folder: Path
    label: Path
    shown: sitk.Image
    truth: np.ndarray
    box: tuple[slice, slice, slice]
    names: dict[str, int]

    def answer(self) -> np.ndarray:
        """The truth inside the box, ignore outside."""
        labels = np.full(self.truth.shape, self.names["ignore"], np.uint8)
        labels[self.box] = self.truth[self.box]
        return labels

    def write(self, labels: np.ndarray, file: Path | None = None, spacing: float = 1.0) -> Path:
        image = sitk.GetImageFromArray(labels)
        image.CopyInformation(self.shown)
        image.SetSpacing([s * spacing for s in image.GetSpacing()])
        sitk.WriteImage(image, str(file or self.label), True)
        return file or self.label


def look(folder: Path, anatomy: Callable[[str], Path]) -> list[Seen]:
    """The tasks below ``folder`` in order; ``anatomy(case)`` is the reference label file, on any grid of that patient."""
    seen = []
    for file in sorted(folder.glob("*/task.json")):
        task = read_json(file)
        label = file.parent / task["label"]
        shown = sitk.ReadImage(str(label))
        known = sitk.ReadImage(str(anatomy(task["case"])), sitk.sitkUInt8)
        truth = sitk.GetArrayFromImage(sitk.Resample(known, shown, sitk.Transform(), sitk.sitkNearestNeighbor, 0))
        start, size = task["box"]["start_zyx"], task["box"]["size_zyx"]
        box = tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))
        seen.append(Seen(task["id"], file.parent, label, shown, truth, box, task["labels"]))  # type: ignore[arg-type]
    return seen


def in_place(task: Seen) -> Path:
    return task.write(task.answer())


def half(task: Seen) -> Path:
    """The lower half of the box is not done yet."""
    labels = task.answer()
    z, y, x = task.box
    labels[slice(z.start, (z.start + z.stop) // 2), y, x] = task.names["ignore"]
    return task.write(labels)


def outside(task: Seen) -> Path:
    """Painted wherever there is something to see."""
    return task.write(task.truth)


def wrong_spacing(task: Seen) -> Path:
    return task.write(task.answer(), task.folder / f"{task.id}_resampled.nii.gz", spacing=1.25)


def full_size(task: Seen, image: Path) -> Path:
    """On the grid of the whole image, which lies elsewhere: the box is cut out of it through world coordinates."""
    file = task.folder / f"{task.id}_whole.nii.gz"
    crop = sitk.GetImageFromArray(task.answer())
    crop.CopyInformation(task.shown)
    header = sitk.ReadImage(str(image))
    whole = sitk.Resample(crop, header, sitk.Transform(), sitk.sitkNearestNeighbor, task.names["ignore"])
    sitk.WriteImage(whole, str(file), True)
    return file


def seg_nrrd(task: Seen, rng: np.random.Generator) -> Path:
    """As 3D Slicer saves: segments in two layers, label values shuffled, the array cut to what is painted."""
    labels = task.answer()
    painted = [(name, value) for name, value in task.names.items() if name != "background" and (labels == value).any()]
    values = rng.permutation(np.arange(1, len(painted) + 1))
    layers = np.zeros((2, *labels.shape), np.uint8)
    header: dict = {"Segmentation_SourceRepresentation": "Binary labelmap"}
    for number, ((name, value), stored) in enumerate(zip(painted, values.tolist(), strict=True)):
        layer = number % 2
        layers[layer][labels == value] = stored
        header |= {f"Segment{number}_ID": f"Segment_{number}", f"Segment{number}_Name": name}
        header |= {f"Segment{number}_Layer": str(layer), f"Segment{number}_LabelValue": str(stored)}
    used = layers.any(0)
    cut = tuple(
        slice(np.flatnonzero(line)[0], np.flatnonzero(line)[-1] + 1)
        for line in (used.any((1, 2)), used.any((0, 2)), used.any((0, 1)))
    )
    origin = task.shown.TransformIndexToPhysicalPoint([int(s.start) for s in cut[::-1]])
    axes = np.reshape(task.shown.GetDirection(), (3, 3)) * np.asarray(task.shown.GetSpacing())
    header |= {
        "space": "left-posterior-superior",
        "space origin": np.asarray(origin),
        "space directions": np.vstack([np.full(3, np.nan), axes.T]),
        "kinds": ["list", "domain", "domain", "domain"],
        "encoding": "gzip",
    }
    file = task.folder / f"{task.id}.seg.nrrd"
    # The first axis of a NRRD runs fastest: (layer, x, y, z).
    nrrd.write(str(file), layers[(slice(None), *cut)].transpose(0, 3, 2, 1), header, index_order="F")
    return file
