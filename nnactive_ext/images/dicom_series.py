"""The DICOM series in a folder, and what else lies there that is no slice of a volume; only headers are read."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from nnactive_ext.errors import NnActiveError
from nnactive_ext.images.dicom_files import ENDINGS, Header, is_dicom, read_header
from nnactive_ext.images.names import check_name
from nnactive_ext.words import count


@dataclass(frozen=True)
class Series:
    """The files of one series in one folder by name; ``slices`` are the frames in all of them."""

    uid: str
    description: str
    files: tuple[Path, ...]
    slices: int

    def fits(self, wanted: Sequence[str]) -> bool:
        """Whether one of ``wanted`` is its UID or its whole description, in any case, or a pattern ("*thin*") of it."""
        text = self.description.casefold()
        return any(
            one == self.uid or (bool(text) and (one.casefold().strip() == text or fnmatchcase(text, one.casefold())))
            for one in wanted
        )

    def __str__(self) -> str:
        about = f', "{self.description}"' if self.description else ""
        slices = f", {self.slices} slices" if self.slices != len(self.files) else ""
        return f"{self.uid or 'without a UID'} ({count(len(self.files), 'file')}{slices}{about})"


@dataclass(frozen=True)
class DicomFolder:
    """What the DICOM files directly in ``path`` are: ``series`` of slices, ``others`` that are no volume by their kind, and
    the ``problems`` of files that may be slices and cannot be read."""

    path: Path
    series: tuple[Series, ...]
    others: tuple[Header, ...]
    problems: tuple[str, ...]


def dicom_folder(path: Path) -> DicomFolder:
    """Sort the DICOM files directly in a folder."""
    found: dict[str, list[Header]] = defaultdict(list)
    others, problems = [], []
    for file in sorted(path / name for name in os.listdir(path) if not name.startswith(".")):
        try:
            check_name(file)
            header = _header(file)
        except NnActiveError as error:
            problems.append(str(error))
            continue
        if header and header.kind:
            others.append(header)
        elif header:
            found[header.uid].append(header)
    series = tuple(_series(uid, headers) for uid, headers in found.items())
    return DicomFolder(path, series, tuple(others), tuple(problems))


def _header(file: Path) -> Header | None:
    if file.is_file() and not file.stat().st_size and ("." not in file.name or file.name.lower().endswith(ENDINGS)):
        raise NnActiveError(f"{file}: an empty file among DICOM files. Copy it again from the archive.")
    return read_header(file) if is_dicom(file) else None


def _series(uid: str, headers: Sequence[Header]) -> Series:
    return Series(uid, headers[0].description, tuple(h.file for h in headers), sum(h.slices for h in headers))
