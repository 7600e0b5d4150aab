"""nnU-Net's dataset fingerprint from partial labels, in which ``ignore`` is not foreground."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.files import NOTHING_KEPT, Unpacked, write_json
from nnactive_ext.nnunet.dataset import Case, Dataset, read_images, read_labels
from nnactive_ext.parallel import map_cases

# As in nnU-Net's extractor: so many foreground voxels in all, an equal number of draws from each case.
_SAMPLES = 10e7
_PERCENTILES = (0.5, 50.0, 99.5)


def write_fingerprint(
    dataset: Dataset, file: Path, processes: int = 1, progress: bool = True, copies: Unpacked = NOTHING_KEPT
) -> dict[str, Any]:
    """Write ``dataset_fingerprint.json``; equal to nnU-Net's own where there is no ignore label.

    Foreground is what is annotated and > 0. If nothing in the dataset is, the non-zero voxels of the images stand in
    for it. nnU-Net's own extractor counts ``ignore`` as foreground (its issue 3055).
    """
    samples = int(_SAMPLES // len(dataset.cases))
    jobs = [case.read_from(copies) for case in dataset.cases.values()]
    read = partial(_analyse, reader=dataset.reader_writer, ignore=dataset.labels.ignore, samples=samples)
    results = map_cases(read, jobs, "Extracting dataset fingerprint", processes, progress)
    if not any(len(intensities) for _, _, channels, _ in results for intensities in channels):
        read = partial(read, nonzero=True)
        results = map_cases(read, jobs, "Nothing is annotated as foreground: using non-zero voxels", processes, progress)
    properties = {}
    for channel in range(len(dataset.json["channel_names"])):
        values = np.concatenate([channels[channel] for _, _, channels, _ in results])
        low, median, high = percentiles(values, _PERCENTILES)
        properties[str(channel)] = {
            "mean": float(np.mean(values)),
            "median": float(median),
            "std": float(np.std(values)),
            "min": float(np.min(values)),
            "max": float(np.max(values)),
            "percentile_99_5": float(high),
            "percentile_00_5": float(low),
        }
    fingerprint = {
        "spacings": [list(map(float, spacing)) for _, spacing, _, _ in results],
        "shapes_after_crop": [list(map(int, shape)) for shape, _, _, _ in results],
        "foreground_intensity_properties_per_channel": properties,
        "median_relative_size_after_cropping": float(np.median([relative for *_, relative in results])),
    }
    write_json(file, fingerprint)
    return fingerprint


def _analyse(case: Case, reader: Any, ignore: int, samples: int, nonzero: bool = False) -> tuple:
    from acvl_utils.cropping_and_padding.bounding_boxes import bounding_box_to_slice, get_bbox_from_mask

    images, properties = read_images(reader, case.images)
    inside = (images != 0).any(0)
    # nnU-Net fills the holes of this mask first, which takes long and does not change its bounding box.
    box = bounding_box_to_slice(get_bbox_from_mask(inside))
    if nonzero:
        foreground = inside[box]
    else:
        labels = read_labels(reader, case.label)[0][0][box]
        foreground = (labels > 0) & (labels != ignore)
    cropped = images[(slice(None), *box)]
    voxels = [channel[foreground] for channel in cropped]
    relative = np.prod(cropped.shape[1:]) / np.prod(images.shape[1:])
    return cropped.shape[1:], properties["spacing"], _drawn(voxels, samples), relative


def _drawn(channels: Sequence[np.ndarray], samples: int) -> list[np.ndarray | list]:
    """As nnU-Net's ``collect_foreground_intensities``, which takes further statistics of each case that nobody uses."""
    rng = np.random.RandomState(1234)
    # The empty list, of 64-bit floats, decides the precision of the statistics over all cases.
    return [rng.choice(voxels, samples, replace=True) if len(voxels) else [] for voxels in channels]


def percentiles(values: np.ndarray, wanted: Sequence[float]) -> list[float]:
    """The same as ``np.percentile(values, wanted)``, by counting where all values are whole numbers, as those of CTs are.

    >>> percentiles(np.array([4.0, 1.0, 2.0, 2.0]), [0, 50, 90])
    [1.0, 2.0, 3.4000000000000004]
    """
    low, found = values.min(), []
    counts = _counts(values, low)
    if counts is not None:
        before = np.cumsum(counts)
        for place in (len(values) - 1) * np.true_divide(wanted, 100):
            ranks = [min(int(place) + i, len(values) - 1) for i in (0, 1)]
            two = int(low) + np.searchsorted(before, ranks, side="right")
            if two.all():  # zeros may have a sign
                found.append(float(np.quantile(two.astype(values.dtype), place - int(place))))
    return found if len(found) == len(wanted) else [float(value) for value in np.percentile(values, wanted)]


def _counts(values: np.ndarray, low: float) -> np.ndarray | None:
    """How many are ``low``, ``low`` + 1 and so on; None where they are not only whole numbers, or of a wide range."""
    if not (values.max() - low < 1 << 16 and abs(low) < 1 << 24):
        return None
    counts = np.zeros(1 << 16, np.int64)
    for start in range(0, len(values), 1 << 20):
        block = values[start : start + (1 << 20)]
        whole = block.astype(np.intp)
        if not np.array_equal(whole, block):
            return None
        counts += np.bincount(whole - int(low), minlength=len(counts))
    return counts
