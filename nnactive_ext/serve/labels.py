"""The label map that a task's page begins with: a draft, the answer so far, or what the crop starts with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.geometry.patch import Patch, triple
from nnactive_ext.labelling.answers import CountingAnswers, labels_of, read_answer
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.tasks import Task
from nnactive_ext.serve.make_crop import START


def labels_now(experiment: Experiment, task: Task, who: str, folder: Path, page: Any) -> bytes:
    """The bytes of a ``.nii.gz`` on the grid of the crop: the answer of ``who``, else the answers that count, else the start.

    ``folder`` is that of the crop, and ``page`` what its page shows.
    """
    ledger = Ledger(experiment.annotation)
    counted = CountingAnswers.of(ledger)
    mine = [answer for answer in counted.answers.get(task.id, []) if answer.who == who]
    ignore = experiment.dataset.labels.ignore
    answer = read_answer(ledger, counted, mine[-1]) if mine else labels_of(ledger, counted, task.id, ignore)
    start = folder / START
    if answer is None:
        return start.read_bytes()
    return packed(start, Patch("", triple(page["box"]["start"]), triple(page["box"]["size"])), answer)


def packed(start: Path, box: Patch, answer: np.ndarray) -> bytes:
    """The bytes of the ``.nii.gz`` file ``start`` with ``answer`` (z, y, x), its labels in the patch ``box``."""
    import gzip

    import SimpleITK as sitk

    image = sitk.ReadImage(str(start))
    labels = sitk.GetArrayFromImage(image)
    labels[box.slices] = answer.astype(np.uint8)
    return gzip.compress(_nifti(image, labels), compresslevel=1)


def array_of(content: bytes) -> np.ndarray:
    """The voxels (z, y, x) of the bytes of a ``.nii.gz``."""
    import tempfile

    import SimpleITK as sitk

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "labels.nii.gz"
        file.write_bytes(content)
        return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))


def _nifti(like: Any, labels: np.ndarray) -> bytes:
    """A NIfTI file in memory, with the header that ITK gives an image like ``like``."""
    import tempfile

    import SimpleITK as sitk

    made = sitk.GetImageFromArray(labels)
    made.CopyInformation(like)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "labels.nii"
        sitk.WriteImage(made, str(file))
        return file.read_bytes()
