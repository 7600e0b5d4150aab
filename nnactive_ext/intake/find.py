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
from nnactive_ext.images.names import case_name, check_name
from nnactive_ext.images.slices import check_slices
from nnactive_ext.images.tiff import is_tiff
from nnactive_ext.images.volumes import Block, block_bytes, is_volume
from nnactive_ext.intake.channel_names import channels_beside
from nnactive_ext.intake.dicom_choice import choose_series
from nnactive_ext.intake.folder import ENDINGS, Item, contents
from nnactive_ext.intake.label_maps import LabelFolder, looks_like_label_map
from nnactive_ext.intake.layout import Placed, place
from nnactive_ext.intake.passed_over import Note, shown
from nnactive_ext.intake.pattern import Pattern
from nnactive_ext.intake.problems import refuse
from nnactive_ext.intake.tiff_headers import TiffHeaders
from nnactive_ext.intake.unused import unused, without_masks
from nnactive_ext.words import count, listed


@dataclass(frozen=True)
class Source:
    """One channel of one case: ``path`` is the file, or the folder of a DICOM series whose files, in slice order, are
    ``series``, or of ``slices``. ``channel``: its number in a TIFF file. ``spacing``: along (z, y, x) in mm, as the user gave
    it for images that state none; with ``strict``, no image may state another."""

    path: Path
    series: tuple[Path, ...] = ()
    slices: tuple[Path, ...] = ()
    channel: int = 0
    spacing: tuple[float, float, float] | None = None
    strict: bool = True
    block: Block | None = None
    """The part of a large volume that the image is; ``path`` is the volume."""

    @property
    def files(self) -> tuple[Path, ...]:
        return self.series or self.slices or (self.path,)

    @property
    def bytes(self) -> int:
        """The size of its files, or of its block."""
        return block_bytes(self.block) if self.block else sum(file.stat().st_size for file in self.files)

    @property
    def copied(self) -> bool:
        """Whether the experiment needs a copy that nnU-Net reads rightly."""
        return bool(self.series or self.slices or self.block) or must_be_copied(self.path)


@dataclass(frozen=True)
class FoundCase:
    """``name`` can be used as file name and with nnU-Net (:func:`nnactive_ext.images.names.case_name`); ``sources`` has one
    for each channel, in the order of the channels."""

    name: str
    sources: tuple[Source, ...]
    label_map: Path | ClassFiles | None = None
    told: tuple[tuple[str, str], ...] = ()
    """What people should know of all label maps that were found, as (what, why)."""


@dataclass(frozen=True)
class Found:
    """The ``cases`` of a folder by name, and ``notes`` on what was taken how, and on what was not used."""

    cases: dict[str, FoundCase]
    notes: tuple[Note, ...] = ()


__all__ = ["Found", "FoundCase", "Source", "cases_of", "check_folder", "find", "find_cases", "one_stack_each"]


def find_cases(
    folder: Path,
    channels: Sequence[str] | None = None,
    pattern: str | None = None,
    label_maps: Path | None = None,
    label_pattern: str = "{case}",
    series: Sequence[str] = (),
    classes: Sequence[str] = (),
) -> dict[str, FoundCase]:
    """Find the cases in a folder of images, as :func:`find` does.

    Args:
        folder: files and DICOM folders, however deep.
        channels: the channels' names in order.
        pattern: which images are meant, such as "{case}/{case}_{channel}".
        label_maps: a folder of label maps.
        label_pattern: the pattern of names of label maps.
        series: descriptions, patterns of descriptions, or UIDs of the DICOM series to take.
        classes: the names of labels, by which masks of one class each are found among the label maps.

    Returns:
        The cases by name, in order of names.

    Raises:
        NnActiveError: lists all problems of the folder.
    """
    return find(folder, channels, pattern, label_maps, label_pattern, series, classes).cases


