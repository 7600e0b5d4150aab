"""Reads every case of a dataset once, reports everything wrong with it, and measures what planning needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from nnactive_ext.errors import NnActiveError, brief
from nnactive_ext.files import NOTHING_KEPT, Unpacked
from nnactive_ext.geometry.label_values import voxels_per_value
from nnactive_ext.geometry.patch import Triple, triple
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.checks import damage, examined, off_grid
from nnactive_ext.images.nifti import header_problem
from nnactive_ext.images.voxels import Voxels, look_at, same_channel, same_image
from nnactive_ext.intake.problems import refuse
from nnactive_ext.nnunet.dataset import Case, Dataset, Labels, read_labels
from nnactive_ext.parallel import default_processes, map_cases


@dataclass(frozen=True)
class Measured:
    """One case: shape in voxels and spacing in mm (z, y, x), voxels per label value, and per foreground label value the
    bounding box of its largest connected component in mm, and its width in mm (:func:`widths_mm`). ``digest``: of the voxels
    of channel 0; ``space``: of the array, None where the format knows no patient; ``greys``: lowest value and offset from
    Hounsfield units of each channel."""

    shape: Triple
    spacing: tuple[float, float, float]
    voxels: Mapping[int, int] = field(default_factory=dict)
    extents: Mapping[int, tuple[float, float, float]] = field(default_factory=dict)
    widths: Mapping[int, float] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    digest: str = ""
    space: Space | None = None
    greys: tuple[tuple[float, int | None], ...] = ()


def measure(
    dataset: Dataset, processes: int | None = None, progress: bool = True, copies: Unpacked = NOTHING_KEPT
) -> dict[str, Measured]:
    """Every case of ``dataset``; raises one :class:`NnActiveError` that lists all problems found. ``copies``: where
    decompressed images are left."""
    if processes is None:
        # Compressed images hold about a voxel in a byte, near enough to choose by.
        processes = default_processes(sum(file.stat().st_size for case in dataset.cases.values() for file in case.images))
    job = partial(_measure_case, reader=dataset.reader_writer, labels=dataset.labels, copies=copies)
    results = map_cases(job, dataset.cases.values(), "Checking cases", processes, progress)
    problems = [problem for result in results for problem in result.problems]
    measured = dict(zip(dataset.cases, results, strict=True))
    problems += _same_images(dataset, {name: result for name, result in measured.items() if not result.problems})
    refuse(problems, "Correct these files, or remove their cases from the dataset.")
    return measured


def _measure_case(case: Case, reader: Any, labels: Labels, copies: Unpacked) -> Measured:
    nothing = Measured((0, 0, 0), (1.0, 1.0, 1.0))
    problems = _file_problems(case, type(reader).__name__.startswith("SimpleITK"), copies)
    if problems:
        return replace(nothing, problems=tuple(problems))
    try:
        image, properties = reader.read_images([str(copies.of(file)) for file in case.images])
    except Exception as error:
        files = ", ".join(map(str, case.images))
        return replace(nothing, problems=(f"{files}: cannot be read as one image: {brief(error)}",))
    if len(image) != len(case.images):
        problems.append(
            f"{case.images[0]}: {len(image)} channels in {len(case.images)} file(s); one channel per file is needed."
        )
    channels = [look_at(channel) for channel in image]
    problems += _voxel_problems(case, channels)
    spacing = np.asarray(properties["spacing"], float)
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        problems.append(f"{case.images[0]}: the spacing {spacing.tolist()} is not usable.")
    try:
        label, label_properties = read_labels(reader, case.label)
    except NnActiveError as error:
        problems.append(str(error))
        return replace(nothing, problems=tuple(problems))
    difference = _geometry_difference(image.shape[1:], properties, label.shape[1:], label_properties)
    if difference:
        problems.append(f"{case.label}: its geometry differs from {case.images[0].name}: {difference}.")
    label = label[0]
    voxels = voxels_per_value(label)
    known = {*labels.values, labels.ignore} if "ignore" in labels.names else set(labels.values)
    unknown = [float(v) for v in voxels if v not in known]
    if unknown:
        shown = ", ".join(f"{v:g}" for v in unknown[:5])
        problems.append(f"{case.label}: label values not in dataset.json: {shown}.")
    if problems:
        return replace(nothing, problems=tuple(problems))
    foreground = [v for v in voxels if v in labels.foreground]
    label = label.astype(np.min_scalar_type(max(voxels)))
    extents = largest_components_mm(label, spacing.tolist(), foreground)
    return Measured(
        triple(image.shape[1:]),
        tuple(float(s) for s in spacing),  # type: ignore[arg-type]
        voxels,
        extents,
        widths_mm(label, spacing.tolist(), foreground),
        digest=channels[0].digest,
        space=_space(properties, image.shape[1:]),
        greys=tuple((channel.minimum, channel.offset) for channel in channels),
    )


def _space(properties: Mapping[str, Any], shape: Sequence[int]) -> Space | None:
    try:
        return Space.of_properties(properties, shape)
    except ValueError:
        return None


def _file_problems(case: Case, by_itk: bool, copies: Unpacked) -> list[str]:
    """What is wrong with the files of a case before their voxels are read: damage, and headers that are those of no channel."""
    problems: list[str] = []
    spaces: list[tuple[Path, Space]] = []
    for file in case.images:
        try:
            if space := examined(file, by_itk, copies.place(file)):
                spaces.append((file, space))
        except NnActiveError as error:
            problems.append(str(error))
    problems += [problem for file, space in spaces[1:] if (problem := off_grid(file, space, *spaces[0]))]
    problems += [problem] if (problem := damage(case.label) or header_problem(case.label)) else []
    return problems


def _voxel_problems(case: Case, channels: Sequence[Voxels]) -> list[str]:
    """What is wrong with the voxels of the channels of a case, each alone and as one beside the others."""
    found = [(file, voxels) for file, voxels in zip(case.images, channels, strict=False)]
    problems = [f"{file}: {voxels.problem}." for file, voxels in found if voxels.problem]
    first: dict[str, Path] = {}
    for file, voxels in found:
        if not voxels.problem and first.setdefault(voxels.digest, file) != file:
            problems.append(same_channel(file, first[voxels.digest], case.name))
    return problems


def _same_images(dataset: Dataset, measured: Mapping[str, Measured]) -> list[str]:
    """Cases with the same image, of which one may come into the test set and the other into the pool."""
    seen: dict[str, str] = {}
    problems = []
    for name, case in measured.items():
        other = seen.setdefault(case.digest, name)
        if other != name and np.allclose(case.spacing, measured[other].spacing, rtol=1e-4):
            problems.append(same_image(name, other, dataset.cases[name].images[0], dataset.cases[other].images[0]))
    return problems


def _geometry_difference(shape: tuple, properties: dict, label_shape: tuple, label_properties: dict) -> str:
    if tuple(shape) != tuple(label_shape):
        return f"{'x'.join(map(str, label_shape))} voxels instead of {'x'.join(map(str, shape))}"
    slack = 1e-2 * min(1.0, *map(float, properties["spacing"]))
    for kind in ("sitk_stuff", "nibabel_stuff"):
        for key, value in properties.get(kind, {}).items():
            other = label_properties.get(kind, {}).get(key)
            if other is None or not _is_numeric(value):
                continue
            # Headers hold single precision; a difference below a hundredth of a voxel is rounding.
            if not np.allclose(np.asarray(value, float), np.asarray(other, float), rtol=1e-4, atol=slack):
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
    boxes = dict(enumerate(ndimage.find_objects(_whole(label)), start=1))
    return {value: _largest_component_mm(label[boxes[value]] == value, np.asarray(spacing)) for value in values}


def _largest_component_mm(mask: np.ndarray, spacing: np.ndarray) -> tuple[float, float, float]:
    components, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    largest = int(np.argmax(np.bincount(components.ravel())[1:])) + 1
    box = ndimage.find_objects(components)[largest - 1]
    z, y, x = ((s.stop - s.start) * mm for s, mm in zip(box, spacing, strict=True))
    return float(z), float(y), float(x)


def widths_mm(label: np.ndarray, spacing: Sequence[float], values: Sequence[int]) -> dict[int, float]:
    """Three times the volume of each of ``values`` in ``label`` (z, y, x) over the area of its voxels' faces towards others.

    That is two thirds of the radius of a ball, about the radius of a long cylinder and at most 1.5 times the thickness of a
    plate, in mm; infinite where a label has no face inside the image. Faces at the image's border do not count.

    >>> plate = np.zeros((3, 10, 3), int)
    >>> plate[:, 4:8] = 1
    >>> widths_mm(plate, (1.0, 2.0, 1.0), [1])  # 8 mm thick: 3 * 8 / 2 faces
    {1: 12.0}
    """
    if not values:
        return {}
    label = _around(_whole(label), values)
    most = int(label.max()) + 1
    volumes = np.bincount(label.ravel(), minlength=most) * float(np.prod(spacing))
    areas = np.zeros(most)
    for axis, mm in enumerate(spacing):
        one, other = (np.moveaxis(label, axis, 0)[part] for part in (slice(1, None), slice(None, -1)))
        differ = one != other
        faces = np.bincount(one[differ], minlength=most) + np.bincount(other[differ], minlength=most)
        areas += faces * float(np.prod(spacing)) / mm
    return {v: float(3 * volumes[v] / areas[v]) if areas[v] else float("inf") for v in values}


def _around(label: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """The part of ``label`` that holds these values and all of their faces towards others."""
    boxes = [box for value, box in enumerate(ndimage.find_objects(label), start=1) if value in values and box]
    if len(boxes) < len(values):
        return label
    return label[
        tuple(slice(max(0, min(s.start for s in axis) - 1), max(s.stop for s in axis) + 1) for axis in zip(*boxes, strict=True))
    ]


def _whole(label: np.ndarray) -> np.ndarray:
    return label if label.dtype.kind in "iu" else label.astype(np.int32)
