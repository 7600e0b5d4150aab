"""One file that an experiment depends on: what is frozen of it, and whether it still is that file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnactive_ext.files import sha256
from nnactive_ext.images.checks import damage
from nnactive_ext.images.headers import same_geometry, stated_geometry


@dataclass(frozen=True)
class Seen:
    """A file compared with its frozen ``entry``, which has the present size and time where the content is the same.

    ``problem`` says how the file differs; empty where it does not.
    """

    entry: Mapping[str, Any]
    problem: str = ""


def label_entry(file: Path, folder: Path) -> dict[str, Any]:
    """What is frozen of a label map; its path is relative to the experiment's raw ``folder`` where both lie in nnUNet_raw."""
    return {**_stamp(file, folder), "sha256": sha256(file)}


def image_entry(file: Path, folder: Path) -> dict[str, Any]:
    """What is frozen of an image: its geometry, or its checksum where the header states no geometry."""
    geometry = stated_geometry(file)
    return {**_stamp(file, folder), **({"sha256": sha256(file)} if geometry is None else {"geometry": geometry})}


def compare_file(file: Path, entry: Mapping[str, Any]) -> Seen:
    """Compare a file with what was frozen of it: by size and time, and only where these differ by what is in it.

    Args:
        file: where the file is now; a moved dataset has it elsewhere.
        entry: from :func:`label_entry` or :func:`image_entry`.

    Returns:
        The entry as it should be now, and the problem.
    """
    try:
        stat = file.stat()
        same = (stat.st_size, stat.st_mtime_ns) == (entry.get("size"), entry.get("mtime_ns"))
        problem = "" if same else _content(file, entry)
    except OSError as error:
        return Seen(entry, f"{file}: {'no such file' if isinstance(error, FileNotFoundError) else error.strerror}")
    if problem:
        return Seen(entry, f"{file}: {problem}")
    return Seen(entry if same else {**entry, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns})


def geometry_text(geometry: Mapping[str, Any] | None) -> str:
    """A stated geometry as people read it, along (x, y, z)."""
    if geometry is None:
        return "no geometry that can be read"
    return ", ".join(f"{key} {' '.join(f'{value:.6g}' for value in values)}" for key, values in geometry.items())


def _content(file: Path, entry: Mapping[str, Any]) -> str:
    if "geometry" not in entry:
        now, then, size = sha256(file), str(entry.get("sha256")), file.stat().st_size
        text = f"{entry.get('size')} bytes, sha256 {then[:12]}... then; {size} bytes, sha256 {now[:12]}... now"
        return "" if now == then else text
    geometry = stated_geometry(file)
    if geometry is not None and same_geometry(entry["geometry"], geometry):
        # Of another size are files that were written again, and those that were cut: readers take what these lack for zeros.
        cut = damage(file) if file.stat().st_size != entry.get("size") else ""
        return cut.removeprefix(f"{file}: ").rstrip(".")
    return f"{geometry_text(entry['geometry'])} then; {geometry_text(geometry)} now"


def _stamp(file: Path, folder: Path) -> dict[str, Any]:
    stat = file.stat()
    # Beside or in the experiment, as datasets in nnUNet_raw are, a file moves with it.
    place = Path(os.path.relpath(file, folder)) if file.is_relative_to(folder.parent) else file
    return {"file": place.as_posix(), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