def find(
    folder: Path,
    channels: Sequence[str] | None = None,
    pattern: str | None = None,
    label_maps: Path | None = None,
    label_pattern: str = "{case}",
    series: Sequence[str] = (),
    classes: Sequence[str] = (),
    spacing: tuple[float, float, float] | None = None,
    strict: bool = True,
) -> Found:
    """Find the cases in a folder of images by names and by headers of TIFF and DICOM files; no voxel is read.

    Args:
        folder: files, folders of slices and DICOM folders, however deep.
        channels: the channels' names in order; without them there is one channel, or as many as nnU-Net's endings ``_0000``,
            ``_0001`` show, where nothing else can be meant by them, or as a TIFF file holds.
        pattern: "{case}/{case}_{channel}", without the ending, chooses the images that fit and skips others; without it every
            image must find its case (:mod:`nnactive_ext.intake.layout`).
        label_maps: a folder of label maps; it may be the same folder if ``label_pattern`` tells label maps and images apart.
        label_pattern: the pattern of names of label maps.
        series: descriptions, patterns of descriptions, or UIDs of the DICOM series to take.
        classes: the names of labels, by which masks of one class each are found among the label maps.
        spacing: along (z, y, x) in mm, of TIFF and PNG images that state none.
        strict: such an image that states another spacing is an error.

    Returns:
        The cases, in order of names, and what there is to tell about the folder.

    Raises:
        NnActiveError: lists all problems of the folder.
    """
    folder = Path(folder)
    channels = channels if channels is not None or pattern else channels_beside(folder)
    _check_arguments(folder, channels)
    labels = LabelFolder.of(Path(label_maps), label_pattern, classes) if label_maps is not None else None
    among = labels is not None and labels.holds_images(folder)
    without = labels.folder if labels and not among else None
    taken = {os.path.realpath(file) for file in labels.taken()} if labels and among else set()
    there = contents(folder, without, raw=not pattern)
    items = [item for item in there.items if item.dicom or item.slices or os.path.realpath(item.path) not in taken]
    items, notes = (items, []) if pattern else without_masks(folder, items)
    others = [path for path in there.others if os.path.realpath(path) not in taken]
    problems, more = unused(folder, others, there, without, bool(pattern))
    volumes = choose_series(items, series, channels, pattern)
    items = volumes.items
    problems += volumes.problems
    notes += [*more, *volumes.notes]
    if not items and not problems:
        raise NnActiveError(
            f"{folder}: no images in it ({', '.join(ENDINGS)}, folders of DICOM files, or folders of TIFF or PNG slices)"
            + (f' besides the label maps "{label_pattern}".' if taken else ". Is it the right folder (-i)?")
            + "".join(f"\n{note.value}: {note.why}" for note in notes)
        )
    items, doubled = one_stack_each(items)
    problems += doubled
    together = TiffHeaders.of(items)
    labelled = [case for case, _ in labels.files] if labels else []
    placed, found_problems = _placed(folder, items, channels, pattern, together, labelled)
    chosen = {id(one.item) for one in placed}
    if pattern and placed and len(chosen) < len(items):
        skipped = [item.path for item in items if id(item) not in chosen]
        notes.append(
            Note(count(len(skipped), "image"), f'skipped, as -pattern "{pattern}" does not fit: {shown(folder, skipped)}')
        )
    cases, case_problems = cases_of(placed, channels, together, spacing, strict)
    problems += found_problems + case_problems + together.problems([one.item for one in placed], channels)
    if spacing and strict and not doubled and not any(one.item.slices or is_tiff(one.item.path) for one in placed):
        problems.append("-spacing: there are no TIFF or PNG images, and all others state their spacing. Leave it out.")
    notes += together.notes(folder, [one.item for one in placed])
    maps: Mapping[str, Path | ClassFiles] = {}
    told: tuple[tuple[str, str], ...] = ()
    if labels:
        maps, label_problems, told = labels.by_case(cases, folder)
        problems += label_problems
    refuse(
        problems,
        f"{_inner(folder, there.items)}"
        "Rename, move or convert these, or say how the images are named: -channels for the channels' names, -pattern for the "
        'files (as in "{case}/{case}_{channel}"), -label_maps and -label_pattern for label maps.',
    )
    return Found({name: FoundCase(name, cases[name], maps.get(name), told) for name in sorted(cases)}, tuple(notes))


def _inner(folder: Path, items: Sequence[Item]) -> str:
    """Where the cases of a download or disc lie, whose own folder was given: below the only folder that holds images."""
    tops = {item.parts[0] for item in items if len(item.parts) > 2}
    if len(tops) != 1 or any(item.parts[0] not in tops for item in items):
        return ""
    return f"All images lie below {folder / tops.pop()}; if it is not a case but holds the cases, give it as -i. "


def one_stack_each(items: Sequence[Item]) -> tuple[list[Item], list[str]]:
    """The images without folders of several stacks, which are problems."""
    stacks: dict[Path, list[Item]] = defaultdict(list)
    for item in items:
        if item.slices:
            stacks[item.path].append(item)
    problems = []
    for folder, several in stacks.items():
        if len(several) > 1:
            names = listed([f"{item.slices[0].name} to {item.slices[-1].name}" for item in several])
            problems.append(f"{folder}: {len(several)} stacks of slices ({names}). Move each into a folder of its own.")
    return [item for item in items if len(stacks.get(item.path, ())) < 2], problems


