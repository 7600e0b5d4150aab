"""task.json: what any program needs to open a task, read by the scripts for 3D Slicer and napari."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnactive_ext.exchange.view import View
from nnactive_ext.files import read_json, write_json
from nnactive_ext.geometry.patch import Patch, triple
from nnactive_ext.geometry.space import Space
from nnactive_ext.pages.colours import colours

NAME = "task.json"


def write(view: View) -> None:
    """Files are named relative to the folder; positions are those of centres of voxels, in LPS mm (ITK's and DICOM's)."""
    last = [n - 1 for n in view.box.stop]
    content = {
        "id": view.task.id,
        "case": view.box.case,
        "images": [{"channel": channel, "file": file.name} for channel, file in zip(view.channels, view.images, strict=True)],
        "label": view.label.name,
        "labels": dict(view.names),
        "label_version": view.label_version,
        "colours": colours(view.names),
        "predicted": view.predicted,
        "starts_blank": list(view.blank),
        "space": {
            "shape_zyx": view.space.shape,
            "spacing_xyz": view.space.spacing,
            "origin_lps": view.space.origin,
            "direction": view.space.direction,
        },
        "box": {
            "start_zyx": view.box.start,
            "size_zyx": view.box.size,
            "first_voxel_lps": view.space.to_world(view.box.start),
            "last_voxel_lps": view.space.to_world(last),
        },
    }
    write_json(view.folder / NAME, content)


def read(folder: Path) -> tuple[dict[str, Any], Space, Patch]:
    """The content of ``folder``'s task.json, the space of the crop and the box in its voxels."""
    content = read_json(folder / NAME)
    space, box = content["space"], content["box"]
    x, y, z = space["spacing_xyz"]
    origin = tuple(space["origin_lps"])
    crop = Space(triple(space["shape_zyx"]), (x, y, z), (origin[0], origin[1], origin[2]), tuple(space["direction"]))
    return content, crop, Patch(content["case"], triple(box["start_zyx"]), triple(box["size_zyx"]))
