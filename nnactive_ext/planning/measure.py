"""Reads every case of a dataset once, reports everything wrong with it, and measures what planning needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import ndimage

from nnactive_ext.errors import NnActiveError, brief
from nnactive_ext.geometry.patch import Triple, triple
from nnactive_ext.images.nifti import what_itk_hides
from nnactive_ext.nnunet.dataset import Case, Dataset, Labels
from nnactive_ext.parallel import default_processes, map_cases


@dataclass(frozen=True)
class Measured:
    """One case: shape in voxels and spacing in mm (z, y, x), voxels per label value, and per foreground label value the
    bounding box of its largest connected component in mm."""

    shape: Triple
    spacing: tuple[float, float, float]
    voxels: Mapping[int, int] = field(default_factory=dict)
    extents: Mapping[int, tuple[float, float, float]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def measure(dataset: Dataset, processes: int | None = None, progress: bool = True) -> dict[str, Measured]:
    """Every case of ``dataset``; raises one :class:`NnActiveError` that lists all problems found."""
    if processes is None:
        # Compressed images hold about a voxel in a byte, near enough to choose by.
        processes = default_processes(sum(file.stat().st_size for case in dataset.cases.values() for file in case.images))
    jobs = [(case, dataset.reader_writer, dataset.labels) for case in dataset.cases.values()]
    results = map_cases(_measure_case, jobs, "Checking cases", processes, progress)
    problems = [problem for result in results for problem in result.problems]
    if problems:
        shown = problems[:20] + ([f"... and {len(problems) - 20} more."] if len(problems) > 20 else [])
        raise NnActiveError("\n".join([*shown, "Correct these files, or remove their cases from the dataset."]))
    return dict(zip(dataset.cases, results, strict=True))


def _measure_case(job: tuple[Case, Any, Labels]) -> Measured:
    case, reader, labels = job
    nothing = Measured((0, 0, 0), (1.0, 1.0, 1.0))
    problems = [problem for file in (*case.images, case.label) if (problem := what_itk_hides(file))]
    if problems:
        return Measured(nothing.shape, nothing.spacing, problems=tuple(problems))
    try:
        image, properties = reader.read_images([str(file) for file in case.images])
    except Exception as error:
        files = ", ".join(map(str, case.images))
        return Measured(nothing.shape, nothing.spacing, problems=(f"{files}: cannot be read as one image: {brief(error)}",))
    for channel, file in zip(image, case.images, strict=False):
        bad = channel.size - int(np.isfinite(channel).sum())
        if bad:
            problems.append(f"{file}: {bad} voxels are NaN or infinite.")
    if len(image) != len(case.images):
        problems.append(
            f"{case.images[0]}: {len(image)} channels in {len(case.images)} file(s); one channel per file is needed."
        )
    if "sitk_stuff" in properties:
        problems += _channels_elsewhere(case)
    spacing = np.asarray(properties["spacing"], float)
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        problems.append(f"{case.images[0]}: the spacing {spacing.tolist()} is not usable.")
    try:
        label, label_properties = reader.read_seg(str(case.label))
    except Exception as error:
        problems.append(f"{case.label}: cannot be read: {brief(error)}")
        return Measured(nothing.shape, nothing.spacing, problems=tuple(problems))
    difference = _geometry_difference(image.shape[1:], properties, label.shape[1:], label_properties)
    if difference:
        problems.append(f"{case.label}: its geometry differs from {case.images[0].name}: {difference}.")
    label = label[0]
    values, counts = np.unique(label, return_counts=True)
    known = {*labels.values, labels.ignore} if "ignore" in labels.names else set(labels.values)
    unknown = [float(v) for v in values if v not in known]
    if unknown:
        shown = ", ".join(f"{v:g}" for v in unknown[:5])
        problems.append(f"{case.label}: label values not in dataset.json: {shown}.")
    if problems:
        return Measured(nothing.shape, nothing.spacing, problems=tuple(problems))
    extents = largest_components_mm(label, spacing.tolist(), [int(v) for v in values if v in labels.foreground])
    return Measured(
        triple(image.shape[1:]),
        tuple(float(s) for s in spacing),  # type: ignore[arg-type]
        {int(v): int(n) for v, n in zip(values, counts, strict=True)},
        extents,
    )


def _channels_elsewhere(case: Case) -> list[str]:
    """Channels that lie elsewhere than the first one, about which nnU-Net only prints a line."""
    from nnactive_ext.images.headers import PLAIN, header_space
    from nnactive_ext.intake.inspect import channel_difference

    first = header_space(case.images[0], PLAIN)[0]
    found = [(file, channel_difference(first, header_space(file, PLAIN)[0])) for file in case.images[1:]]
    return [f"{file}: its geometry differs from {case.images[0].name}: {why}." for file, why in found if why]


def _geometry_difference(shape: tuple, properties: dict, label_shape: tuple, label_properties: dict) -> str:
    if tuple(shape) != tuple(label_shape):
        return f"{'x'.join(map(str, label_shape))} voxels instead of {'x'.join(map(str, shape))}"
    for kind in ("sitk_stuff", "nibabel_stuff"):
        for key, value in properties.get(kind, {}).items():
            other = label_properties.get(kind, {}).get(key)
            if other is None or not _is_numeric(value):
                continue
            # Headers hold single precision; a difference below a hundredth of a voxel is rounding.
            if not np.allclose(np.asarray(value, float), np.asarray(other, float), rtol=1e-4, atol=1e-2):
                return f"{key} {_numbers(other)} instead of {_numbers(value)}"
    if not np.allclose(properties["spacing"], label_properties["spacing"], rtol=1e-3):
        return f"spacing {_numbers(label_properties['spacing'])} instead of {_numbers(properties['spacing'])}"
    return ""


def _is_numeric(value: Any) -> bool:
    return np.asarray(value).dtype.kind in "fiu"


def _numbers(value: Any) -> str:
    return "(" + ", ".join(f"{v:.4g}" for v in np.asarray(value, float).ravel()) + ")"


def largest_components_mm(
    label: np.ndarray, spacing: Sequence[float], values: Sequence[int]
) -> dict[int, tuple[float, float, float]]:
    """The bounding box in mm (z, y, x) of the largest connected component of each of ``values`` that ``label`` holds."""
    # Components are sought in each label's bounding box only: most structures fill a small part of an image.
    boxes = dict(enumerate(ndimage.find_objects(label.astype(np.int32)), start=1))
    return {value: _largest_component_mm(label[boxes[value]] == value, np.asarray(spacing)) for value in values}


def _largest_component_mm(mask: np.ndarray, spacing: np.ndarray) -> tuple[float, float, float]:
    components, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    largest = int(np.argmax(np.bincount(components.ravel())[1:])) + 1
    box = ndimage.find_objects(components)[largest - 1]
    z, y, x = ((s.stop - s.start) * mm for s, mm in zip(box, spacing, strict=True))
    return float(z), float(y), float(x)
