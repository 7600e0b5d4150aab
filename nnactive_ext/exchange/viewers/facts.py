"""task.json: what any program needs to open a task, read by the scripts for 3D Slicer and napari."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from nnactive_ext.exchange.view import View
from nnactive_ext.files import read_json, write_json
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.geometry.space import Space
from nnactive_ext.pages.colours import colours
from nnactive_ext.paths import Name
from nnactive_ext.schemas import Count, JsonObject, Shape, Spacing, Start

NAME = "task.json"


class _Image(TypedDict):
    channel: str
    file: Name


class _Space(TypedDict):
    shape_zyx: Shape
    spacing_xyz: Spacing
    origin_lps: tuple[float, float, float]
    direction: tuple[float, float, float, float, float, float, float, float, float]


class _Box(TypedDict):
    start_zyx: Start
    size_zyx: Shape


class _Facts(TypedDict):
    id: str
    case: str
    images: list[_Image]
    label: Name
    labels: dict[str, Count]
    space: _Space
    box: _Box


class TaskFacts(_Facts, total=False):
    """Those of today; exports of earlier versions lack some."""

    label_version: Count
    colours: JsonObject
    predicted: bool
    starts_blank: list[str]


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


def read_content(folder: Path) -> TaskFacts:
    """The content of ``folder``'s task.json; a missing or damaged one is an NnActiveError."""
    return read_json(folder / NAME, TaskFacts, "Export the task again.")


def read(folder: Path) -> tuple[TaskFacts, Space, Patch]:
    """:func:`read_content`, the space of the crop and the box in its voxels."""
    content = read_content(folder)
    space, box = content["space"], content["box"]
    crop = Space(space["shape_zyx"], space["spacing_xyz"], space["origin_lps"], space["direction"])
    return content, crop, Patch(content["case"], box["start_zyx"], box["size_zyx"])
