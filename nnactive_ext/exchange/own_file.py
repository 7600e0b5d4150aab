"""The lattice of the user's own file of an image, on which labels are written that the members predicted on another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.spaces import stored_space
from nnactive_ext.geometry.axes import Turn, align
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.dicom_writing import segmentation_written
from nnactive_ext.images.headers import PLAIN, REORIENTING
from nnactive_ext.images.writing import image_written
from nnactive_ext.intake.find import FoundCase, Source
from nnactive_ext.intake.reading import read
from nnactive_ext.labelling.labels import label_written


@dataclass(frozen=True)
class OwnFile:
    """The lattice of the user's own file: its ``space``; ``turn``, what was done to its array for the members; the ``series``
    of DICOM files that it is. Without a space, nnU-Net's ``reader_writer`` writes with the ``properties`` of the image."""

    space: Space | None
    turn: Turn | None = None
    series: tuple[Path, ...] = ()
    reader_writer: Any = None
    properties: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, experiment: Experiment, case: str, found: FoundCase | None = None) -> OwnFile:
        """Of a case of the pool; ``found``: its DICOM series, which is another image than the case's is an error."""
        reader = experiment.dataset.json.get("overwrite_image_reader_writer")
        if reader not in (PLAIN, REORIENTING):
            return cls(None, reader_writer=experiment.dataset.reader_writer, properties=experiment.dataset.image(case)[1])
        space, turn = stored_space(experiment, case), experiment.plan.turned.get(case)
        if reader == REORIENTING:
            turn = Turn.to_code(space)
        if found is None:
            return cls(space, turn)
        own = cls(space, turn, found.sources[0].series)
        own._check_series(experiment.dataset.image(case)[0][0], case, found.sources[0])
        return own

    def _own(self, array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(self.turn.back.turned(array) if self.turn else array)

    def _check_series(self, image: np.ndarray, case: str, source: Source) -> None:
        """A segmentation names the patient of its series: that must be the one whose image the members see."""
        import SimpleITK as sitk

        assert self.space is not None
        series = read(source)
        try:
            same = align(self.space, Space.of_image(series))
            why = "its slices lie elsewhere" if same.changes or any(same.start) else ""
        except ValueError as error:
            why = str(error)
        if not why and not np.array_equal(self._own(image), sitk.GetArrayViewFromImage(series).astype(np.float32)):
            why = "its grey values are others"
        if why:
            raise NnActiveError(f"{source.path}: is not the series of {case}: {why}. Check -dicom and -pattern.")

    @contextmanager
    def written(self, file: Path, array: np.ndarray, names: Mapping[str, int], by_hand: bool = False) -> Iterator[Path]:
        """Give the whole temporary file of labels that are laid out as the members see the image; it replaces ``file`` when the
        block succeeds. ``names`` (name -> value) and whether people drew all of it stand in DICOM segmentations."""
        if self.space is None:
            with label_written(file, array, self.reader_writer, self.properties) as temporary:
                yield temporary
            return
        own = self._own(array)
        if self.series:
            with segmentation_written(file, own, self.space, names, self.series, by_hand) as temporary:
                yield temporary
            return
        with image_written(file, self.space.image(own)) as temporary:
            yield temporary
