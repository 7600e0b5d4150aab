"""Writes labels as a DICOM segmentation (SEG) with highdicom, for the series that they are of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext import __version__
from nnactive_ext.errors import NnActiveError, brief
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.dicom_segmentation import read_segmentation
from nnactive_ext.images.writing import written

_TYPE_2 = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName"),
)
"""What the standard lets be empty, not be absent; some archives strip it."""


def check_writer() -> None:
    """NnActiveError unless highdicom is installed."""
    try:
        import highdicom  # noqa: F401
    except ImportError:
        raise NnActiveError(
            'DICOM segmentations are written with highdicom, which is not installed: pip install "nnactive-ext[dicom]".'
        ) from None


@contextmanager
def segmentation_written(
    file: Path, labels: np.ndarray, space: Space, names: Mapping[str, int], series: Sequence[Path], by_hand: bool = False
) -> Iterator[Path]:
    """Give a label map as a whole temporary DICOM segmentation (BINARY), which replaces ``file`` when the block succeeds.

    Args:
        file: where to, a ``.dcm``.
        labels: (z, y, x), 0 for background, in ``space``.
        space: that of the series.
        names: name -> value of the segments, from 1 without gaps; those that no voxel has are described, too.
        series: the files of the series that was segmented, whose patient, study and frame of reference it belongs to.
        by_hand: whether people drew all of it; else it is said to be semi-automatic.

    Raises:
        NnActiveError: highdicom is not installed or refuses the series, or the file cannot be written.
    """
    check_writer()
    import highdicom as hd
    import pydicom
    from highdicom.sr.coding import CodedConcept
    from pydicom.uid import generate_uid

    tissue = CodedConcept("85756007", "SCT", "Tissue")  # 3D Slicer's default: nobody said what a label is in SNOMED's terms
    kinds = hd.seg.SegmentAlgorithmTypeValues
    kind, algorithm = (kinds.MANUAL, None) if by_hand else (kinds.SEMIAUTOMATIC, _algorithm())
    described = [
        hd.seg.SegmentDescription(value, name, tissue, tissue, kind, algorithm)
        for name, value in sorted(names.items(), key=lambda one: one[1])
    ]
    try:
        sources = [pydicom.dcmread(one, stop_before_pixels=True) for one in series]
        for source in sources:
            for tag in _TYPE_2:
                if tag not in source:
                    setattr(source, tag, "")
        volume = hd.Volume(
            labels.astype(np.uint8 if labels.max(initial=0) < 256 else np.uint16),
            space.affine[:, [2, 1, 0, 3]],
            coordinate_system="PATIENT",
            frame_of_reference_uid=sources[0].FrameOfReferenceUID,
        )
        made = hd.seg.Segmentation(
            source_images=sources,
            pixel_array=volume,
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=described,
            series_instance_uid=generate_uid(),
            series_number=1 + int(sources[0].get("SeriesNumber") or 0),
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="nnactive_ext",
            manufacturer_model_name="nnactive_export_labels",
            software_versions=__version__,
            device_serial_number="0",
            omit_empty_frames=bool(labels.any()),
        )
    except Exception as error:  # highdicom raises whatever it finds wrong with a header
        raise NnActiveError(
            f"{series[0].parent}: highdicom cannot make a segmentation of this series "
            f"({type(error).__name__}: {brief(error)}). Leave out -dicom to write NIfTI."
        ) from None

    def is_whole(temporary: Path) -> bool:
        return int(read_segmentation(temporary)[0].sum()) == int(np.count_nonzero(labels))

    with written(file, lambda temporary: made.save_as(temporary), is_whole) as temporary:
        yield temporary


def _algorithm() -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    return hd.AlgorithmIdentificationSequence(
        name="nnU-Net", family=codes.DCM.ArtificialIntelligence, version=metadata.version("nnunetv2")
    )
