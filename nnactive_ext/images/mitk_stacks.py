"""Reads the names of labels that MITK keeps beside NIfTI and other files, in a ``.mitklabel.json`` (a segmentation stack)."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from nnactive_ext.errors import NnActiveError
from nnactive_ext.images.segment_names import Segment
from nnactive_ext.schemas import Count, of_text

ENDING = ".mitklabel.json"
_ONE_FILE = "Save the segmentation as one .nrrd in MITK (or convert it with MitkFileConverter)."


class _File(TypedDict, total=False):
    _file: str | None


class _LabelOfStack(TypedDict):
    name: str
    value: Count


class _Label(_LabelOfStack, _File):
    pass


class _Labels(TypedDict):
    labels: list[_Label]


class _Group(_Labels, _File):
    pass


class _Stack(TypedDict):
    groups: list[_Group]


def stack_segments(file: Path) -> list[Segment] | None:
    """The labels that a stack beside ``file`` names for it; None if no stack there speaks of it."""
    found = [(stack, segments) for stack in _stacks(file) if (segments := _named_for(file, stack)) is not None]
    if len(found) > 1:
        raise NnActiveError(f"{file}: {len(found)} files beside it name its labels ({', '.join(s.name for s, _ in found)}).")
    return found[0][1] if found else None


def _stacks(file: Path) -> list[Path]:
    return sorted(path for path in file.parent.glob(f"*{ENDING}") if path.is_file())


def _named_for(file: Path, stack: Path) -> list[Segment] | None:
    try:
        groups = of_text(_Stack, stack.read_bytes())["groups"]
        files = {_name(entry) for group in groups for entry in (group, *group["labels"])} - {""}
        if file.name not in files:
            return None
        if len(files) == 1 and all(not _name(label) for group in groups for label in group["labels"]):
            (group,) = groups
            return [Segment(label["name"], 0, label["value"]) for label in group["labels"]]
    except (OSError, ValueError) as error:
        if not file.name.startswith(stack.name.removesuffix(ENDING)):
            return None
        raise NnActiveError(
            f"{file}: {stack.name} beside it, which names its labels, cannot be read ({error}). {_ONE_FILE}"
        ) from None
    raise NnActiveError(f"{file}: one of {len(files)} files of a segmentation ({stack.name}). {_ONE_FILE}")


def _name(entry: _File) -> str:
    """Of the file of a group or a label; "" if it has none."""
    return Path((entry.get("_file") or "").replace("\\", "/")).name
