"""Labels of a whole volume as OME-Zarr, written part by part, by several processes, and resumed after a kill."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import TEMPORARY, read_json_if_any
from nnactive_ext.geometry.patch import Patch, Triple, triple
from nnactive_ext.geometry.space import Vector
from nnactive_ext.images.volumes import Volume
from nnactive_ext.schemas import JsonObject

_UNFINISHED = ".unfinished"
_KEY, _DONE = "nnactive", "nnactive_normalisation"
_AGREED, _FACTS = "agreed", "normalisation.json"
"""A folder in that of what is written, and the file in it."""
_SMALLEST = 256
"""Coarser levels are made until no axis is longer."""
_CHUNK = 128


@dataclass(frozen=True)
class LabelStore:
    """The OME-Zarr image at ``path``; ``unfinished``, a folder beside it, has an empty file for each part that is written, and
    is removed when all is done. Only a store that says so in its attributes is finished: without the folder, all parts are
    predicted again."""

    path: Path
    volume: Volume
    part: Triple

    @property
    def unfinished(self) -> Path:
        return self.path.with_name(self.path.name + _UNFINISHED)

    @property
    def finished(self) -> bool:
        return _DONE in self._attributes()

    def check_place(self) -> None:
        """A path that no store can be written to is an error."""
        if not self.path.name.lower().endswith(".zarr"):
            raise NnActiveError(f"-o {self.path}: the labels are written as OME-Zarr. Give a name that ends in .ome.zarr.")
        if not self.path.parent.is_dir():
            raise NnActiveError(f"-o {self.path}: the folder {self.path.parent} does not exist.")

    def begin(self, names: Mapping[str, int], record: Mapping[str, Any]) -> None:
        """Make the store, or go on with one that was begun with the same ``record``.

        Args:
            names: label -> value.
            record: what decides the labels, besides the volume.

        Raises:
            NnActiveError: something else is at the path.
        """
        if not self.path.exists():
            self._make(names, json.loads(json.dumps(record)))
        self.check_record(record)
        if not self.finished:
            self.unfinished.mkdir(exist_ok=True)

    def check_record(self, record: Mapping[str, Any]) -> None:
        """What is at the path must have been begun with the same ``record``.

        Raises:
            NnActiveError: it was not.
        """
        record, found = json.loads(json.dumps(record)), self._attributes().get(_KEY)
        if found != record:
            differ = sorted(key for key in {*record, *(found or {})} if (found or {}).get(key) != record.get(key))
            what = (
                f"a prediction with other {', '.join(differ)}" if found else "something else than a prediction by this command"
            )
            raise NnActiveError(f"{self.path}: holds {what}. Choose another name with -o, or delete it and {self.unfinished}.")

    def facts(self) -> list[dict[str, Any]] | None:
        """What the processes that write the parts agreed on; None before that."""
        file = self.unfinished / _AGREED / _FACTS
        return read_json_if_any(file, None, list[JsonObject], f"Delete {self.path} and {self.unfinished}.")

    def agree(self, facts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Let all processes that write parts, now and after a kill, use the same facts: those of the first one.

        Args:
            facts: how the volume is normalised, a channel each, as this process would.

        Returns:
            What the first process said.
        """
        aside = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self.unfinished))
        try:
            (aside / _FACTS).write_text(json.dumps(list(facts)), encoding="utf-8")
            os.rename(aside, self.unfinished / _AGREED)  # fails where another process was first
        except OSError:
            if not (self.unfinished / _AGREED).is_dir():
                raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return self.facts() or []

    def _attributes(self) -> dict[str, Any]:
        import zarr

        try:
            return dict(zarr.open_group(self.path, mode="r").attrs)
        except Exception:  # whatever is at the path is no store of ours
            return {}

    def _make(self, names: Mapping[str, int], record: Mapping[str, Any]) -> None:
        """Whole or not at all; of several processes that do so at once, one succeeds."""
        import zarr

        aside = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self.path.parent)) / "store"
        try:
            version = self.volume.opened.version or "0.4"
            group = zarr.open_group(aside, mode="w", zarr_format=3 if version == "0.5" else 2)
            dtype = np.uint8 if max(names.values()) < 256 else np.uint16
            self._array(group, 0, self.volume.level.shape, dtype)
            level = self.volume.level
            properties = [{"label-value": value, "name": name} for name, value in names.items()]
            facts = {"image-label": {"version": version, "properties": properties}}
            self._describe(group, [(level.spacing, level.origin)], {_KEY: dict(record)}, facts)
            try:
                os.rename(aside, self.path)
            except OSError:
                if not self.path.is_dir():
                    raise
        finally:
            shutil.rmtree(aside.parent, ignore_errors=True)

    def _array(self, group: Any, number: int, shape: Triple, dtype: Any) -> Any:
        chunks = tuple(min(_chunk(side), n) for side, n in zip(self.part, shape, strict=True))
        given: dict[str, Any] = (
            {"chunk_key_encoding": {"name": "v2", "separator": "/"}} if group.metadata.zarr_format == 2 else {}
        )
        return group.create_array(str(number), shape=shape, chunks=chunks, dtype=dtype, fill_value=0, overwrite=True, **given)

    def _describe(
        self, group: Any, levels: Sequence[tuple[Vector, Vector]], more: Mapping[str, Any], facts: Mapping[str, Any]
    ) -> None:
        """Write the metadata of these levels: spacing and origin in mm, in the units of the volume."""
        opened, version = self.volume.opened, self.volume.opened.version or "0.4"
        axes = [
            {"name": axis, "type": "space", **({"unit": unit} if unit else {})}
            for axis, unit in zip("zyx", opened.units, strict=True)
        ]

        def own(values: Vector) -> list[float]:
            return [float(f"{value / mm:.12g}") for value, mm in zip(values, opened.mm, strict=True)]

        datasets = [
            {
                "path": str(number),
                "coordinateTransformations": [
                    {"type": "scale", "scale": own(spacing)},
                    {"type": "translation", "translation": own(origin)},
                ],
            }
            for number, (spacing, origin) in enumerate(levels)
        ]
        image = {"name": self.path.name, "axes": axes, "datasets": datasets, "type": "nearest"}
        if version == "0.5":
            group.attrs.update({"ome": {"version": version, "multiscales": [image], **facts}, **more})
        else:
            group.attrs.update({"multiscales": [{"version": version, **image}], **facts, **more})

    def is_written(self, core: Patch) -> bool:
        return (self.unfinished / _name(core)).is_file()

    def write(self, core: Patch, labels: np.ndarray) -> None:
        """The labels (z, y, x) of a part; parts share no chunk."""
        import zarr

        array: Any = zarr.open_group(self.path, mode="r+")["0"]
        array[core.slices] = labels.astype(array.dtype)
        (self.unfinished / _name(core)).touch()

    def finish(self, normalisation: Any = None) -> None:
        """Make the coarser levels, each of every second voxel of the one before, and name them in the metadata, with how the
        volume was normalised."""
        import zarr

        group: Any = zarr.open_group(self.path, mode="r+")
        level = self.volume.level
        levels, spacing = [(level.spacing, level.origin)], level.spacing
        while max(group[str(len(levels) - 1)].shape) > _SMALLEST:
            finer = group[str(len(levels) - 1)]
            step = [2 if mm < 2 * min(spacing) and n > 1 else 1 for mm, n in zip(spacing, finer.shape, strict=True)]
            shape = triple([-(-n // s) for n, s in zip(finer.shape, step, strict=True)])
            coarse = self._array(group, len(levels), shape, finer.dtype)
            sides = [max(c, _SMALLEST // c * c) for c in coarse.chunks]
            for start in itertools.product(*(range(0, n, side) for n, side in zip(shape, sides, strict=True))):
                stop = [min(a + side, n) for a, side, n in zip(start, sides, shape, strict=True)]
                here = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
                there = tuple(slice(a * s, (b - 1) * s + 1, s) for a, b, s in zip(start, stop, step, strict=True))
                coarse[here] = finer[there]
            z, y, x = (mm * s for mm, s in zip(spacing, step, strict=True))
            spacing = (z, y, x)
            levels.append((spacing, level.origin))
        attributes: dict[str, Any] = dict(group.attrs)
        content = attributes.get("ome", attributes)
        self._describe(group, levels, {_DONE: normalisation}, {"image-label": content["image-label"]})
        shutil.rmtree(self.unfinished, ignore_errors=True)


def _name(core: Patch) -> str:
    return "_".join(map(str, core.start))


def _chunk(side: int) -> int:
    """The longest chunk that divides the side of a part, so that no two parts share a chunk."""
    return next((n for n in range(min(side, _CHUNK), 15, -1) if side % n == 0), side)
