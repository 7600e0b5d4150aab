"""How far a segmentation's surface is from the reference's, in mm: normalised surface distance and 95 % Hausdorff distance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from nnactive_ext.metrics.overlap import Classes, aggregate

_PERCENTILE = 0.95
_SLACK = 1e-5
"""Of the tolerance: a distance of one voxel is within a tolerance of one voxel, whatever the last digits of a header say."""


@dataclass(frozen=True)
class Surface:
    """Of one class in one case; NaN where the class is absent in prediction and reference."""

    nsd: float
    """Share of both surfaces that lies within the tolerance of the other one, 0..1; 0 where only one has the class."""
    hd95: float
    """The larger of the two directed 95th percentiles, in mm; infinite where only one has the class."""


def surface_per_case(
    prediction: np.ndarray,
    reference: np.ndarray,
    classes: Classes,
    spacing: Sequence[float],
    tolerance_mm: float | Mapping[str, float],
    ignore: int | None = None,
    threads: int = 1,
) -> dict[str, Surface]:
    """Surface metrics of each class in one case.

    The definitions are those of Nikolov et al. 2021 (doi:10.2196/26151) and their package ``surface-distance``: where the
    eight voxels around a corner are not all inside or all outside, the corner is a piece of surface, with the area that
    marching cubes give it; shares and percentiles are of area. A class that reaches the image's border has its surface there. A
    single slice is a slab, one voxel thick.

    Voxels where the *reference* is ``ignore`` are background in both. A class cut by them in both has the same surface at
    the cut in both, as if it agreed there: with much ignored, the numbers are too good.

    Args:
        prediction: a label map (z, y, x).
        reference: a label map of the same shape.
        classes: name -> label, or labels of a region.
        spacing: mm along (z, y, x).
        tolerance_mm: distances up to this many mm count as none in the NSD; one number, or one for each class.
        ignore: voxels where the reference has this value do not count.
        threads: number of classes that are measured at the same time; the numbers do not depend on it.

    Returns:
        Class -> NSD (0 to 1) and HD95 (mm). Both are NaN where the class is in neither array; where it is in one only, NSD is 0
        and HD95 infinite.

    Raises:
        ValueError: the arrays are not 3D or their shapes differ, or a length is not positive.

    >>> one, other = np.zeros((2, 9, 9, 9), int)
    >>> one[2:5, 2:5, 2:5] = other[4:7, 2:5, 2:5] = 1
    >>> found = surface_per_case(other, one, {"a": 1, "b": 2}, spacing=(3.0, 1.0, 1.0), tolerance_mm=6.0)
    >>> found["a"].nsd, round(found["a"].hd95, 9), found["b"]
    (1.0, 6.0, Surface(nsd=nan, hd95=nan))
    """
    if prediction.shape != reference.shape or prediction.ndim != 3:
        raise ValueError(f"a prediction of shape {prediction.shape} and a reference of shape {reference.shape}: give (z, y, x)")
    limits = tolerance_mm if isinstance(tolerance_mm, Mapping) else dict.fromkeys(classes, tolerance_mm)
    if len(spacing) != 3 or not all(mm > 0 for mm in (*spacing, *limits.values())):
        raise ValueError(f"spacing {tuple(spacing)} and tolerance {tolerance_mm}: give three lengths and one, above 0")
    if ignore is not None and (ignored := reference == ignore).any():
        prediction, reference = np.where(ignored, 0, prediction), np.where(ignored, 0, reference)
    mm = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
    boxes = [_boxes(labels) for labels in (prediction, reference)]

    def measured(name: str) -> Surface:
        wanted = np.atleast_1d(classes[name]).tolist()
        crop = _around([found[label] for found in boxes for label in wanted if label in found])
        predicted, true = (np.isin(array[crop], wanted) for array in (prediction, reference))
        return _compare(_Corners(predicted, mm), _Corners(true, mm), limits[name])

    if min(threads, len(classes)) < 2:
        return {name: measured(name) for name in classes}
    with ThreadPoolExecutor(min(threads, len(classes))) as pool:
        return dict(zip(classes, pool.map(measured, classes), strict=True))


def one_voxel(spacings: Iterable[Sequence[float]]) -> float:
    """A tolerance in mm: one voxel of the coarsest axis, in images with the median of these spacings. It is that of experiments
    of earlier versions; in images of thick slices it is as long as small structures are wide.

    >>> one_voxel([(3.0, 1.0, 1.0), (5.0, 1.0, 1.0), (4.0, 1.0, 1.0)])
    4.0
    """
    return float(np.median(np.array(list(spacings), float), axis=0).max())


MOST_VOXELS = 4
"""The default tolerance is at most this many in-plane voxels: a microscope's voxels are far below 1 mm."""


