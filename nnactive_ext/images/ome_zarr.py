"""Opens OME-Zarr images, in a folder or in a .zip file; says what is wrong with others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError, brief
from nnactive_ext.geometry.patch import triple
from nnactive_ext.geometry.space import Vector
from nnactive_ext.images.multiscale import SPACE, Level, Multiscale, multiscale
from nnactive_ext.images.opened import Opened
from nnactive_ext.images.tiff_spacing import check_same

ZIPPED = (".zip", ".ozx")
_GROUP = ("zarr.json", ".zgroup", ".zattrs")
_LAYOUT = "bioformats2raw.layout"
_CHECK = "Convert the image again, for example with bioformats2raw or ngff-zarr."


def is_zarr(path: Path) -> bool:
    """Whether a path is the folder of a zarr group, by what lies in it, or a zipped one, by its name."""
    if path.is_dir():
        return any((path / name).is_file() for name in _GROUP)
    return path.name.lower().endswith((".zarr.zip", ".ozx"))


def open_zarr(path: Path, spacing: Vector | None) -> Opened:
    """Open an image of OME-Zarr 0.4 or 0.5.

    Args:
        path: the folder of its group, or a zip file of it.
        spacing: of the finest level in mm along (z, y, x), where the image states no unit.

    Raises:
        NnActiveError: names the path and the remedy.
    """
    group, attributes = _group(path)
    try:
        found = multiscale(attributes)
    except ValueError as error:
        raise NnActiveError(f"{path}: {error}. {_CHECK}") from None
    arrays = tuple(_array(path, group, name, found.axes) for name in found.paths)
    scales, translations = _in_mm(path, found, spacing)
    levels = []
    for number, (name, array) in enumerate(zip(found.paths, arrays, strict=True)):
        shape = triple(array.shape[found.axes.index(axis)] for axis in SPACE)
        levels.append(Level(number, name, shape, scales[number], translations[number]))
    z, y, x = (mm / own * per for mm, own, per in zip(scales[0], found.scales[0], found.mm, strict=True))
    return Opened(
        arrays, tuple(levels), found.axes, found.channels, spacing, version=found.version, units=found.units, mm=(z, y, x)
    )


def _group(path: Path) -> tuple[Any, dict[str, Any]]:
    import zarr

    try:
        zipped = path.is_file() and path.name.lower().endswith(ZIPPED)
        if path.is_file() and not zipped:
            raise NnActiveError(f"{path}: no OME-Zarr image: neither a folder nor a .zip file of one.")
        store = zarr.storage.ZipStore(path, mode="r") if zipped else zarr.storage.LocalStore(path, read_only=True)
        group: Any = zarr.open_group(store, mode="r", path=_inner(path) if zipped else "")
        attributes: dict[str, Any] = dict(group.attrs)
        inside = attributes.get("ome")
        content = inside if isinstance(inside, dict) else attributes
        if "plate" in content or "well" in content:
            raise NnActiveError(f"{path}: a plate or well of images. Give the folder of one image in it.")
        if "multiscales" not in content and _LAYOUT in content:
            series = sorted(name for name, _ in group.groups() if name.isdecimal())
            if len(series) != 1:
                raise NnActiveError(
                    f"{path}: it holds {len(series)} images ({', '.join(series[:9])}). Give the folder of one, e.g. -i "
                    f"{path / (series[0] if series else '0')}"
                )
            group = group[series[0]]
            attributes = dict(group.attrs)
    except NnActiveError:
        raise
    except FileNotFoundError:
        raise NnActiveError(f"{path}: no zarr group in it (zarr.json or .zgroup). {_CHECK}") from None
    except Exception as error:  # of damaged JSON and damaged zip files
        raise NnActiveError(f"{path}: cannot be opened as zarr, damaged or unfinished: {brief(error)}. {_CHECK}") from None
    return group, attributes


def _inner(path: Path) -> str:
    """The folder of a zip file that holds the group: its top, or the only folder there."""
    import zipfile

    with zipfile.ZipFile(path) as content:
        names = content.namelist()
    if any(name in _GROUP for name in names):
        return ""
    tops = {name.split("/")[0] for name in names if "/" in name}
    if len(tops) == 1 and any(f"{next(iter(tops))}/{name}" in names for name in _GROUP):
        return tops.pop()
    raise NnActiveError(f"{path}: no zarr group in this .zip file (zarr.json or .zgroup). {_CHECK}")


def _array(path: Path, group: Any, name: str, axes: str) -> Any:
    import zarr

    try:
        array = group[name]
    except KeyError:
        raise NnActiveError(f"{path}: its array {name} is missing, which its multiscales metadata name. {_CHECK}") from None
    except Exception as error:
        text = brief(error)
        if "codec" in text.lower():
            raise NnActiveError(
                f"{path}: its array {name} is compressed with a codec that is not installed ({text}). Install the package that "
                "brings it (pip install imagecodecs brings many), or convert the image to blosc or zstd."
            ) from None
        raise NnActiveError(f"{path}: its array {name} cannot be opened: {text}. {_CHECK}") from None
    if not isinstance(array, zarr.Array) or array.ndim != len(axes):
        raise NnActiveError(f"{path}: {name} is no array with the axes {axes} that its multiscales metadata state. {_CHECK}")
    return array


def _in_mm(path: Path, found: Multiscale, spacing: Vector | None) -> tuple[list[Vector], list[Vector]]:
    if spacing is None and found.unstated:
        raise NnActiveError(
            f"{path}: it states no unit of its scale {found.scales[0]} (z, y, x). Give the spacing of its finest level with "
            "-spacing Z Y X, e.g. -spacing 2um 0.5um 0.5um, the distance between slices first."
        )
    if spacing is None or not found.unstated:
        if spacing is not None:
            check_same(path, found.scales[0], "-spacing", spacing)
        return list(found.scales), list(found.translations)
    per = [mm / own for mm, own in zip(spacing, found.scales[0], strict=True)]

    def mm(values: Vector) -> Vector:
        z, y, x = (value * unit for value, unit in zip(values, per, strict=True))
        return z, y, x

    return [mm(scale) for scale in found.scales], [mm(shift) for shift in found.translations]
