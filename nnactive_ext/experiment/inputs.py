"""What an experiment depends on and does not own, frozen when it was planned: ``nnactive_inputs.json``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.commands import change_of
from nnactive_ext.files import read_json, sha256, write_json
from nnactive_ext.paths import Name
from nnactive_ext.schemas import Count, JsonObject

INPUTS = "nnactive_inputs.json"
"""In the experiment's raw folder, beside its plan."""
DESCRIBED = ("labels", "regions_class_order", "channel_names", "file_ending", "overwrite_image_reader_writer")
"""The keys of a dataset.json that say what voxels mean and how files are read."""
PASSING = ("dataset_name", "continue_training")
"""The keys of nnU-Net's plans that say where they lie and how a training began, not what is trained."""


class _File(TypedDict):
    file: str
    size: Count
    mtime_ns: int


class _Reference(_File):
    sha256: str


class _Geometry(TypedDict, total=False):
    size: list[Count]
    spacing: list[float]
    origin: list[float]
    direction: list[float]


class _Image(_File, total=False):
    sha256: str
    geometry: _Geometry | None


class _PlansThen(TypedDict):
    identifier: Name
    sha256: str
    data_folder: Name
    marked: Name
    content: JsonObject


class _Plans(_PlansThen, total=False):
    dataset_json: JsonObject | None
    fingerprint: JsonObject | None


class _Rereading(TypedDict, total=False):
    before: dict[str, str]
    after: dict[str, str]


class _Content(TypedDict, total=False):
    source: JsonObject
    dataset: JsonObject
    references: dict[str, _Reference]
    images: dict[str, list[_Image]]
    plans: _Plans
    rereading: _Rereading


def described(content: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a dataset.json that an experiment depends on."""
    return {key: content[key] for key in DESCRIBED if content.get(key) is not None}


def digest(plans: Mapping[str, Any]) -> str:
    """The checksum of nnU-Net's plans, whatever the order of their keys, the name of the dataset and how a training began."""
    kept = {key: value for key, value in plans.items() if key not in PASSING}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Inputs:
    """The only place that spells the keys of the file; keys of later versions are kept.

    ``folder`` is the experiment's raw folder. ``content``: ``source`` and ``dataset``, what :func:`described` takes from the
    dataset.json of the source and of the experiment; ``references``: case -> file, size, mtime_ns, sha256 of its reference
    label map (pool and test set); ``images``: case -> for each channel file, size, mtime_ns and geometry of the header (sha256
    where the header states none); ``plans``: what nnU-Net planned, see :func:`nnactive_ext.experiment.freezing.freeze_plans`;
    ``rereading``: the change that ``nnactive_change -references reread`` is making.
    """

    folder: Path
    content: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Inputs | None:
        """From the experiment's raw folder; None where there is no such file, as in experiments of earlier versions."""
        file = folder / INPUTS
        if not file.is_file():
            return None
        return cls(folder, read_json(file, _Content))

    def write(self) -> None:
        """Whole or not at all."""
        write_json(self.folder / INPUTS, self.content)

    def having(self, **parts: Any) -> Inputs:
        """These inputs with other parts; a part that is None is taken out."""
        content = {**self.content, **parts}
        return replace(self, content={key: value for key, value in content.items() if value is not None})

    def part(self, name: str) -> Mapping[str, Any]:
        """One of the parts; empty where it is not frozen."""
        return self.content.get(name, {})

    def verify(self, case: str, file: Path) -> None:
        """Refuse a reference label map that is not the one that was frozen, though size and time may be the same.

        Raises:
            NnActiveError: its checksum is another one.
        """
        frozen = self.part("references").get(case, {}).get("sha256")
        now = sha256(file) if frozen else None
        if now != frozen:
            then, found = str(frozen)[:12], str(now)[:12]
            raise NnActiveError(
                f"{file}: changed since {self.folder.name} was planned (sha256 {then}... then, {found}... now). "
                f"{remedy(self.folder)}"
            )


def remedy(folder: Path) -> str:
    """What to do about changed reference label maps."""
    rereading = change_of(folder.name, "-references", "reread")
    return f"Restore the label files; or, to use them as they are from now on: {rereading}"