def in_plane_voxel(spacings: Iterable[Sequence[float]]) -> float:
    """The default tolerance in mm: one voxel in the plane of the slices, but from 1 to 3 mm, and at most
    :data:`MOST_VOXELS` voxels.

    The plane is that of the two finer axes of each image, and its voxel the longer side there; the median is over images.

    >>> in_plane_voxel([(10.0, 1.25, 1.25), (1.4, 8.0, 1.4), (1.1, 1.1, 9.0)])
    1.25
    >>> in_plane_voxel([(5.0, 0.7, 0.7)]), in_plane_voxel([(5.0, 4.0, 4.0)]), in_plane_voxel([(0.005, 0.001, 0.001)])
    (1.0, 3.0, 0.004)
    """
    voxel = float(np.median([sorted(spacing)[1] for spacing in spacings]))
    return min(3.0, max(1.0, voxel), MOST_VOXELS * voxel)


@dataclass(frozen=True)
class Tolerance:
    """Of the NSD in mm: one for all classes, but for those in ``per_class``.

    >>> tolerance = Tolerance(2.0, {"vessel": 1.0})
    >>> tolerance.of("vessel"), tolerance.of("liver"), str(tolerance)
    (1.0, 2.0, '2 mm (vessel 1 mm)')
    """

    mm: float
    per_class: Mapping[str, float] = field(default_factory=dict)

    def of(self, name: str) -> float:
        return self.per_class.get(name, self.mm)

    def __str__(self) -> str:
        own = ", ".join(f"{name} {mm:.4g} mm" for name, mm in self.per_class.items())
        return f"{self.mm:.4g} mm" + (f" ({own})" if own else "")


@dataclass(frozen=True)
class MeanSurface:
    """Surface metrics of a set of cases, per class, and what each number rests on; NaN where it rests on none."""

    nsd: dict[str, float]
    """Mean over the cases where the class is in prediction or reference."""
    hd95: dict[str, float]
    """Mean over the cases where it is in both: no finite number would be right for the others, of which the most serious
    are those that miss the class altogether. To be read beside ``cases``."""
    cases: dict[str, dict[str, int]]
    """How many cases the two means rest on (``nsd``, ``hd95``), and in how many the distance is ``infinite``."""


def mean_surface(per_case: Mapping[str, Mapping[str, Surface]]) -> MeanSurface:
    """``per_case[case][class]`` -> mean over cases. No case, or cases with different classes, are a ValueError.

    >>> found = mean_surface({"a": {"one": Surface(0.5, 2.0)}, "b": {"one": Surface(0.0, math.inf)}})
    >>> found.nsd, found.hd95, found.cases
    ({'one': 0.25}, {'one': 2.0}, {'one': {'nsd': 2, 'hd95': 1, 'infinite': 1}})
    """
    nsd = aggregate({case: {name: s.nsd for name, s in scores.items()} for case, scores in per_case.items()})
    finite = {case: {name: _finite(s.hd95) for name, s in scores.items()} for case, scores in per_case.items()}
    hd95 = aggregate(finite)
    cases = {
        name: {"nsd": nsd.cases[name], "hd95": hd95.cases[name], "infinite": nsd.cases[name] - hd95.cases[name]}
        for name in nsd.cases
    }
    return MeanSurface(nsd.per_class, hd95.per_class, cases)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan


