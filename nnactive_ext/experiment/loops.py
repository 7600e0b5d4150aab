"""The loop files: ``loop_NNN.json`` lists the patches chosen for a cycle, as the published nnActive writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import read_json, write_json
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.kept import Kept
from nnactive_ext.paths import Name
from nnactive_ext.schemas import Count, JsonObject, Shape

PREDICTED = "predicted"
"""In a loop file: the classes that a member predicted anywhere in the pool; absent where no member was asked."""
MEMBER_KIND = "member_kind"
"""In a loop file: what the members were that a query asked, as ``-members`` names it; absent for the networks of the folds."""
_NAME = re.compile(r"loop_(\d{3,})\.json")
_REMEDY = "Restore the loop file from a backup."
_LOOPS: Kept[Any] = Kept(100)


class _Patch(TypedDict):
    file: Name
    coords: tuple[int, int, int]
    size: Shape


class ChosenPatch(_Patch, total=False):
    """A patch of a loop file; the published nnActive writes nothing but the first three."""

    score: float | None
    key: float | None
    stratum: str | None
    method: str | None
    label_version: Count
    point: list[Count]


class _Scores(TypedDict, total=False):
    scores: dict[str, list[float | None]]


class _Loop(TypedDict):
    patches: list[ChosenPatch]


class LoopContent(_Loop, total=False):
    """What a loop file says beside its patches; which of it there is depends on the version that wrote it."""

    method: str | None
    options: JsonObject | None
    cycle: Count
    seed: Count
    members: list[Count | str] | None
    missing: Count | None
    predicted: list[str] | None
    member_kind: str
    label_version: Count
    repeats: list[str]
    relevance: _Scores
    earned: JsonObject
    environments: list[JsonObject]


def loop_file(folder: Path, cycle: int) -> Path:
    return folder / f"loop_{cycle:03d}.json"


def last_loop(folder: Path) -> int:
    """The highest cycle for which a loop file exists, -1 for none; a gap in the numbers is an error."""
    found = sorted(int(match[1]) for match in (_NAME.fullmatch(p.name) for p in folder.iterdir()) if match)
    if found != list(range(len(found))):
        missing = min(set(range(len(found) + 1)) - set(found))
        raise NnActiveError(f"{loop_file(folder, missing)}: missing, although later loop files exist. Restore it.")
    return len(found) - 1


def write_loop(file: Path, patches: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> None:
    """``patches`` hold ``file``, ``coords``, ``size`` and what else is known of each; ``facts`` are about the query."""
    write_json(file, {"patches": list(patches), **facts})


def entry(patch: Patch, file_ending: str, **more: Any) -> dict[str, Any]:
    """A patch as the published nnActive writes it, and more."""
    return {"file": patch.case + file_ending, "coords": list(patch.start), "size": list(patch.size), **more}


def read_loop(file: Path, file_ending: str) -> list[Patch]:
    """Read the patches of one loop file, ours or the published nnActive's.

    Args:
        file: ``loop_NNN.json``.
        file_ending: of the images, which the file's names have, such as ".nii.gz".

    Returns:
        The patches in order of choice, in voxels of the images.

    Raises:
        NnActiveError: the file is missing, damaged, or not a loop file.
    """
    return patches_of(read_loop_content(file), file_ending)


def read_loop_content(file: Path) -> dict[str, Any]:
    """All that a loop file says (:class:`LoopContent`); as :func:`read_loop`."""
    content = _LOOPS.of(file, lambda: read_json(file, LoopContent, _REMEDY))
    return {**content, "patches": [dict(one) for one in content["patches"]]}


def patches_of(content: Mapping[str, Any], file_ending: str) -> list[Patch]:
    """The patches of a loop file that was read, as :func:`read_loop`."""
    return [Patch(one["file"].removesuffix(file_ending), one["coords"], one["size"]) for one in content["patches"]]


def read_loops(folder: Path, file_ending: str, upto: int | None = None) -> list[Patch]:
    """All patches of cycles 0 to ``upto`` (inclusive), in order."""
    last = last_loop(folder) if upto is None else upto
    return [patch for cycle in range(last + 1) for patch in read_loop(loop_file(folder, cycle), file_ending)]


def by_case(patches: Iterable[Patch]) -> dict[str, list[Patch]]:
    """Patches grouped by case, cases sorted."""
    groups: dict[str, list[Patch]] = {}
    for patch in patches:
        groups.setdefault(patch.case, []).append(patch)
    return dict(sorted(groups.items()))
