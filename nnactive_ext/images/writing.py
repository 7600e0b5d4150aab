"""Images written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import replacing


def write_image(file: Path, image: Any) -> None:
    """Write a SimpleITK image, compressed; an NnActiveError and no new ``file`` where it is not written whole."""
    with image_written(file, image):
        pass


@contextmanager
def image_written(file: Path, image: Any) -> Iterator[Path]:
    """As :func:`write_image`; gives the whole temporary file, which replaces ``file`` when the block succeeds."""
    import SimpleITK as sitk

    def is_whole(temporary: Path) -> bool:
        back = sitk.ReadImage(str(temporary))  # a name of its own: a view does not keep its image alive
        return np.array_equal(sitk.GetArrayViewFromImage(back), sitk.GetArrayViewFromImage(image))

    with written(file, lambda temporary: sitk.WriteImage(image, str(temporary), useCompression=True), is_whole) as temporary:
        yield temporary


@contextmanager
def written(file: Path, write: Callable[[Path], Any], is_whole: Callable[[Path], bool]) -> Iterator[Path]:
    """``write`` a temporary file, which replaces ``file`` when the block succeeds; an NnActiveError where it is not whole.

    ``is_whole`` reads it back: on a full disk ITK writes half a file and says nothing.
    """
    with replacing(file) as temporary:
        try:
            write(temporary)
            whole = is_whole(temporary)
        except RuntimeError:  # ITK's; what other writers raise when a device is full is an OSError
            whole = False
        if not whole:
            raise NnActiveError(f"{file}: the file could not be written. Check the free disk space and try again.")
        yield temporary
