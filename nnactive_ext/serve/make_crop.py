"""The short-lived process that reads an image and writes the crop of one task, or the overview of one case, as files.

The server starts it as ``-m nnactive_ext.serve.make_crop``, so that its own memory does not depend on the images.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import TEMPORARY, write_json

if TYPE_CHECKING:
    from nnactive_ext.exchange.crops import Crops
    from nnactive_ext.experiment.experiment import Experiment

PAGE = "page.json"
"""In the folder of a crop: what its page shows."""
MADE_FROM = "made_from"
"""In :data:`PAGE`: a checksum of all that decides what the task starts with."""
AHEAD = "ahead"
"""In what is asked, and of the command: nobody waits for it, so what people do goes first."""
LONGEST = 1800
"""Seconds that a child may take, for members on a CPU too."""
START = "start.nii.gz"
"""The labels that a task starts with."""
OVERVIEW = "overview.nii.gz"
_NEEDED = (
    *(f"nnactive_ext.exchange.{name}" for name in ("crops", "crop_facts", "page", "starting")),
    *(f"nnactive_ext.images.{name}" for name in ("nifti", "metaimage", "writing")),
    *("nnactive_ext.labelling.annotators", "nnactive_ext.labelling.opening", "nnunetv2.imageio.reader_writer_registry"),
)
MOST_VOXELS = 16 << 20
"""Of an overview, as 16-bit numbers: 32 MB."""


def main() -> None:
    """Read what to make from the standard input; write what went wrong, as JSON, to the standard output.

    What is imported takes longer than most crops, so the server starts this process before it knows what to make.
    """
    if AHEAD in sys.argv[1:] and hasattr(os, "nice"):
        os.nice(10)
    for name in _NEEDED:
        import_module(name)
    asked = sys.stdin.read()
    if not asked:  # the server has ended
        return
    try:
        make(json.loads(asked))
    except NnActiveError as error:
        print(json.dumps({"error": str(error)}))


def make(asked: Mapping[str, Any]) -> None:
    """Write the folder ``asked["target"]``, whole or not at all: the crop of a task, or else the overview of a case."""
    from nnactive_ext.labelling.opening import open_experiment

    experiment, target = open_experiment(asked["number"]), Path(asked["target"])
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=target.parent) as aside:
        made = Path(aside) / "made"
        made.mkdir()
        if "task" in asked:
            _task(experiment, asked, made)
        else:
            _overview(experiment, asked["case"], made)
        with suppress(FileNotFoundError):  # of an earlier state of the labels
            target.rename(Path(aside) / "old")
        try:
            os.replace(made, target)
        except OSError:  # another server of this experiment was first
            if not (target / PAGE).is_file():
                raise
    for left in target.parent.glob(f"{TEMPORARY}*"):  # of a child that was killed: a younger one may be another server's
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > LONGEST:
                shutil.rmtree(left, ignore_errors=True)


def _task(experiment: Experiment, asked: Mapping[str, Any], folder: Path) -> None:
    from nnactive_ext.exchange.crop_facts import crop_facts
    from nnactive_ext.exchange.crops import Crops, write_channels
    from nnactive_ext.exchange.page import card
    from nnactive_ext.exchange.starting import ABOVE
    from nnactive_ext.images.writing import write_image
    from nnactive_ext.labelling.tasks import find_task

    options, task = asked["options"], find_task(experiment, asked["task"])
    above = options.get("start_above")
    crops = Crops(experiment, _ensemble(experiment, options), options.get("margin"), ABOVE if above is None else above)
    with ThreadPoolExecutor(1) as beside:  # reading a large image takes as long as checking it
        checked = beside.submit(_check, experiment, task.patch.case)
        try:
            view, voxels = crops.view(task, folder)
        finally:
            checked.result()  # says more than what reads a damaged file
    files = [folder / f"image_{number}.nii.gz" for number in range(len(voxels))]
    write_channels(files, voxels, view.space)
    write_image(folder / START, view.space.image(view.labels))
    shown = card(view, voxels)
    for number, picture in enumerate(shown.pictures):
        (folder / f"picture_{number}.png").write_bytes(base64.b64decode(picture.data))
    content = {
        **crop_facts(view, voxels, shown, _chosen(crops)),
        MADE_FROM: asked[MADE_FROM],
    }
    write_json(folder / PAGE, content)


def _check(experiment: Experiment, case: str) -> None:
    """Refuse damaged files, which ITK reads as if they were black where they end."""
    from nnactive_ext.images.metaimage import what_metaimage_hides
    from nnactive_ext.images.nifti import what_itk_hides

    for file in experiment.dataset.entries[case].images:
        problem = what_itk_hides(file) or what_metaimage_hides(file) if file.is_file() else None
        if problem:
            raise NnActiveError(f"{problem.rstrip('.')}. Restore the image.")


def _chosen(crops: Crops) -> str:
    return crops.start.words if crops.start and crops.start.blank else ""


def _ensemble(experiment: Experiment, options: Mapping[str, Any]) -> Any:
    """What opens the members that predict; None where there are none yet, and where tasks start blank."""
    from nnactive_ext.members.ensemble import trained_folds

    if options.get("blank") or experiment.state["cycle"] < 0:
        return None
    folds = options.get("folds") or trained_folds(experiment)
    if not folds:  # they are being trained
        return None

    def open_ensemble() -> Any:
        from nnactive_ext.experiment.commands import device_in_use
        from nnactive_ext.members.ensemble import NnUNetEnsemble
        from nnactive_ext.nnunet.environment import prepare_device

        device = options.get("device") or device_in_use(experiment)
        prepare_device(device)
        return NnUNetEnsemble(experiment, folds, device)

    return open_ensemble


def _overview(experiment: Experiment, case: str, folder: Path) -> None:
    """The first channel of a whole image, every n-th voxel of it, with its grey window."""
    import numpy as np

    from nnactive_ext.exchange.crops import write_channels
    from nnactive_ext.experiment.spaces import image_and_space
    from nnactive_ext.geometry.patch import Patch
    from nnactive_ext.pages.slices import grey_window, is_ct
    from nnactive_ext.serve.thin import thin

    _check(experiment, case)
    image, space = image_and_space(experiment, case)
    array, thinner = thin(image[0], space, MOST_VOXELS)
    window = grey_window(array, Patch(case, (0, 0, 0), thinner.shape))
    write_channels([folder / OVERVIEW], np.asarray(array)[None], thinner)
    facts = {"case": case, "window": [float(edge) for edge in window], "ct": is_ct(array), "channel": 0}
    write_json(folder / PAGE, {**facts, "shape": space.shape, "spacing": space.spacing_zyx})


if __name__ == "__main__":
    main()
