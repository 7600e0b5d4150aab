"""How large patches and queries should be, from the sizes of structures and of the pool."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.plan import PUBLISHED, STANDARD, Geometry
from nnactive_ext.geometry.patch import Triple, clipped_size, triple
from nnactive_ext.images.units import millimetres
from nnactive_ext.planning.decisions import THESIS, Decisions
from nnactive_ext.planning.measure import Measured
from nnactive_ext.planning.patch_limit import apply_limit
from nnactive_ext.words import count

PATCHES_PER_CLASS = 50
"""Per foreground class and query (thesis, appendix D.5); 100 for classes expected to vary much, such as tumours."""
LEAST_PER_QUERY, LEAST_PER_CLASS = 2, 14
"""Patches of a class in a query, and in all: with fewer, active learning failed (thesis: AMOS, low)."""
MOST_OF_POOL = 0.1
"""The share of the pool's voxels that the default budget of a roll-out holds at most."""
MIN_CYCLES = 5
"""Counting cycle 0 (thesis, appendix D.5); more are fine."""
SHARE_OF_TEST_CASES = 0.25
MARKED = 2 / 3
"""The share of the starting budget that goes around points the user marks, if they do; the others are drawn at random."""


def patch_size_from_structures(cases: Iterable[Measured], classes: Iterable[int]) -> tuple[float, float, float]:
    """The query patch in mm (thesis, appendix D.5): per class the median, over images, of the largest component's bounding
    box; then the median over classes. A class that occurs nowhere is an error of the caller."""
    z, y, x = np.median(list(structure_medians(cases, classes).values()), axis=0)
    return float(z), float(y), float(x)


def structure_medians(cases: Iterable[Measured], classes: Iterable[int]) -> dict[int, list[float]]:
    """Per class the median, over images, of the bounding box of its largest component in mm along (z, y, x)."""
    cases = list(cases)
    return {c: np.median([case.extents[c] for case in cases if c in case.extents], axis=0).tolist() for c in classes}


_UNITS = {unit: mm for unit in ("mm", "um", "µm", "μm", "nm") if (mm := millimetres(unit))}