def check_folder(folder: Path) -> None:
    """What is no folder of images (-i) is an error."""
    if is_volume(folder):
        raise NnActiveError(
            f"{folder}: a single volume, not a folder of images. Draw blocks from it, which become the cases: -blocks 60 "
            "-block_size 256 (docs/large_volumes.md)."
        )
    if not folder.is_dir():
        raise NnActiveError(f"{folder}: this folder of images (-i) does not exist.")
    if (folder / "imagesTr").is_dir():
        labels = " and, for its label maps, -label_maps " + str(folder / "labelsTr") if (folder / "labelsTr").is_dir() else ""
        raise NnActiveError(f"{folder}: an nnU-Net dataset, not a folder of images: give {folder / 'imagesTr'}{labels}.")


def _check_arguments(folder: Path, channels: Sequence[str] | None) -> None:
    check_folder(folder)
    if channels is not None and (not channels or len({channel.lower() for channel in channels}) < len(channels)):
        raise NnActiveError(f"-channels {' '.join(channels)}: give one name for each channel, no two alike.")


def _placed(
    folder: Path,
    items: Sequence[Item],
    channels: Sequence[str] | None,
    pattern: str | None,
    together: TiffHeaders,
    labelled: Sequence[str],
) -> tuple[list[Placed], list[str]]:
    problems = [
        f"{folder}: {'numbered slices' if item.slices else 'DICOM files'} directly in it; each "
        f"{'stack' if item.slices else 'series'} needs a folder of its own."
        for item in items
        if not item.name
    ]
    items = [item for item in items if item.name]
    if together.hold_channels(items, pattern):  # each file is a case with all its channels
        channels = None if pattern else ["image"]
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
        placed, more = place([item for item in items if item not in suspects], channels, labelled)
        problems += more
    problems += [
        f"{item.path}: looks like a label map among the images. Move it, and give the folder of label maps with -label_maps."
        for item in suspects
    ]
    return [one for one in placed if one.item not in suspects], problems


def cases_of(
    placed: Sequence[Placed],
    channels: Sequence[str] | None,
    in_files: TiffHeaders,
    spacing: tuple[float, float, float] | None,
    strict: bool,
) -> tuple[dict[str, tuple[Source, ...]], list[str]]:
    """The sources of each case, one for each of ``channels`` (None: as many as there are), and problems of the cases."""
    placed = [one for whole in placed for one in in_files.split(whole)]
    together: dict[str, dict[int, list[Placed]]] = defaultdict(lambda: defaultdict(list))
    for one in placed:
        together[case_name(one.case)][one.channel].append(one)
    number = len(channels) if channels else max((one.channel + 1 for one in placed), default=1)
    titles = [f"{i:04d}" for i in range(number)] if channels is None else list(channels)
    cases, problems = {}, []
    for name, by_channel in sorted(together.items()):
        twice = [ones for _, ones in sorted(by_channel.items()) if len(ones) > 1]
        problems += [f"{name}: {len(ones)} images of this name, {_files(ones)}." for ones in twice]
        extra = [ones for channel, ones in sorted(by_channel.items()) if channel >= number]
        problems += [f"{_files(ones)}: there are only {number} channels, 0000 to {number - 1:04d}." for ones in extra]
        missing = [titles[i] for i in range(number) if i not in by_channel]
        if missing:
            there = _files([ones[0] for ones in by_channel.values()])
            problems.append(f"{name}: no image for channel {listed(missing)} (there is {there}).")
        sources = []
        for i in range(number):
            if i in by_channel:
                inside = i if in_files.number(by_channel[i][0].item) > 1 else 0
                try:
                    sources.append(_source(by_channel[i][0].item, inside, spacing, strict))
                except NnActiveError as error:
                    problems.append(str(error))
        cases[name] = tuple(sources)
    return cases, problems


def _source(item: Item, channel: int, spacing: tuple[float, float, float] | None, strict: bool) -> Source:
    for file in (item.path, *item.series, *item.slices):
        check_name(file)
    if item.dicom:
        return Source(item.path, item.series)
    if item.slices:
        check_slices(item.path, item.slices)
    return Source(item.path, (), item.slices, channel, spacing, strict)


def _files(placed: Sequence[Placed]) -> str:
    return " and ".join(str(one.item.path) for one in placed)
