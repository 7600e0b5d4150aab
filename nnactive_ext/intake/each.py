"""Finds and checks the images of a folder one case at a time: what is wrong with one is told of it, and the others go on."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nnactive_ext.images.names import case_name
from nnactive_ext.intake.dicom_choice import choose_series
from nnactive_ext.intake.find import FoundCase, cases_of, check_folder, one_stack_each
from nnactive_ext.intake.folder import Item, contents
from nnactive_ext.intake.inspect import Inspected, inspect_case
from nnactive_ext.intake.label_maps import looks_like_label_map
from nnactive_ext.intake.layout import Placed, place
from nnactive_ext.intake.passed_over import Note
from nnactive_ext.intake.tiff_headers import TiffHeaders
from nnactive_ext.intake.unused import unused, without_masks
from nnactive_ext.parallel import default_processes, map_cases

_NNUNET = re.compile(r"(.+)_(\d{4})")
"""A file as nnU-Net names it for a prediction."""


@dataclass
class Each:
    """``cases`` by name, of which every image can be read, and what they are like; ``refused``: what is wrong with the others,
    by the name of the case or of the file; ``notes`` on what was taken how, and on what was not used."""

    cases: dict[str, FoundCase] = field(default_factory=dict)
    inspected: dict[str, Inspected] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def refuse(self, name: str, why: str) -> None:
        """Leave a case out; what is said of it first stays."""
        self.cases.pop(name, None)
        self.refused.setdefault(name, why)


def find_each(
    folder: Path,
    channels: Sequence[str],
    series: Sequence[str] = (),
    spacing: tuple[float, float, float] | None = None,
    progress: bool = True,
) -> Each:
    """Find the images of a folder, as :func:`nnactive_ext.intake.find.find` does for a plan, and read each once.

    Files directly in the folder may be named as nnU-Net names them (``CASE_0000``), also with other channels than those wanted.

    Args:
        folder: files, folders of slices and DICOM folders, however deep.
        channels: the channels' names in order.
        series: descriptions, patterns of descriptions, or UIDs of the DICOM series to take.
        spacing: along (z, y, x) in mm, of TIFF and PNG images that state none.
        progress: show a progress bar.

    Returns:
        What is there; a case may have fewer or more channels than ``channels``.

    Raises:
        NnActiveError: the folder does not exist, or its names leave open what a case is.
    """
    check_folder(folder)
    several = channels if len(channels) > 1 else None
    there, found = contents(folder, raw=True), Each()
    items, masks = without_masks(folder, there.items)
    lost, more = unused(folder, there.others, there, None, False)
    volumes = choose_series(items, series, several, None)
    items, doubled = one_stack_each(volumes.items)
    found.notes += [*masks, *more, *volumes.notes]
    for problem in (*lost, *volumes.problems, *doubled):
        found.refuse(_named(folder, problem), problem)
    for item in items:
        if not item.name:
            found.refuse(folder.name, f"{folder}: its files are those of one image. Give the folder above it as -i.")
        elif looks_like_label_map(item, several, None):
            found.refuse(item.name, f"{item.path}: looks like a label map. Move it out of the folder.")
    items = [item for item in items if item.name and item.name not in found.refused]
    headers = TiffHeaders.of(items)
    for name, ones in _by_case(folder, items, several, headers, found).items():
        cases, problems = cases_of(ones, None, headers, spacing, False)
        if problems:
            found.refuse(name, problems[0])
        else:
            found.cases[name] = FoundCase(name, cases[name])
    _inspect(found, progress)
    return found


def _by_case(
    folder: Path, items: Sequence[Item], channels: Sequence[str] | None, headers: TiffHeaders, found: Each
) -> Mapping[str, list[Placed]]:
    flat = [(item, match) for item in items if "/" not in item.name and (match := _NNUNET.fullmatch(item.name))]
    begun = {match[1] for _, match in flat if int(match[2]) == 0}  # nnU-Net's numbers begin at 0; others may be those of cases
    placed = [Placed(match[1], int(match[2]), item) for item, match in flat if match[1] in begun]
    numbered = {id(one.item) for one in placed}
    rest = [item for item in items if id(item) not in numbered]
    whole = [item for item in rest if headers.number(item) > 1]  # these hold all their channels
    more, problems = place(whole, None)
    others, without = place([item for item in rest if headers.number(item) < 2], channels)
    for problem in (*problems, *without):
        found.refuse(_named(folder, problem), problem)
    cases = defaultdict(list)
    for one in (*placed, *more, *others):
        cases[case_name(one.case)].append(one)
    return dict(sorted(cases.items()))


def _inspect(found: Each, progress: bool) -> None:
    jobs: list[tuple[FoundCase, dict[str, int]]] = [(case, {}) for case in found.cases.values()]
    processes = default_processes(sum(source.bytes for case, _ in jobs for source in case.sources))
    results = map_cases(inspect_case, jobs, "Reading images", processes, progress)
    for (case, _), result in zip(jobs, results, strict=True):
        if result.problems or result.inspected is None:
            found.refuse(case.name, " ".join(result.problems))
        else:
            found.inspected[case.name] = result.inspected


def _named(folder: Path, problem: str) -> str:
    """The file or case that a problem begins with, by its path below the folder."""
    return problem.partition(": ")[0].removeprefix(f"{folder}{os.sep}")
