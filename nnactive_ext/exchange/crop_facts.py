"""What the editor in the browser shows of a crop besides its voxels, whether a server sends it or a page holds it."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnactive_ext.exchange.page import Card
from nnactive_ext.exchange.view import View
from nnactive_ext.pages.slices import grey_window, is_ct


def crop_facts(view: View, voxels: np.ndarray, shown: Card, blank: str) -> dict[str, Any]:
    """Plain values for JSON.

    Args:
        view: the task.
        voxels: the crop (channel, z, y, x).
        shown: the card of the task.
        blank: the classes that start blank although members predict, and why; empty if there are none.

    Returns:
        Names of channels with their grey windows, the patch in voxels of the crop (z, y, x), and what the task starts with.
    """
    windows = [grey_window(channel, view.box) for channel in voxels]
    return {
        "id": view.task.id,
        "case": view.box.case,
        "channels": list(view.channels),
        "windows": [[float(edge) for edge in window] for window in windows],
        "ct": [is_ct(channel) for channel in voxels],
        "shape": view.space.shape,
        "spacing": view.space.spacing_zyx,
        "box": {"start": view.box.start, "size": view.box.size},
        "voxels": shown.voxels,
        "size": shown.size,
        "planes": [picture.title for picture in shown.pictures],
        "predicted": view.predicted,
        "starts_blank": list(view.blank),
        "start": blank,
        "label_version": view.label_version,
    }