def parse_patch_size(words: Sequence[str], spacing: Sequence[float]) -> tuple[float, float, float]:
    """``20`` or ``20 20 20`` in voxels of ``spacing``, or ``20mm`` or ``6mm 20mm 20mm`` -> mm along (z, y, x).

    Microscopists write ``40um`` or ``64nm``.
    """
    text = " ".join(words)
    if len(words) not in (1, 3):
        raise NnActiveError(f"-patch_size {text}: give one number for a cube, or three along z, y, x.")
    sizes = []
    for word, mm in zip(list(words) * (3 // len(words)), spacing, strict=True):
        try:
            unit = next((unit for unit in _UNITS if word.endswith(unit)), "")
            value = float(word.removesuffix(unit)) * (_UNITS[unit] if unit else mm)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0):
            raise NnActiveError(
                f"-patch_size {text}: {word} is not a size. Write voxels (20), millimetres (20mm), 20um or 20nm."
            )
        sizes.append(value)
    z, y, x = sizes
    return z, y, x


def capacity(shapes: Mapping[str, Triple], sizes: Mapping[str, Triple]) -> int:
    """The largest number of disjoint patches that fit into the pool; ``sizes`` are per case, as are ``shapes``."""
    return sum(
        math.prod(n // s for n, s in zip(shape, clipped_size(sizes[case], shape), strict=True))
        for case, shape in shapes.items()
    )


def capped_query(
    query: int, cycles: int, starting: int | None, classes: int, voxels: float, pool: int, share: float = MOST_OF_POOL
) -> int:
    """The default query size of a roll-out, so that the patches of all cycles hold at most a share of the pool.

    Args:
        query: the query size without this limit.
        cycles: the number of cycles, counting cycle 0.
        starting: the starting budget in patches; None: as large as a query.
        classes: the number of foreground classes, which get no fewer patches than :data:`LEAST_PER_QUERY` in a query and
            :data:`LEAST_PER_CLASS` in all, whatever the share is.
        voxels: voxels of a patch.
        pool: voxels of the pool.
        share: the share of the pool's voxels, 0 to 1.

    Returns:
        The query size in patches, at most ``query``.

    >>> capped_query(150, 5, None, 3, 1000, 2_000_000), capped_query(150, 5, 0, 3, 1000, 2_000_000)
    (40, 50)
    >>> capped_query(150, 5, None, 3, 1000, 100_000)  # 3 x 14 patches in 5 cycles
    9
    """
    queries = cycles - (starting is not None)
    if not queries:
        return query
    most, least = int(share * pool / voxels) - (starting or 0), LEAST_PER_CLASS * classes - (starting or 0)
    size = max(most // queries, -(-least // queries), LEAST_PER_QUERY * classes)
    return max(1, min(query, size))


def check_fits(size_mm: Sequence[float], cases: Iterable[Measured]) -> None:
    """An axis along which the patch is longer than every image is a mistake (often of axis order), hence an error."""
    cases = list(cases)
    extents = np.array([[n * mm for n, mm in zip(c.shape, c.spacing, strict=True)] for c in cases])
    spacings = np.array([c.spacing for c in cases])
    for axis, name in enumerate("zyx"):
        # Rounding to whole voxels may add half of one.
        if size_mm[axis] > (extents[:, axis] + spacings[:, axis] / 2).max():
            raise NnActiveError(
                f"The query patch is {size_mm[axis]:.4g} mm along {name}, longer than every image there (at most "
                f"{extents[:, axis].max():.4g} mm). Give a smaller -patch_size; its order is z y x."
            )


def marked_per_class(starting_budget: int, classes: int) -> int:
    """The number of patches of the starting budget that go around marked points of each class."""
    return round(MARKED * starting_budget / classes)


def random_patches(starting_budget: int, classes: int) -> int:
    """The number of patches of the starting budget that are drawn at random, beside those around marked points."""
    return max(0, starting_budget - classes * marked_per_class(starting_budget, classes))


def query_patch_mm(
    folder: Path,
    measured: Mapping[str, Measured],
    geometry: Mapping[str, Geometry],
    labels: Sequence[str],
    asked: Sequence[str] | None,
    structures: Sequence[str],
    decisions: Decisions,
    protocol: str = STANDARD,
) -> tuple[float, float, float]:
    """As ``asked`` for (-patch_size), else from the ``structures`` given (-structures), else from the label maps that were
    ``measured``; what is decided is added to ``decisions``. ``labels`` are the foreground classes, of value 1 and so on. One of
    the three must be there, and fit into an image of the pool, whose ``geometry`` this is; anything else is an error. Only a
    size from label maps is limited (:mod:`nnactive_ext.planning.patch_limit`), and not by the published ``protocol``."""
    spacing = np.median([g.spacing for g in geometry.values()], axis=0).tolist()
    labelled = [v for v in range(1, len(labels) + 1) if any(v in m.extents for m in measured.values())]
    if asked:
        size_mm, why = parse_patch_size(list(asked), spacing), "as asked for"
    elif structures:
        sizes = structure_sizes(structures, labels)
        z, y, x = np.median(list(sizes.values()), axis=0)
        size_mm, why = (float(z), float(y), float(x)), f"median of the structures given: {', '.join(sizes)} (D.5 in {THESIS})"
    elif labelled:
        size_mm = patch_size_from_structures(measured.values(), labelled)
        why = f"largest component per class in {count(len(measured), 'label map')}: median over images, then over classes "
        why += f"(D.5 in {THESIS})"
    else:
        raise NnActiveError(
            f"{folder}: how large are the structures? Give their sizes in mm, e.g. -structures {labels[-1]}=25 (or "
            "=20x25x25 along z y x), dense label maps (-label_maps), or the size of the query patch (-patch_size 32mm)."
        )
    check_fits(size_mm, [Measured(g.shape, g.spacing) for g in geometry.values()])
    voxels = triple([max(1, round(mm / s)) for mm, s in zip(size_mm, spacing, strict=True)])
    told = Decisions()
    if protocol != PUBLISHED:
        fixed = bool(asked or structures)
        medians = {} if fixed else structure_medians(measured.values(), labelled)
        within, told = apply_limit(voxels, geometry.values(), fixed, {labels[v - 1]: mm for v, mm in medians.items()})
        z, y, x = (mm if n == v else n * s for mm, n, v, s in zip(size_mm, within, voxels, spacing, strict=True))
        size_mm, voxels = (z, y, x), within
    text = " x ".join(f"{mm:.4g}" for mm in size_mm)
    decisions.add("query patch (z, y, x)", f"{text} mm", why)
    decisions.add("", f"{'x'.join(map(str, voxels))} voxels", "at the median spacing; each case has it in voxels of its own")
    decisions.extend(told)
    return size_mm


def structure_sizes(words: Sequence[str], labels: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """``["tumour=25", "vessel=40x8x8"]`` -> mm along (z, y, x) by name."""
    sizes = {}
    for word in words:
        name, equals, text = word.rpartition("=")
        try:
            numbers = [float(n) for n in text.removesuffix("mm").split("x")]
        except ValueError:
            numbers = []
        good = len(numbers) in (1, 3) and all(math.isfinite(n) and n > 0 for n in numbers)
        if not equals or name not in labels or not good:
            raise NnActiveError(f"-structures {word}: write NAME=MM or NAME=ZxYxX in mm, with a NAME of --labels.")
        z, y, x = numbers * (3 // len(numbers))
        sizes[name] = (z, y, x)
    return sizes
