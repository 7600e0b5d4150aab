"""The words of the intake: a source is one channel's file or series, a case is a name with its sources."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """One channel of one case: ``path`` is the file, or the folder of a DICOM series whose files, in slice order, are
    ``series`` (empty for an image file)."""

    path: Path
    series: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        return self.series or (self.path,)


@dataclass(frozen=True)
class FoundCase:
    """``name`` can be used as file name and with nnU-Net (:func:`nnactive_ext.images.names.case_name`); ``sources`` has one
    for each channel, in the order of the channels."""

    name: str
    sources: tuple[Source, ...]
    label_map: Path | None = None
