"""Which image is which channel of which case, seen from names alone, where no pattern says it.

A file or DICOM folder directly in the folder is a case, or a channel of one by its ending (``_t1``, or nnU-Net's
``_0001``); a folder that holds images is a case. Every image must find its place: one that is left over would be a case
or a channel lost without a word.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from nnactive_ext.errors import NnActiveError
from nnactive_ext.images.names import case_name
from nnactive_ext.intake.folder import Item
from nnactive_ext.words import listed

_NUMBERED = re.compile(r"(?:(.+)_)?(\d{4})")
_SURELY_CHANNELS = 4
"""So many numbered images, all with the same name before them, are taken for the channels of one case, more are asked about."""


@dataclass(frozen=True)
class Placed:
    """An image that is channel number ``channel`` of the case that people call ``case``."""

    case: str
    channel: int
    item: Item


def place(
    items: Sequence[Item], channels: Sequence[str] | None, labelled: Collection[str] = ()
) -> tuple[list[Placed], list[str]]:
    """All ``items`` in their places, and the problems of those that have none; ``labelled``: the cases that label maps name."""
    flat, deep = [item for item in items if "/" not in item.name], defaultdict(list)
    for item in items:
        if "/" in item.name:
            deep[item.parts[0]].append(item)
    numbered = _numbers_are_channels([item.name for item in flat], channels, labelled)
    placed, problems = [], []
    for item in flat:
        found = _case_and_channel(item.name, channels, numbered)
        if found and found[0]:
            placed.append(Placed(found[0], found[1], item))
        else:
            endings = listed([f"_{channel}" for channel in channels or ()])
            problems.append(f"{item.path}: its name ends in none of the channels ({endings}).")
    several = channels is not None and len(channels) > 1
    counted = channels is None and any(len(inside) > 1 for inside in deep.values())
    if counted:
        _check_folders(deep, labelled)
    for case, inside in deep.items():
        indices = [_channel_inside(item, channels) if several or counted else None for item in inside]
        if several:
            problems += [
                f"{item.path}: its name is none of the channels ({listed(channels or ())})."
                for item, index in zip(inside, indices, strict=True)
                if index is None
            ]
        elif len(inside) == 1:
            indices = [indices[0] or 0]
        elif None in indices:
            names = listed([item.path.name for item in inside])
            problems.append(f"{inside[0].path.parent}: {len(inside)} images where one is expected: {names}.")
            continue
        placed += [Placed(case, i, item) for item, i in zip(inside, indices, strict=True) if i is not None]
    return placed, problems


def _case_and_channel(name: str, channels: Sequence[str] | None, numbered: bool) -> tuple[str, int] | None:
    several = channels is not None and len(channels) > 1
    if several:
        index = _named(name, channels or ())
        if index is not None:
            return name[: -len((channels or ())[index]) - 1], index
    found = _NUMBERED.fullmatch(name)
    if numbered and found and found[1]:
        return found[1], int(found[2])
    return None if several else (name, 0)


def _channel_inside(item: Item, channels: Sequence[str] | None) -> int | None:
    """By the file's name, or by that of a folder between it and the case's folder, the innermost first."""
    for part in reversed(item.parts[1:]):
        index = _named(part, channels or ())
        if index is not None:
            return index
    found = _NUMBERED.fullmatch(item.parts[-1])
    return int(found[2]) if found else None


def _named(name: str, channels: Sequence[str]) -> int | None:
    """The channel that ``name`` is or ends in after "_"; of "t1" and "ce_t1" the longer one."""
    fitting = [i for i, channel in enumerate(channels) if f"_{name}".lower().endswith(f"_{channel}".lower())]
    return max(fitting, key=lambda i: len(channels[i]), default=None)


def _numbers_are_channels(names: Sequence[str], channels: Sequence[str] | None, labelled: Collection[str]) -> bool:
    """Whether ``_0001`` is a channel as in nnU-Net, or part of a case's name. Channels begin at 0 for (nearly) every case;
    cases are counted under one name and often from 1. Label maps have the names of cases. Else it is asked."""
    numbers: dict[str, set[int]] = defaultdict(set)
    for match in map(_NUMBERED.fullmatch, names):
        if match and match[1]:
            numbers[match[1]].add(int(match[2]))
    if all(found == {0} for found in numbers.values()):
        return True
    if channels is not None:
        return len(channels) > 1
    if 2 * sum(0 in found for found in numbers.values()) < len(numbers):
        return False
    known = set(map(case_name, labelled))
    of_prefixes, of_files = known & set(map(case_name, numbers)), known & set(map(case_name, names))
    if bool(of_prefixes) != bool(of_files):
        return bool(of_prefixes)
    if len(numbers) > 1 or len(next(iter(numbers.values()))) > _SURELY_CHANNELS:
        name, found = next((name, found) for name, found in sorted(numbers.items()) if found != {0})
        raise NnActiveError(_question([f"{name}_{number:04d}" for number in sorted(found)], len(numbers)))
    return True


def _question(example: Sequence[str], names: int) -> str:
    others = f" ({names} names have such numbers)" if names > 1 else ""
    return (
        f"{listed(example, 4)}{others}: are these {len(example)} cases or {len(example)} channels of one case? Of cases: "
        '-pattern "{case}". Of channels: -pattern "{case}_{channel}", or -channels with a name for each, in their order.'
    )


def _check_folders(deep: Mapping[str, Sequence[Item]], labelled: Collection[str]) -> None:
    """Numbered images in several folders may be the channels of one case in each, or the cases of a site in each."""
    numbered = {
        folder: [item.name for item in inside]
        for folder, inside in deep.items()
        if len(inside) > 1 and all(_NUMBERED.fullmatch(item.parts[-1]) for item in inside)
    }
    if len(numbered) > 1 and not set(map(case_name, labelled)) & set(map(case_name, numbered)):
        folder, names = next(iter(sorted(numbered.items())))
        raise NnActiveError(
            f"{listed(names, 4)} ({len(numbered)} folders have such numbers): are these {len(names)} cases or {len(names)} "
            f"channels of the case {folder}? Of channels: -channels with a name for each, in their order, or "
            '-pattern, as in "{case}/{channel}" or "{case}/{case}_{channel}". Of cases: put all images into one folder, under '
            f"names of their own (such as {folder}_{names[0].rsplit('/')[-1]})."
        )
