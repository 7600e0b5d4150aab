"""What napari opens: a reader of task folders and a writer of their labels, declared in nnactive_ext/napari.yaml."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnactive_ext.exchange.viewers import facts
from nnactive_ext.images.writing import write_image
from nnactive_ext.pages.colours import BOX, IGNORE
from nnactive_ext.paths import check_no_link, check_regular

Layer = tuple[Any, dict[str, Any], str]
_TASK = "nnactive_task"


def get_reader(path: str | Sequence[str]) -> Callable[[str], list[Layer]] | None:
    """The reader, if ``path`` is the folder of a task or its task.json."""
    return read_task if isinstance(path, str) and (_folder(path) / facts.NAME).exists() else None


def read_task(path: str) -> list[Layer]:
    """The channels, the outline of the box, and a labels layer of the box alone: nothing else can be painted.

    Layers are in mm along the image's own axes (z, y, x), from the centre of the crop's first voxel: napari draws slices
    wrongly where its world is not along the axes of the array. Where that is in the patient is in the labels' metadata.
    """
    folder = _folder(path)
    content, space, box = facts.read(folder)
    scale = space.spacing_zyx
    layers: list[Layer] = []
    for number, image in enumerate(content["images"]):
        array = _voxels(folder / image["file"])
        layers.append((array, {"name": image["channel"], "scale": scale, "visible": number == 0}, "image"))
    layers.append((_outline(box), _outline_meta(scale), "shapes"))
    labels = _voxels(folder / content["label"])
    if labels.shape != space.shape:
        raise ValueError(f"{folder / content['label']} has {labels.shape} voxels (z, y, x) instead of {space.shape}")
    names = content["labels"]
    tints: dict[int | None, Any] = {None: (0, 0, 0, 0), 0: (0, 0, 0, 0)}
    tints |= {names[name]: [*(part / 255 for part in content["colours"][name]), 1] for name in names if names[name]}
    meta = {
        "name": content["id"],
        "scale": scale,
        "translate": [start * mm for start, mm in zip(box.start, scale, strict=True)],
        "colormap": tints,
        "features": {"index": list(names.values()), "label": list(names)},
        "metadata": {_TASK: str(folder.resolve())},
    }
    # Last, so that it is the layer selected when the task opens.
    return [*layers, (labels[box.slices].astype(np.uint16), meta, "labels")]


def write_task_labels(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write the labels layer of a task to ``path`` (.nii.gz), with ``ignore`` around the box.

    The file has the extent of the task's images, so that it may replace the task's label file and other viewers still open
    it. Errors: ValueError for a layer that is no task's, or no longer of the box's size, NnActiveError where there is no space.
    """
    if _TASK not in meta.get("metadata", {}):
        raise ValueError("only the labels layer that was opened with a task folder can be saved as its answer")
    content, space, box = facts.read(Path(meta["metadata"][_TASK]))
    data = np.asarray(data)
    if data.shape != box.size:
        raise ValueError(f"the layer has {data.shape} voxels (z, y, x) instead of the box's {box.size}")
    labels = np.full(space.shape, content["labels"][IGNORE], np.uint16)
    labels[box.slices] = data
    write_image(Path(path), space.image(labels))
    return [path]


def _voxels(file: Path) -> np.ndarray:
    """Of an image in a folder that somebody may have sent."""
    check_regular(check_no_link(file))
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))


def _folder(path: str) -> Path:
    return Path(path).parent if Path(path).name == facts.NAME else Path(path)


def _outline(box: Any) -> list[np.ndarray]:
    """One rectangle in each slice of the box, along the outer faces of its voxels."""
    (_, top, left), (_, bottom, right) = np.subtract(box.start, 0.5), np.subtract(box.stop, 0.5)
    corners = [(top, left), (top, right), (bottom, right), (bottom, left)]
    return [np.array([(z, y, x) for y, x in corners]) for z in range(box.start[0], box.stop[0])]


def _outline_meta(scale: Sequence[float]) -> dict[str, Any]:
    colour = [part / 255 for part in BOX]
    return {
        "name": "query box",
        "scale": scale,
        "shape_type": "rectangle",
        "face_color": [0, 0, 0, 0],
        "edge_color": colour,
        "edge_width": 0.3,
    }