class _Corners:
    """The corners of voxels where a mask's surface is: which, the area of each, and where they are in mm."""

    def __init__(self, mask: np.ndarray, spacing: tuple[float, float, float]):
        code = _codes(mask)
        self.there = (code > 0) & (code < 255)
        self.areas = _areas(spacing)[code[self.there]]
        self.places = np.argwhere(self.there) * np.array(spacing)

    def distances(self, other: _Corners) -> np.ndarray:
        """From each corner to the nearest one of the ``other``, in mm."""
        away = ~other.there[self.there]  # the others are in both
        found = np.zeros(len(away))
        if away.any():
            # On a lattice many coordinates are equal: a balanced tree takes longer to build than it saves.
            tree = KDTree(other.places, balanced_tree=False)
            found[away] = tree.query(self.places[away])[0]
        return found


def _compare(predicted: _Corners, true: _Corners, tolerance_mm: float) -> Surface:
    empty = [not len(corners.areas) for corners in (predicted, true)]
    if any(empty):
        return Surface(math.nan, math.nan) if all(empty) else Surface(0.0, math.inf)
    pairs = [(predicted.distances(true), predicted.areas), (true.distances(predicted), true.areas)]
    limit = tolerance_mm * (1 + _SLACK)
    near = sum(float(areas[distances <= limit].sum()) for distances, areas in pairs)
    total = sum(float(areas.sum()) for _, areas in pairs)
    return Surface(min(1.0, near / total), max(_percentile(distances, areas) for distances, areas in pairs))


def _percentile(distances: np.ndarray, areas: np.ndarray) -> float:
    """The smallest distance within which 95 % of the area lie."""
    order = np.argsort(distances, kind="stable")
    reached = np.cumsum(areas[order])
    index = int(np.searchsorted(reached, _PERCENTILE * reached[-1]))
    return float(distances[order[min(index, len(order) - 1)]])


def _codes(mask: np.ndarray) -> np.ndarray:
    """For each corner of a voxel, so one more than voxels along each axis, which of the eight voxels around are inside."""
    from surface_distance.lookup_tables import ENCODE_NEIGHBOURHOOD_3D_KERNEL as bits

    padded = np.pad(mask, 1).astype(np.uint8)
    codes = np.zeros([n + 1 for n in mask.shape], np.uint8)
    for offset in np.ndindex(2, 2, 2):
        window = tuple(slice(o, o + n) for o, n in zip(offset, codes.shape, strict=True))
        codes |= padded[window] * np.uint8(bits[offset])
    return codes


@lru_cache(maxsize=8)
def _areas(spacing: tuple[float, float, float]) -> np.ndarray:
    """The area in mm² of the surface at a corner, by its code.

    Of the package this comes from nothing else is used: its last release calls what numpy 2 no longer has.
    """
    from surface_distance.lookup_tables import create_table_neighbour_code_to_surface_area

    table: np.ndarray = create_table_neighbour_code_to_surface_area(spacing)
    return table


def _boxes(labels: np.ndarray) -> dict[int, tuple[slice, ...]]:
    """The bounding box of each label but 0, in one pass over the array."""
    whole = labels if labels.dtype.kind in "iu" else labels.astype(np.int32)
    return {label: box for label, box in enumerate(ndimage.find_objects(whole), start=1) if box is not None}


def _around(boxes: Sequence[tuple[slice, ...]]) -> tuple[slice, ...]:
    """The bounding box of boxes, empty without any."""
    if not boxes:
        return (slice(0, 0),) * 3
    return tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*boxes, strict=True))
