"""Which image files an experiment copies as NIfTI, because nnU-Net does not read them, or reads other than they state."""

from __future__ import annotations

from pathlib import Path

from nnactive_ext.images.stated import why_copied

_ENDINGS: tuple[str, ...] = (".tif", ".tiff", ".hdr", ".nhdr")
"""Formats that :func:`nnactive_ext.intake.reading.read` reads and nnU-Net's readers of NIfTI, NRRD and MetaImage do not."""


def must_be_copied(file: Path) -> bool:
    """Whether nnU-Net cannot read an image file, or would take it to lie elsewhere or to hold other values than it states."""
    return file.name.lower().endswith(_ENDINGS) or bool(why_copied(file))
