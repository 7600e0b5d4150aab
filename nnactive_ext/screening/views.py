"""Pictures of the cases of a pool, for a vision-language model that the user runs elsewhere (docs/open_set.md)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as Picture
from tqdm import tqdm

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import replacing
from nnactive_ext.geometry.patch import Patch, triple
from nnactive_ext.pages.planes import planes_of
from nnactive_ext.pages.slices import grey_window
from nnactive_ext.screening.images import pool_images

SIZE = 448
"""Pixels of the longest side of an image: what such models look at, or more."""
PARTS = (1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6)
"""Where slices lie along each axis: in the middle, and two on each side."""


def export_views(experiment: Experiment, folder: Path, progress: bool = True) -> int:
    """Write slices of each case of the pool: along each axis the middle one and four more.

    Files are called ``CASE/PLANE_N.png``, or with several channels ``CASE/channel_C_PLANE_N.png``; N counts from 1, and 3 is
    the middle. Pictures are grey, without letters and frames, in the window of the image's quantiles (of CT, a usual window),
    turned as a radiologist sees them. Case names are in the names of the folders.

    Args:
        experiment: planned.
        folder: a new or an empty folder.
        progress: show a progress bar.

    Returns:
        The number of pictures.

    Raises:
        NnActiveError: the folder holds something, or an image cannot be read.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise NnActiveError(f"--export_views {folder}: it is there already. Give a new folder.")
    written = 0
    for image in tqdm(pool_images(experiment), desc="Writing views", disable=not progress):
        voxels, space = image.read()
        whole = Patch(image.name, (0, 0, 0), space.shape)
        (folder / image.name).mkdir(parents=True)
        for number, channel in enumerate(voxels):
            window, prefix = grey_window(channel, whole), f"channel_{number}_" if len(voxels) > 1 else ""
            for place, part in enumerate(PARTS, 1):
                start = triple([min(int(part * n), n - 1) for n in space.shape])
                for plane in planes_of(space, Patch(image.name, start, (1, 1, 1)), SIZE):
                    shades = np.rint(plane.shades(channel, *window) * 255).astype(np.uint8)
                    with replacing(folder / image.name / f"{prefix}{plane.name}_{place}.png") as temporary:
                        Picture.fromarray(shades).save(temporary, "PNG")
                    written += 1
    return written
