"""What 3D Slicer opens: the box as a markup, a script that sets the Segment Editor up, and a colour table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.exchange.view import View
from nnactive_ext.files import write_json, write_text
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.geometry.space import Space
from nnactive_ext.pages.colours import BOX, colours

BOX_FILE = "box.mrk.json"
SCRIPT = "open_in_slicer.py"
_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)


def write(view: View) -> None:
    """``box.mrk.json`` and ``open_in_slicer.py`` for ``Slicer --python-script``, which needs ``task.json`` beside it."""
    write_json(view.folder / BOX_FILE, {"@schema": _SCHEMA, "markups": [roi(view.space, view.box, "query box")]})
    script = resources.files("nnactive_ext.exchange.viewers").joinpath("slicer_script.py").read_text(encoding="utf-8")
    before, _, after = script.partition('TASK = ""\n')
    assert after, "slicer_script.py has no line for the task"
    # Slicer reads scripts in the computer's own encoding: ascii() keeps the whole file ASCII.
    write_text(view.folder / SCRIPT, f"{before}TASK = {view.task.id!a}\n{after}")


def roi(space: Space, box: Patch, name: str) -> dict[str, Any]:
    """``box`` of an image in ``space`` as a markup of type ROI: centre, size and axes in LPS mm.

    The box reaches from the first face of its first voxel to the last face of its last one.
    """
    centre = space.to_world([a + (n - 1) / 2 for a, n in zip(box.start, box.size, strict=True)])
    axes = np.reshape(space.direction, (3, 3))
    if np.linalg.det(axes) < 0:
        # Slicer's widgets expect right-handed axes; a box looks the same with one of them reversed.
        axes = axes * [-1, 1, 1]
    orientation = axes.ravel().tolist()
    point = {
        "id": "1",
        "label": f"{name}-1",
        "description": "",
        "associatedNodeID": "",
        "position": centre,
        "orientation": orientation,
        "selected": True,
        "locked": True,
        "visibility": True,
        "positionStatus": "defined",
    }
    # Interactive handles would let the annotator drag the box by accident, and hide what is under them.
    display = {
        "visibility": True,
        "opacity": 1.0,
        "color": _unit(BOX),
        "selectedColor": _unit(BOX),
        "propertiesLabelVisibility": False,
        "pointLabelsVisibility": False,
        "handlesInteractive": False,
    }
    return {
        "type": "ROI",
        "name": name,
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": True,
        "fixedNumberOfControlPoints": False,
        "labelFormat": "%N-%d",
        "lastUsedControlPointNumber": 1,
        "roiType": "Box",
        "insideOut": False,
        "center": centre,
        "orientation": orientation,
        "size": [n * mm for n, mm in zip(box.size[::-1], space.spacing, strict=True)],
        "controlPoints": [point],
        "measurements": [],
        "display": display,
    }


def write_colours(names: Mapping[str, int], file: Path) -> None:
    """A colour table (.ctbl), with which Slicer exports segments to the label values of ``names``."""
    lines = ["# Color table file " + file.name, f"# {len(names)} values"]
    for name, (red, green, blue) in colours(names).items():
        # Slicer splits the line at spaces, and reads underscores as spaces.
        lines.append(f"{names[name]} {'_'.join(name.split())} {red} {green} {blue} {0 if names[name] == 0 else 255}")
    write_text(file, "\n".join(lines) + "\n")


def _unit(colour: Sequence[int]) -> list[float]:
    return [value / 255 for value in colour]
