"""What the metadata of an OME-Zarr image say: its axes, its levels with voxel sizes and places in mm, its channels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnactive_ext.geometry.patch import Triple
from nnactive_ext.geometry.space import Vector
from nnactive_ext.images.lengths import length_text
from nnactive_ext.images.units import all_millimetres

VERSIONS = ("0.4", "0.5")
SPACE = "zyx"


@dataclass(frozen=True)
class Level:
    """A resolution of a volume, 0 the finest: the array called ``path``; ``shape`` in voxels, ``spacing`` and ``origin``, the
    centre of its first voxel, in mm, along (z, y, x)."""

    number: int
    path: str
    shape: Triple
    spacing: Vector
    origin: Vector

    def __str__(self) -> str:
        return f"{self.number} ({' x '.join(map(str, self.shape))} voxels of {length_text(self.spacing)}, z y x)"


@dataclass(frozen=True)
class Multiscale:
    """``axes``: a letter for each axis of the arrays, of "tczyx"; of each level, ``paths``, and ``scales`` and
    ``translations`` of the axes z, y, x in mm, or in the unit that nobody states (``unstated``); ``units`` of these axes as
    stated, and the mm in each; ``channels``: names from the
    omero metadata, empty if they do not name all of them; ``version``: of OME-Zarr."""

    axes: str
    paths: tuple[str, ...]
    scales: tuple[Vector, ...]
    translations: tuple[Vector, ...]
    channels: tuple[str, ...]
    units: tuple[str, ...]
    mm: Vector
    version: str

    @property
    def unstated(self) -> bool:
        return not any(self.units)


def multiscale(attributes: Mapping[str, Any]) -> Multiscale:
    """Read the attributes of a group of OME-Zarr 0.4 (``multiscales``) or 0.5 (``ome``).

    Raises:
        ValueError: says what is missing or not supported.
    """
    inside = attributes.get("ome")
    content: Mapping[str, Any] = inside if isinstance(inside, Mapping) else attributes
    images = content.get("multiscales")
    if not isinstance(images, list) or not images:
        raise ValueError("it has no multiscales metadata, so it is no OME-Zarr image")
    if len(images) > 1:
        raise ValueError(f"it holds {len(images)} multiscale images in one group, and nothing says which is meant")
    image = images[0]
    version = str(content.get("version") or image.get("version") or ("0.5" if inside else "0.4"))
    if version not in VERSIONS:
        raise ValueError(f"it is OME-Zarr {version}; versions {' and '.join(VERSIONS)} are read. Convert it")
    try:
        axes, units = _axes(image["axes"])
        scales, translations = [], []
        for entry in image["datasets"]:
            scale, translation = _composed(entry.get("coordinateTransformations"), image, len(axes))
            scales.append([scale[axes.index(axis)] for axis in SPACE])
            translations.append([translation[axes.index(axis)] for axis in SPACE])
        paths = tuple(str(entry["path"]) for entry in image["datasets"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its multiscales metadata are damaged or incomplete ({error!r})") from None
    if not paths:
        raise ValueError("its multiscales metadata name no array")
    mm = all_millimetres(units)
    of = [_vector([a * b for a, b in zip(values, mm, strict=True)]) for values in (*scales, *translations)]
    names = _channels(content.get("omero"))
    return Multiscale(axes, paths, tuple(of[: len(paths)]), tuple(of[len(paths) :]), names, tuple(units), _vector(mm), version)


def _axes(entries: Sequence[Any]) -> tuple[str, list[str]]:
    """A letter for each axis, and the units of z, y and x as stated."""
    letters, units = [], {}
    for entry in entries:
        name, kind, unit = (entry, "", "") if isinstance(entry, str) else (entry["name"], entry.get("type"), entry.get("unit"))
        letter = {"channel": "c", "time": "t"}.get(str(kind), str(name).lower())
        if letter not in "tczyx" or len(letter) != 1 or letter in letters:
            raise ValueError(
                f'its axes are {[_name(one) for one in entries]}; each may be one of t, c, z, y and x, and "{name}"'
            )
        letters.append(letter)
        units[letter] = str(unit or "")
    if missing := [axis for axis in SPACE if axis not in letters]:
        raise ValueError(f"its axes are {[_name(one) for one in entries]}, without {', '.join(missing)}: 3D images are needed")
    return "".join(letters), [units[axis] for axis in SPACE]


def _name(entry: Any) -> str:
    return str(entry.get("name")) if isinstance(entry, Mapping) else str(entry)


def _composed(own: Any, image: Mapping[str, Any], axes: int) -> tuple[list[float], list[float]]:
    """Scale and translation of an array: its own transformations first, then those of the whole multiscale image."""
    if not own:
        raise ValueError("its coordinateTransformations state no scale")
    scale, translation = _read(own, axes)
    outer, shift = _read(image.get("coordinateTransformations") or [], axes)
    scale, translation = (
        [a * b for a, b in zip(scale, outer, strict=True)],
        [a * b + c for a, b, c in zip(translation, outer, shift, strict=True)],
    )
    if not all(math.isfinite(value) and value > 0 for value in scale) or not all(map(math.isfinite, translation)):
        raise ValueError(f"its scale is {scale} and its translation {translation}; scales must be above 0")
    return scale, translation


def _read(transformations: Sequence[Mapping[str, Any]], axes: int) -> tuple[list[float], list[float]]:
    scale, translation, moved = [1.0] * axes, [0.0] * axes, False
    for one in transformations:
        kind = one["type"]
        if kind == "identity":
            continue
        if kind not in ("scale", "translation") or kind not in one or (kind == "scale" and moved):
            raise ValueError(
                f"its coordinateTransformations {list(map(dict, transformations))} are not one scale, then one translation"
            )
        values = [float(value) for value in one[kind]]
        if len(values) != axes:
            raise ValueError(f"its {kind} has {len(values)} numbers for {axes} axes")
        if kind == "scale":
            scale = [a * b for a, b in zip(scale, values, strict=True)]
        else:
            translation, moved = [a + b for a, b in zip(translation, values, strict=True)], True
    return scale, translation


def _channels(omero: Any) -> tuple[str, ...]:
    entries = omero.get("channels") if isinstance(omero, Mapping) else None
    named = [str(entry.get("label") or "").strip() for entry in entries or () if isinstance(entry, Mapping)]
    return tuple(named) if named and all(named) and len({name.lower() for name in named}) == len(named) else ()


def _vector(values: Sequence[float]) -> Vector:
    z, y, x = values
    return z, y, x
