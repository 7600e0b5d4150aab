"""Which DICOM series is the image of each case: what is no volume is passed over, and -series chooses among volumes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from nnactive_ext.images.dicom_files import CAPTURE
from nnactive_ext.images.dicom_series import Series, dicom_folder
from nnactive_ext.intake.folder import Item
from nnactive_ext.intake.passed_over import Note
from nnactive_ext.intake.pattern import Pattern
from nnactive_ext.words import count, enumerated, listed

_OPTION = "-series"
_CHOOSE = f"Choose one by its description or UID ({_OPTION}), or keep each series in a folder of its own."


@dataclass
class Choice:
    """``items``: the images, those of DICOM folders with the files of their one series; ``notes``: what was passed over;
    ``problems``."""

    items: list[Item] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass
class _Unit:
    """The DICOM folders of one case, or one of them where patterns say what a case is: their series of slices, and the kinds
    of files that hold no volume."""

    name: str
    volumes: list[tuple[Item, Series]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, name: str, items: Sequence[Item], one_image: bool) -> _Unit:
        unit = cls(name)
        for item in items:
            found = dicom_folder(item.path)
            unit.volumes += [(item, series) for series in found.series]
            unit.others += [header.kind for header in found.others]
            unit.problems += found.problems
        if one_image:
            unit._join()
        if any(series.slices > 1 for _, series in unit.volumes):  # beside a volume, a single slice is none
            unit.others += ["single slice" for _, series in unit.volumes if series.slices == 1]
            unit.volumes = [(item, series) for item, series in unit.volumes if series.slices > 1]
        return unit

    def _join(self) -> None:
        """Make one of the parts of a series that lie in several folders, as on discs from hospitals."""
        joined: dict[object, tuple[Item, Series]] = {}
        for number, (item, series) in enumerate(self.volumes):
            key = series.uid or number
            first, before = joined.get(key, (item, replace(series, files=(), slices=0)))
            joined[key] = first, replace(before, files=before.files + series.files, slices=before.slices + series.slices)
        self.volumes = list(joined.values())


def choose_series(items: Sequence[Item], wanted: Sequence[str], channels: Sequence[str] | None, pattern: str | None) -> Choice:
    """Give each DICOM folder the files of its one series, and drop the folders without any.

    Args:
        items: all images of a folder.
        wanted: descriptions, patterns of descriptions, or UIDs of the series to take; empty: there must be one.
        channels: the channels' names; with one, or None, all that lies below the folder of a case is one image.
        pattern: the pattern of the images' names; images that it does not fit are left alone.
    """
    fits = Pattern(pattern, "-pattern", channels) if pattern and any(item.dicom for item in items) else None
    units: dict[str, list[Item]] = defaultdict(list)
    choice = Choice()
    for item in items:
        if not item.dicom or (fits and not fits.match(item.name)):
            choice.items.append(item)
        else:
            units[item.name if fits else item.parts[0]].append(item)
    if wanted and not units:  # no error: a choice that was planned also meets folders of other images
        choice.notes.append(Note(f"{_OPTION} {' '.join(wanted)}", "not used: there are no DICOM files in the folder"))
    beside = {item.parts[0] for item in choice.items}
    passed_over: dict[str, list[str]] = defaultdict(list)
    one_image = not fits and len(channels or " ") == 1
    for name, inside in units.items():
        unit = _Unit.of(name, inside, one_image)
        choice.problems += unit.problems
        for kind in unit.others:
            passed_over[kind].append(name)
        _give(unit, _wanted(unit, wanted, choice), one_image, choice)
        if not unit.volumes and not unit.problems and name not in beside:
            _without_volume(unit, inside[0], choice)
    if passed_over:
        names = [name for among in passed_over.values() for name in among]
        what = enumerated([f"{len(among)} {kind}" for kind, among in passed_over.items()])
        where = listed([name or "." for name in dict.fromkeys(names)], 3)
        choice.notes.append(Note(f"{count(len(names), 'DICOM file')} passed over", f"no volume of slices: {what} (in {where})"))
    choice.items.sort(key=lambda item: (item.name, item.path))
    return choice


def _wanted(unit: _Unit, wanted: Sequence[str], choice: Choice) -> list[tuple[Item, Series]]:
    """The volumes that ``-series`` chooses, all without it; it must choose one."""
    if not wanted or not unit.volumes:
        return unit.volumes
    taken = [one for one in unit.volumes if one[1].fits(wanted)]
    left = [series for item, series in unit.volumes if (item, series) not in taken]
    if not taken:
        where, there = unit.volumes[0][0].path, listed(left)
        choice.problems.append(f"{where}: no DICOM series is {_OPTION} {' '.join(wanted)}; there are {there}.")
    elif left:
        value = f"{len(left)} DICOM series of {unit.name}"
        choice.notes.append(Note(value, f"not chosen by {_OPTION}: {listed([s.description or s.uid for s in left])}"))
    return taken


def _give(unit: _Unit, taken: Sequence[tuple[Item, Series]], one_image: bool, choice: Choice) -> None:
    """Each folder with its one series; several are a problem, also in different folders of a case with one channel."""
    by_folder: dict[str, list[tuple[Item, Series]]] = defaultdict(list)
    for item, series in taken:
        by_folder[item.name].append((item, series))
    given = [replace(item, series=series.files) for ((item, series), *more) in by_folder.values() if not more]
    for (item, series), *more in by_folder.values():
        if more:
            rows = listed([series, *(other for _, other in more)])
            choice.problems.append(f"{item.path}: {len(more) + 1} DICOM series in one folder: {rows}. {_CHOOSE}")
    numbered = all(item.name[-4:].isdecimal() for item in given)  # channels, or nobody knows
    if one_image and len(given) > 1 and len(given) == len(by_folder) and not numbered:
        rows = listed([f"{series} in {item.name}" for item, series in taken])
        choice.problems.append(f"{unit.name}: {len(given)} DICOM series where one image is expected: {rows}. {_CHOOSE}")
    else:
        choice.items += given


def _without_volume(unit: _Unit, item: Item, choice: Choice) -> None:
    """Pictures may be all that was exported of a case, and are an error; reports and contours lie in folders of their own."""
    kinds = Counter(unit.others)
    said = enumerated([f"{number} {kind}" for kind, number in kinds.items()])
    if kinds[CAPTURE]:
        choice.problems.append(
            f"{item.path}: {said}, and no DICOM series of slices with positions. Export the original series of this case, or "
            "move the folder out."
        )
    elif kinds:
        why = f"its DICOM files are {said}; if it is a case, its images are missing"
        choice.notes.append(Note(f"no image in {unit.name or '.'}", why))
