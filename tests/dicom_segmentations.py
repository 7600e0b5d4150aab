"""Writes DICOM segmentations as programs do that segment a series of CT slices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import SimpleITK as sitk


def as_dicom(file: Path, labels: np.ndarray, place: sitk.Image, names: Mapping[str, int]) -> None:
    """``labels`` (z, y, x) in the space of ``place``, a segment for each of ``names`` (name -> value), no empty frames."""
    import highdicom as hd
    from highdicom.sr.coding import CodedConcept
    from pydicom.uid import generate_uid

    tissue = CodedConcept("85756007", "SCT", "Tissue")
    segments = [
        hd.seg.SegmentDescription(number, name, tissue, tissue, hd.seg.SegmentAlgorithmTypeValues.MANUAL)
        for number, name in enumerate(names, start=1)
    ]
    masks = np.stack([labels == value for value in names.values()], axis=-1).astype(np.uint8)
    hd.seg.Segmentation(
        source_images=_slices(place),
        pixel_array=masks,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="nobody",
        manufacturer_model_name="none",
        software_versions="1",
        device_serial_number="1",
        omit_empty_frames=True,
    ).save_as(file)


def _slices(place: sitk.Image) -> list:
    """The headers of a CT series with the geometry of ``place``."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    x, y, z = place.GetSize()
    direction = np.reshape(place.GetDirection(), (3, 3))
    shared = {"study": generate_uid(), "series": generate_uid(), "frame": generate_uid()}
    found = []
    for number in range(z):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, generate_uid()
        one.StudyInstanceUID, one.SeriesInstanceUID = shared["study"], shared["series"]
        one.FrameOfReferenceUID, one.Modality, one.InstanceNumber = shared["frame"], "CT", number + 1
        one.PatientID, one.PatientName, one.PatientBirthDate, one.PatientSex = "1", "1", "", ""
        one.StudyDate = one.StudyTime = one.AccessionNumber = one.StudyID = one.ReferringPhysicianName = ""
        one.Rows, one.Columns = y, x
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
        one.PixelData = np.zeros((y, x), np.int16).tobytes()
        one.PixelSpacing = [f"{place.GetSpacing()[1]:.6g}", f"{place.GetSpacing()[0]:.6g}"]
        one.SliceThickness = f"{place.GetSpacing()[2]:.6g}"
        one.ImagePositionPatient = [f"{v:.10g}" for v in place.TransformIndexToPhysicalPoint((0, 0, number))]
        one.ImageOrientationPatient = [f"{v:.10g}" for v in (*direction[:, 0], *direction[:, 1])]
        found.append(one)
    return found
