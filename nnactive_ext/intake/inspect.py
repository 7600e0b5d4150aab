"""Reads every image of the found cases once, reports everything wrong with them together, and notes what is needed later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.axes import align, orientation, reoriented
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.checks import channel_difference, off_grid, size_text
from nnactive_ext.images.class_files import ClassFiles, read_labels
from nnactive_ext.images.unplaced import has_place
from nnactive_ext.images.voxels import look_at, same_channel, same_image
from nnactive_ext.intake.find import FoundCase
from nnactive_ext.intake.problems import refuse
from nnactive_ext.intake.reading import read
from nnactive_ext.parallel import map_cases
from nnactive_ext.refusals import refusing

__all__ = ["Inspected", "Result", "channel_difference", "inspect", "inspect_case", "reoriented"]


_UNPLACED = (
    "The header of its image does not say where it lies, so its label map should have all of its voxels and no place either "
    "(NIfTI: qform_code and sform_code 0)."
)


@dataclass(frozen=True)
class Inspected:
    """``space`` of the images as stored, that of channel 0 for all; ``minimum``, ``maximum`` and ``digest`` (SHA-256 of
    the voxels as float32) of channel 0; ``orientation`` is ITK's code of the closest axes along (x, y, z), as "LPS";
    ``placed``: whether the header of channel 0 says where it lies; ``greys``: lowest value and offset from Hounsfield units
    (:func:`nnactive_ext.images.hounsfield.hounsfield_offset`) of each channel."""

    space: Space
    minimum: float
    maximum: float
    digest: str
    orientation: str
    placed: bool = True
    greys: tuple[tuple[float, int | None], ...] = ()


@dataclass(frozen=True)
class Result:
    """What one case is like, None where it cannot be read, and everything that is wrong with it."""

    inspected: Inspected | None
    problems: tuple[str, ...]


def inspect(
    cases: Mapping[str, FoundCase], names: Mapping[str, int], processes: int = 1, progress: bool = True
) -> dict[str, Inspected]:
    """Read every image of the found cases once.

    Args:
        cases: what :func:`find_cases` returned.
        names: label -> value, with background and ignore.
        processes: how many cases are read at a time.
        progress: show a progress bar.

    Returns:
        For each case the space of its images, and the intensity range, a digest and the orientation of channel 0.

    Raises:
        NnActiveError: lists all problems: images that are unreadable, not 3D, not finite, empty, given twice, or whose geometry
            is impossible or differs between channels or from the label map; and wrong label maps.
    """
    jobs = [(case, dict(names)) for case in cases.values()]
    results = map_cases(inspect_case, jobs, "Reading images", processes, progress)
    problems = [problem for result in results for problem in result.problems]
    same_files, reported = _same_files(cases)
    whole = {name: result.inspected for name, result in zip(cases, results, strict=True) if result.inspected}
    problems += same_files + _same_voxels(cases, whole, reported)
    refuse(problems, "Repair these files or move them out of the folder, then run the same command again.")
    return whole


def inspect_case(job: tuple[FoundCase, Mapping[str, int]]) -> Result:
    """Read the images of one case, and its label map where it has one; the second part of ``job`` is label -> value."""
    import SimpleITK as sitk

    case, names = job
    first: Inspected | None = None
    problems: list[str] = []
    digests: dict[str, Path] = {}
    greys: list[tuple[float, int | None]] = []
    reference: tuple[Path, Space] | None = None
    for number, source in enumerate(case.sources):
        try:
            with refusing(source.path):
                image = read(source)
                voxels, space = look_at(sitk.GetArrayViewFromImage(image)), Space.of_image(image)
                placed = source.block is not None or has_place(source.files[0])
        except NnActiveError as error:
            problems.append(str(error))
            continue
        if voxels.problem:
            problems.append(f"{source.path}: {voxels.problem}.")
            continue
        greys.append((voxels.minimum, voxels.offset))
        if number == 0:
            facts = (space, voxels.minimum, voxels.maximum, voxels.digest, orientation(space.direction))
            first = Inspected(*facts, placed=placed)
        if voxels.digest in digests:
            problems.append(same_channel(source.path, digests[voxels.digest], case.name))
        digests.setdefault(voxels.digest, source.path)
        if reference is None:
            reference = source.path, space
        elif problem := off_grid(source.path, space, *reference):
            problems.append(problem)
    if case.label_map is not None and reference is not None:
        found = _label_problems(case.label_map, *reference, names)
        problems += found if has_place(reference[0]) else [f"{problem} {_UNPLACED}" for problem in found]
    return Result(replace(first, greys=tuple(greys)) if first else None, tuple(problems))


def _label_problems(file: Path | ClassFiles, image_file: Path, space: Space, names: Mapping[str, int]) -> list[str]:
    try:
        with refusing(file if isinstance(file, Path) else file.first):
            found = read_labels(file, names)
            try:
                lies = align(space, found.space)
            except ValueError as error:
                return [f"{file}: not on the grid of {image_file}: {error}."]
    except NnActiveError as error:
        return [str(error)]
    # 3D Slicer cuts a segmentation to its segments: what is not in the file is background.
    reach = [start + found.space.shape[axis] for start, axis in zip(lies.start, lies.axes, strict=True)]
    if found.whole and (max(lies.start) > 0 or any(stop < n for stop, n in zip(reach, space.shape, strict=True))):
        return [f"{file}: covers only a part of {image_file}, {size_text(found.space)} of {size_text(space)} voxels (x, y, z)."]
    return []


def _same_files(cases: Mapping[str, FoundCase]) -> tuple[list[str], set[frozenset[str]]]:
    """Problems of files that are used twice (by links), and the pairs of cases they were in."""
    seen: dict[tuple[int, int, int], tuple[str, Path]] = {}
    problems, pairs = [], set()
    for case in cases.values():
        for source in case.sources:
            file = source.files[0]
            if not file.is_file() or source.block:
                continue  # said when it was read; blocks of a file do not overlap
            identity = (file.stat().st_dev, file.stat().st_ino, source.channel)
            if identity in seen:
                other, path = seen[identity]
                problems.append(f"{source.path} ({case.name}) and {path} ({other}) are the same file.")
                pairs.add(frozenset((case.name, other)))
            seen.setdefault(identity, (case.name, source.path))
    return problems, pairs


def _same_voxels(
    cases: Mapping[str, FoundCase], inspected: Mapping[str, Inspected], reported: set[frozenset[str]]
) -> list[str]:
    problems = []
    seen: dict[str, list[str]] = {}
    for name, this in inspected.items():
        for other in seen.get(this.digest, []):
            space = inspected[other].space
            one, place = this.space.affine, space.affine
            same = this.space.shape == space.shape and np.allclose(one, place, rtol=1e-4, atol=1e-2 * min(space.spacing))
            if same and frozenset((name, other)) not in reported:
                problems.append(same_image(name, other, cases[name].sources[0].path, cases[other].sources[0].path))
                break
        seen.setdefault(this.digest, []).append(name)
    return problems
