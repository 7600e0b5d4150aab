"""Which channels a folder of images has, as nnU-Net's dataset.json beside it says, and what in the names was taken for them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import TypedDict

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import read_json
from nnactive_ext.intake.folder import without_ending
from nnactive_ext.words import listed

DATASET = "dataset.json"
_FOLDER = re.compile(r"images\w*", re.IGNORECASE)


class _Description(TypedDict, total=False):
    """``modality``: as nnU-Net 1 called it."""

    channel_names: dict[str, str]
    modality: dict[str, str]


def channels_beside(folder: Path) -> list[str] | None:
    """The channels that nnU-Net's dataset.json beside ``folder`` (imagesTr) names, if the files' numbers are theirs, from 0000
    to the last; None where there is no such file, or where it does not fit. Names alone are looked at."""
    file = folder.absolute().parent / DATASET
    if not (folder.is_dir() and _FOLDER.fullmatch(folder.absolute().name) and file.is_file()):
        return None
    try:
        content = read_json(file, _Description)
        named = content.get("channel_names", content.get("modality", {}))
        names = [named[str(number)] for number in range(len(named))]
    except (OSError, NnActiveError, KeyError):
        return None
    stems = [stem for name in os.listdir(folder) if not name.startswith(".") and (stem := without_ending(name))]
    numbers = [re.fullmatch(r".+_(\d{4})", stem) for stem in stems]
    found = {int(match[1]) for match in numbers if match}
    fits = all(numbers) and found == set(range(len(names))) and len({name.lower() for name in names}) == len(names)
    return names if fits and names else None


def channel_endings(files: Iterable[Sequence[Path]]) -> list[str]:
    """How the files of each channel in turn differ from those of the case's other channels, such as "0000" and "0001";
    ``files``: of each case, those of its channels."""
    cases = [[file.as_posix() for file in of] for of in files if len(of) > 1]
    endings: list[list[str]] = [[] for _ in cases[0]] if cases else []
    for paths in cases:
        same = takewhile(lambda letters: len(set(letters)) == 1, zip(*paths, strict=False))
        shared = re.sub(r"[^/_. -]+$", "", "".join(letters[0] for letters in same))
        for path, ending in zip(paths, endings, strict=True):
            ending.append(without_ending(path[len(shared) :]) or path[len(shared) :])
    return [listed(sorted(set(ending)), 3) for ending in endings]
