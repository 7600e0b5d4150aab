"""What ITK-SNAP opens: a workspace for each task, and a label description file."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from pathlib import Path

from nnactive_ext.exchange.view import View
from nnactive_ext.files import write_text
from nnactive_ext.pages.colours import IGNORE, colours

WORKSPACE = "task.itksnap"
_RULER = "################################################"


def write(view: View) -> None:
    """``task.itksnap``: the images, the labels to edit, their names and colours, and the box as the region of interest."""
    # ITK-SNAP knows absolute paths only; where SaveLocation is not the workspace's folder it takes the layers' paths
    # relative to SaveLocation, and so finds them wherever the whole folder is copied.
    folder = Path("/tasks", view.task.id) if view.private else view.folder.resolve()
    registry = ET.Element("registry")
    for key, value in _entries(view, folder):
        _put(registry, key, value)
    ET.indent(registry)
    text = ET.tostring(registry, encoding="unicode")
    write_text(view.folder / WORKSPACE, f'<?xml version="1.0" encoding="UTF-8" ?>\n{text}\n')


def write_labels(names: Mapping[str, int], file: Path) -> None:
    """A label description file for *Segmentation > Import Label Descriptions*; ``ignore`` is not shown."""
    # The second line, exactly as it is, is how ITK-SNAP recognises a file dropped on its window.
    lines = [_RULER, "# ITK-SnAP Label Description File", "# File format: IDX -R- -G- -B- -A-- VIS MSH LABEL", _RULER]
    for name, (red, green, blue) in colours(names).items():
        shown = int(names[name] != 0 and name != IGNORE)
        opacity = int(names[name] != 0)
        plain = name.replace('"', "'")
        lines.append(f'{names[name]:5} {red:5} {green:4} {blue:4} {opacity:8} {shown:2} {shown:2}    "{plain}"')
    write_text(file, "\n".join(lines) + "\n")


def _entries(view: View, folder: Path) -> Iterator[tuple[str, object]]:
    yield "SaveLocation", folder.as_posix()
    yield "Version", "20250909"
    layers = [(view.images[0], "MainRole", view.channels[0]), (view.label, "SegmentationRole", view.task.id)]
    layers += [(file, "OverlayRole", name) for file, name in zip(view.images[1:], view.channels[1:], strict=True)]
    for number, (file, role, name) in enumerate(layers):
        layer = f"Layers.Layer[{number:03}]"
        yield f"{layer}.AbsolutePath", (folder / file.name).as_posix()
        yield f"{layer}.Role", role
        yield f"{layer}.LayerMetaData.CustomNickName", name
    settings = "Layers.Layer[000].ProjectMetaData"
    # ITK-SNAP drops all settings where these are not the image's.
    yield f"{settings}.Files.Grey.Dimensions", " ".join(map(str, view.space.shape[::-1]))
    for axis, (start, size) in enumerate(zip(view.box.start[::-1], view.box.size[::-1], strict=True)):
        yield f"{settings}.IRIS.BoundingBox.ROIBox[{axis}].Index", start
        yield f"{settings}.IRIS.BoundingBox.ROIBox[{axis}].Size", size
    # Confines painting to the box, as `ignore` is all around it. "OverVisible" does not: the brush takes that for "over
    # every label but background" (SegmentationUpdateIterator.h), hidden or not, and leaves an empty box unpaintable.
    yield f"{settings}.IRIS.LabelState.CoverageMode", "OverOne"
    # Where an earlier answer left voxels of the box open, these are what is to be painted.
    yield f"{settings}.IRIS.LabelState.OverwriteLabel", view.names[IGNORE] if view.partly_open else 0
    yield f"{settings}.IRIS.LabelState.DrawingLabel", next(value for value in view.names.values() if value)
    table = f"{settings}.IRIS.LabelTable"
    labels = [(name, colour) for name, colour in colours(view.names).items() if view.names[name]]
    yield f"{table}.NumberOfElements", len(labels)
    for number, (name, colour) in enumerate(labels):
        element = f"{table}.Element[{number}]"
        yield f"{element}.Index", view.names[name]
        yield f"{element}.Alpha", 255
        yield f"{element}.Label", name
        yield f"{element}.Color", " ".join(map(str, colour))
        yield f"{element}.Flags", "0 0" if name == IGNORE else "1 1"  # shown in 3D, shown in slices


def _put(registry: ET.Element, key: str, value: object) -> None:
    """Set the entry ``key``, whose dots lead through folders."""
    *folders, entry = key.split(".")
    place = registry
    for name in folders:
        found = next((child for child in place if child.tag == "folder" and child.get("key") == name), None)
        place = ET.SubElement(place, "folder", key=name) if found is None else found
    ET.SubElement(place, "entry", key=entry, value=str(value))
