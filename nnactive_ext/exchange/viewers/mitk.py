"""What MITK Workbench opens: a task list, the start segmentations with their label names, and name suggestions."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nnactive_ext.exchange.view import View
from nnactive_ext.files import write_json
from nnactive_ext.images.writing import write_image
from nnactive_ext.pages.colours import IGNORE, colours

START = "mitk_start.nrrd"
"""In a task's folder, and without the task's id so that nobody takes it for an answer."""
LABELS = "labels.json"


def write(view: View) -> None:
    """``mitk_start.nrrd``: the labels to edit as MITK's own kind of file, for its task lists start from no other."""
    found = colours(view.names)
    labels = [
        {
            "name": name,
            "value": value,
            "color": {"type": "ColorProperty", "value": [part / 255 for part in found[name]]},
            # A locked label is not painted over, so that painting stays in the box; but what is open in it must be painted.
            "locked": name == IGNORE and not view.partly_open,
            "opacity": 0.2 if name == IGNORE else 0.6,
            "visible": True,
        }
        for name, value in view.names.items()
        if value
    ]
    image = view.space.image(view.labels.astype(np.uint16))
    image.SetMetaData("modality", "org.mitk.multilabel.segmentation")
    image.SetMetaData("org.mitk.multilabel.segmentation.version", "1")
    image.SetMetaData("org.mitk.multilabel.segmentation.labelgroups", json.dumps([{"labels": labels}]))
    image.SetMetaData("org.mitk.multilabel.segmentation.unlabeledlabellock", "0")
    write_image(view.folder / START, image)


def write_list(views: Sequence[View], folder: Path, name: str) -> None:
    """``{name}_mitk.json`` in ``folder``, a segmentation task list (docs.mitk.org, MITKSegmentationTaskListsPage).

    Results are ``.nrrd``, where MITK keeps the names of labels. A task shows its first channel: MITK takes one image.
    """
    tasks = []
    for view in views:
        place = Path(os.path.relpath(view.folder, folder))
        tasks.append(
            {
                "Name": view.task.id,
                "Description": "Label every voxel that is not grey; background needs no paint. Unsure: " + IGNORE + ".",
                "Image": (place / view.images[0].name).as_posix(),
                "Segmentation": (place / START).as_posix(),
                "Result": (place / f"{view.task.id}_mitk.nrrd").as_posix(),
            }
        )
    content = {
        "FileFormat": "MITK Segmentation Task List",
        "Version": 1,
        "Name": name,
        "Defaults": {"LabelNameSuggestions": LABELS},
        "Tasks": tasks,
    }
    write_json(folder / f"{name}_mitk.json", content)


def write_labels(names: Mapping[str, int], file: Path) -> None:
    """The names and colours that MITK suggests for new labels."""
    found = colours(names)
    content = [{"name": name, "color": "#{:02x}{:02x}{:02x}".format(*found[name])} for name in names if names[name]]
    write_json(file, content)
