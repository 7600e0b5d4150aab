"""Label maps that people have as one file for each class: ``CASE_CLASS``, ``CASE/CLASS``, ``CASE/segmentations/CLASS``."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnactive_ext.images.class_files import ClassFiles
from nnactive_ext.images.class_names import class_in
from nnactive_ext.images.names import case_name
from nnactive_ext.intake.folder import Item
from nnactive_ext.words import count, listed

_BETWEEN = re.compile(r"seg(mentation)?s?|masks?|labels?", re.IGNORECASE)
"""The folder that may lie between a case's folder and the files of its classes."""
_MANY = 20
"""From so many masks of one case on, they are the structures that a program finds, and those of other classes are left out."""


def in_class_folder(item: Item, classes: Sequence[str]) -> bool:
    """Whether an item lies in a folder that is called like a class."""
    return len(item.parts) > 1 and bool(class_in(item.parts[-2], classes).name)


def is_mask(item: Item, classes: Sequence[str]) -> bool:
    """Whether an item is the mask of one class by its own name, or lies where only such masks lie."""
    if item.dicom or not classes:
        return False
    if len(item.parts) > 2 and _BETWEEN.fullmatch(item.parts[-2]):
        return True
    return bool(class_in(_stem(item.parts[-1]), classes).name) if len(item.parts) > 1 else _ends_in_class(item, classes)


@dataclass(frozen=True)
class ClassMaps:
    """``files``: by case; ``left``: items that are none; ``told``: what people should know, as (what, why)."""

    files: Mapping[str, ClassFiles]
    left: Sequence[Item]
    problems: Sequence[str]
    told: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, items: Sequence[Item], cases: Collection[str], classes: Sequence[str], among: bool) -> ClassMaps:
        """Those of ``items`` that are masks of ``classes`` of ``cases``. ``among``: images lie in the same folders."""
        found: dict[str, list[tuple[str, Path]]] = defaultdict(list)
        strange: dict[str, list[tuple[str, Item]]] = defaultdict(list)
        left, problems = [], []
        folders: dict[str, set[Path]] = defaultdict(set)
        for item in items:
            case, rest, nested = _split(item, cases, classes)
            said = class_in(rest, classes) if case else None
            if case is None or said is None:
                left.append(item)
            elif said.name:
                found[case].append((said.name, item.path))
                folders[case].add(item.path.parent)
            elif nested:
                strange[case].append((rest, item))
            else:
                left.append(item)
        others: set[str] = set()
        for case, members in strange.items():
            inside = [(rest, item) for rest, item in members if item.path.parent in folders.get(case, ())]
            # What lies beside the folder of a case's masks is its image.
            above = {folder.parent for folder in folders.get(case, ())} | folders.get(case, set())
            left += [item for _, item in members if item.path.parent not in above]
            if len(inside) + len(found.get(case, ())) >= _MANY:
                others |= {rest for rest, item in inside if not among or _BETWEEN.fullmatch(item.path.parent.name)}
            elif not among or any(_BETWEEN.fullmatch(item.path.parent.name) for _, item in inside):
                known = listed([repr(name) for name in classes], 20)
                problems += [
                    f"{item.path}: {rest!r} is no class, and files beside it are masks of one class. The classes are {known}."
                    for rest, item in inside
                ]
        made = {case: _ordered(files, classes) for case, files in found.items()}
        problems += _doubled(made)
        told: list[tuple[str, str]] = []
        if made:
            told, more = _missing(made, classes, others)
            problems += more
        if others:
            told.append((f"{count(len(others), 'other structure')} left out", f"no classes: {listed(sorted(others))}"))
        return cls(made, left, problems, tuple(told))


def class_of_pattern(pattern: str, classes: Sequence[str]) -> str:
    """The class that a pattern of names says beside {case}, as in "{case}/liver"; "" if it says none."""
    parts = pattern.replace("{case}", "").split("/")
    return next((class_in(part, classes).name for part in reversed(parts) if part), "")


def _split(item: Item, cases: Collection[str], classes: Sequence[str]) -> tuple[str | None, str, bool]:
    """The case of an item, the rest of its name, and whether the case is the name of its folder."""
    if item.dicom:
        return None, "", False
    *above, last = item.parts
    last = _stem(last)
    if above and _BETWEEN.fullmatch(above[-1]) and len(above) > 1:
        above = above[:-1]
    if above and case_name(last) in cases and class_in(above[-1], classes).name:
        return case_name(last), above[-1], False  # CLASS/CASE
    if above and case_name(above[-1]) in cases:
        return case_name(above[-1]), last, True
    # The longest case that the name begins with, before a sign that parts words.
    for end in range(len(last) - 1, 0, -1):
        if not last[end].isalnum() and case_name(last[:end]) in cases:
            return case_name(last[:end]), last[end:], False
    return None, "", False


def _ordered(files: Sequence[tuple[str, Path]], classes: Sequence[str]) -> ClassFiles:
    return ClassFiles(tuple(sorted(files, key=lambda one: (classes.index(one[0]), one[1]))))


def _ends_in_class(item: Item, classes: Sequence[str]) -> bool:
    last = _stem(item.parts[-1])
    return any(not last[i].isalnum() and class_in(last[i:], classes).name for i in range(1, len(last)))


def _stem(name: str) -> str:
    return name.removesuffix(".seg")


def _doubled(made: Mapping[str, ClassFiles]) -> list[str]:
    problems = []
    for case, parts in made.items():
        seen: dict[str, Path] = {}
        for name, file in parts.files:
            if name in seen:
                problems.append(f"{case}: 2 masks of {name!r}, {seen[name]} and {file}.")
            seen[name] = file
    return problems


def _missing(
    made: Mapping[str, ClassFiles], classes: Sequence[str], others: Collection[str]
) -> tuple[list[tuple[str, str]], list[str]]:
    """Classes without a file in some cases are told; without a file in any they may be called otherwise."""
    told, problems = [], []
    for name in classes:
        without = [case for case, parts in made.items() if name not in dict(parts.files)]
        if name in ("background", "ignore") or not without:
            continue
        if len(without) == len(made) and others:
            problems.append(
                f"{made[without[0]]}: no mask of {name!r} in any case, but of {len(others)} structures that are no classes "
                f"({listed(sorted(others))}). Call the class as its files are called, or leave them out."
            )
        else:
            told.append((f"no mask of {name} in {count(len(without), 'case')}", f"it is background there: {listed(without)}"))
    return told, problems
