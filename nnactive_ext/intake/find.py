"""Finds the cases in a folder of images as people have them, by names alone; says at once everything that does not fit."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnactive_ext.errors import NnActiveError
from nnactive_ext.images.class_files import ClassFiles
from nnactive_ext.images.copied import must_be_copied
from nnactive_ext.images.dicom import one_series
from nnactive_ext.images.names import case_name, check_name
from nnactive_ext.intake.folder import ENDINGS, Item, items_in, unread_in
from nnactive_ext.intake.label_maps import LabelFolder, looks_like_label_map
from nnactive_ext.intake.layout import Placed, place
from nnactive_ext.intake.pattern import Pattern
from nnactive_ext.intake.problems import refuse
from nnactive_ext.words import listed


@dataclass(frozen=True)
class Source:
    """One channel of one case: ``path`` is the file, or the folder of a DICOM series whose files, in slice order, are
    ``series`` (empty for an image file)."""

    path: Path
    series: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        return self.series or (self.path,)

    @property
    def copied(self) -> bool:
        """Whether the experiment needs a copy that nnU-Net reads rightly."""
        return bool(self.series) or must_be_copied(self.path)


@dataclass(frozen=True)
class FoundCase:
    """``name`` can be used as file name and with nnU-Net (:func:`nnactive_ext.images.names.case_name`); ``sources`` has one
    for each channel, in the order of the channels."""

    name: str
    sources: tuple[Source, ...]
    label_map: Path | ClassFiles | None = None
    told: tuple[tuple[str, str], ...] = ()
    """What people should know of all label maps that were found, as (what, why)."""


__all__ = ["FoundCase", "Source", "find_cases"]


def find_cases(
    folder: Path,
    channels: Sequence[str] | None = None,
    pattern: str | None = None,
    label_maps: Path | None = None,
    label_pattern: str = "{case}",
    classes: Sequence[str] = (),
) -> dict[str, FoundCase]:
    """Find the cases in a folder of images by names alone; no image is read.

    Args:
        folder: files and DICOM folders, however deep.
        channels: the channels' names in order; without them there is one channel, or as many as nnU-Net's endings ``_0000``,
            ``_0001`` show.
        pattern: "{case}/{case}_{channel}", without the ending, chooses the images that fit and skips others; without it every
            image must find its case (:mod:`nnactive_ext.intake.layout`).
        label_maps: a folder of label maps; it may be the same folder if ``label_pattern`` tells label maps and images apart.
        label_pattern: the pattern of names of label maps.
        classes: the names of labels, by which masks of one class each are found among the label maps.

    Returns:
        The cases by name, in order of names.

    Raises:
        NnActiveError: lists all problems of the folder.
    """
    folder = Path(folder)
    _check_arguments(folder, channels)
    labels = LabelFolder.of(Path(label_maps), label_pattern, classes) if label_maps is not None else None
    among = labels is not None and labels.holds_images(folder)
    without = labels.folder if labels and not among else None
    taken = {os.path.realpath(file) for file in labels.taken()} if labels and among else set()
    items = [item for item in items_in(folder, without) if item.dicom or os.path.realpath(item.path) not in taken]
    problems = [] if pattern else [f"{file}: this format is not supported." for file in unread_in(folder, without)]
    if not items and not problems:
        raise NnActiveError(
            f"{folder}: no images in it ({', '.join(ENDINGS)} or folders of DICOM files)"
            + (f' besides the label maps "{label_pattern}".' if taken else ". Is it the right folder (-i)?")
        )
    placed, found_problems = _placed(folder, items, channels, pattern)
    cases, case_problems = _cases(placed, channels)
    problems += found_problems + case_problems
    maps: Mapping[str, Path | ClassFiles] = {}
    told: tuple[tuple[str, str], ...] = ()
    if labels:
        maps, label_problems, told = labels.by_case(cases, folder)
        problems += label_problems
    refuse(
        problems,
        "Rename, move or convert these, or say how the images are named: -channels for the channels' names, -pattern for the "
        'files (as in "{case}/{case}_{channel}"), -label_maps and -label_pattern for label maps.',
    )
    return {name: FoundCase(name, cases[name], maps.get(name), told) for name in sorted(cases)}


def _check_arguments(folder: Path, channels: Sequence[str] | None) -> None:
    if not folder.is_dir():
        raise NnActiveError(f"{folder}: this folder of images (-i) does not exist.")
    if (folder / "imagesTr").is_dir():
        labels = " and, for its label maps, -label_maps " + str(folder / "labelsTr") if (folder / "labelsTr").is_dir() else ""
        raise NnActiveError(f"{folder}: an nnU-Net dataset, not a folder of images: give {folder / 'imagesTr'}{labels}.")
    if channels is not None and (not channels or len({channel.lower() for channel in channels}) < len(channels)):
        raise NnActiveError(f"-channels {' '.join(channels)}: give one name for each channel, no two alike.")


def _placed(
    folder: Path, items: Sequence[Item], channels: Sequence[str] | None, pattern: str | None
) -> tuple[list[Placed], list[str]]:
    problems = [f"{folder}: DICOM files directly in it; each series needs a folder of its own." for i in items if not i.name]
    items = [item for item in items if item.name]
    if pattern:
        fits = Pattern(pattern, "-pattern", channels)
        found = [(item, fits.match(item.name)) for item in items]
        placed = [Placed(match[0], match[1], item) for item, match in found if match]
        if items and not placed:
            names = listed([item.name for item in items], 3)
            problems.append(f'-pattern "{fits.text}" fits none of {len(items)} images in {folder}; they are called {names}.')
        suspects = [one.item for one in placed if looks_like_label_map(one.item, channels, fits.text)]
    else:
        suspects = [item for item in items if looks_like_label_map(item, channels, None)]
        placed, more = place([item for item in items if item not in suspects], channels)
        problems += more
    problems += [
        f"{item.path}: looks like a label map among the images. Move it, and give the folder of label maps with -label_maps."
        for item in suspects
    ]
    return [one for one in placed if one.item not in suspects], problems


def _cases(placed: Sequence[Placed], channels: Sequence[str] | None) -> tuple[dict[str, tuple[Source, ...]], list[str]]:
    together: dict[str, dict[int, list[Placed]]] = defaultdict(lambda: defaultdict(list))
    for one in placed:
        together[case_name(one.case)][one.channel].append(one)
    count = len(channels) if channels else max((one.channel + 1 for one in placed), default=1)
    titles = [f"{i:04d}" for i in range(count)] if channels is None else list(channels)
    cases, problems = {}, []
    for name, by_channel in sorted(together.items()):
        twice = [ones for _, ones in sorted(by_channel.items()) if len(ones) > 1]
        problems += [f"{name}: {len(ones)} images of this name, {_files(ones)}." for ones in twice]
        extra = [ones for channel, ones in sorted(by_channel.items()) if channel >= count]
        problems += [f"{_files(ones)}: there are only {count} channels, 0000 to {count - 1:04d}." for ones in extra]
        missing = [titles[i] for i in range(count) if i not in by_channel]
        if missing:
            there = _files([ones[0] for ones in by_channel.values()])
            problems.append(f"{name}: no image for channel {listed(missing)} (there is {there}).")
        sources = []
        for i in range(count):
            if i in by_channel:
                try:
                    sources.append(_source(by_channel[i][0].item))
                except NnActiveError as error:
                    problems.append(str(error))
        cases[name] = tuple(sources)
    return cases, problems


def _source(item: Item) -> Source:
    for file in (item.path, *(item.path.iterdir() if item.dicom else ())):
        check_name(file)
    return Source(item.path, one_series(item.path)) if item.dicom else Source(item.path)


def _files(placed: Sequence[Placed]) -> str:
    return " and ".join(str(one.item.path) for one in placed)
