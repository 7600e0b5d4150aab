"""Enhanced (multi-frame) DICOM files: each frame lies where its header says, with its own slope, or the file is refused."""

from __future__ import annotations

from pathlib import Path

import dicom_made as made
import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.uid import ExplicitVRBigEndian, JPEG2000Lossless, RLELossless
from test_intake_dicom import OBLIQUE, refused

from nnactive_ext.geometry.space import Space
from nnactive_ext.images.dicom import read_series

VOXELS = np.random.default_rng(1).integers(-1000, 2000, (8, 5, 6))
AXES = {"axial": np.eye(3), "oblique": OBLIQUE, "sagittal": np.eye(3)[:, [1, 2, 0]], "coronal": np.eye(3)[:, [0, 2, 1]]}
ORDERS = {
    "forwards": list(range(8)),
    "backwards": list(range(8))[::-1],
    "from the middle": [4, 3, 5, 2, 6, 1, 7, 0],
    "in three runs": [0, 3, 6, 1, 4, 7, 2, 5],
}


def space(direction: np.ndarray, shape=VOXELS.shape) -> Space:
    """The first slice along the normal comes first, whatever the handedness of ``direction``."""
    axes = np.array(direction)
    axes[:, 2] = np.cross(axes[:, 0], axes[:, 1])
    return Space(tuple(shape), made.SPACING, (-50.0, 30.25, 7.0), tuple(axes.ravel().tolist()))


def places(direction=None, at=range(8)) -> list[np.ndarray]:
    lies = space(np.eye(3) if direction is None else direction)
    return [np.asarray(lies.to_world((k, 0, 0))) for k in at]


def stored(order=range(8), voxels=VOXELS) -> np.ndarray:
    return (voxels[list(order)] + 1024).astype("<i2")


def read(file: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(read_series([file]))


@pytest.mark.parametrize("kind", ["CT", "MR", "PT", "legacy CT", "legacy MR"])
@pytest.mark.parametrize("order", ORDERS)
def test_frames_in_any_order(tmp_path, kind, order):
    there = [places()[k] for k in ORDERS[order]]
    image = read_series([made.save(made.enhanced(stored(ORDERS[order]), there, kind=kind), tmp_path / "a")])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), VOXELS)
    np.testing.assert_allclose(Space.of_image(image).affine, space(np.eye(3)).affine, atol=1e-5)


@pytest.mark.parametrize("axes", AXES)
def test_planes_of_any_orientation(tmp_path, axes):
    order = ORDERS["from the middle"]
    there = [places(AXES[axes])[k] for k in order]
    image = read_series([made.save(made.enhanced(stored(order), there, AXES[axes]), tmp_path / "a.dcm")])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), VOXELS)
    np.testing.assert_allclose(Space.of_image(image).affine, space(AXES[axes]).affine, atol=1e-5)


def test_orientation_and_spacing_of_each_frame(tmp_path):
    """All macros may stand with the frames instead of once for all."""
    axes = AXES["oblique"]
    own = {
        "PixelMeasuresSequence": {"PixelSpacing": [1.2, 0.8]},
        "PlaneOrientationSequence": {"ImageOrientationPatient": [*axes[:, 0].tolist(), *axes[:, 1].tolist()]},
    }
    shared: dict[str, dict] = {key: {} for key in own}
    file = made.enhanced(stored(), places(axes), rescale=[(1, -1024)] * 8, per_frame=[own] * 8, shared=shared)
    image = read_series([made.save(file, tmp_path / "a.dcm")])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), VOXELS)
    np.testing.assert_allclose(Space.of_image(image).affine, space(axes).affine, atol=1e-5)
    own["PixelMeasuresSequence"] = {"PixelSpacing": [1.3, 0.8]}
    file.PerFrameFunctionalGroupsSequence[5].PixelMeasuresSequence[0].PixelSpacing = [1.3, 0.8]
    refused(lambda: read(made.save(file, tmp_path / "b.dcm")), "b.dcm", "different spacing", "frame 6")


@pytest.mark.parametrize("slopes", [[1.0, 0.5, 2.0, 0.25], [3.0, 1.0, 2.0, 40.0]], ids=["fractions", "whole"])
def test_each_frame_has_a_slope_of_its_own(tmp_path, slopes):
    rescale = [(slopes[k % 4], float(k)) for k in range(8)]
    order = ORDERS["in three runs"]
    file = made.enhanced(stored(order), [places()[k] for k in order], rescale=[rescale[k] for k in order], kind="PT")
    expected = [(VOXELS[k] + 1024) * rescale[k][0] + rescale[k][1] for k in range(8)]
    np.testing.assert_allclose(read(made.save(file, tmp_path / "a.dcm")), expected, rtol=1e-6)


def test_without_a_slope_stored_numbers_are_grey_values(tmp_path):
    file = made.save(made.enhanced(stored(), places(), rescale=None, kind="MR"), tmp_path / "a.dcm")
    np.testing.assert_array_equal(read(file), VOXELS + 1024)


def test_real_world_values_where_nothing_else_is_stated(tmp_path):
    own = {"RealWorldValueMappingSequence": {"RealWorldValueSlope": 0.5, "RealWorldValueIntercept": 3.0}}
    file = made.enhanced(stored(), places(), rescale=None, kind="MR", shared=own)
    np.testing.assert_array_equal(read(made.save(file, tmp_path / "a.dcm")), (VOXELS + 1024) * 0.5 + 3)


@pytest.mark.parametrize(
    "kept", [[0, 1, 2, 3, 6, 7], [0, 2, 3, 4, 5, 6, 7], [7, 5, 4, 3, 2, 1, 0]], ids=["two", "the second", "backwards"]
)
def test_missing_frames_are_named(tmp_path, kept):
    file = made.save(made.enhanced(stored(kept), [places()[k] for k in kept]), tmp_path / "a.dcm")
    refused(lambda: read(file), file, "not evenly spaced", "missing", "frame")


@pytest.mark.parametrize(
    ("macro", "field", "told"),
    [
        ("FrameContentSequence", "TemporalPositionIndex", [1, 2]),
        ("MREchoSequence", "EffectiveEchoTime", [10.0, 90.0]),
        ("MRDiffusionSequence", "DiffusionBValue", [0.0, 1000.0]),
        ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime", [0.0, 350.0]),
    ],
)
def test_several_volumes_in_one_file_are_told_apart(tmp_path, macro, field, told):
    both = np.concatenate([stored(), stored() + 1])
    groups = [{macro: {field: value}} for value in told for _ in range(8)]
    file = made.save(made.enhanced(both, [*places(), *places()], per_frame=groups, kind="MR"), tmp_path / "a.dcm")
    refused(lambda: read(file), file, "same place", field, told[0], told[1], "dcm2niix")


def test_a_tilted_gantry(tmp_path):
    there = [place + np.array([0, 0.6 * k, 0]) for k, place in enumerate(places())]
    refused(lambda: read(made.save(made.enhanced(stored(), there), tmp_path / "a.dcm")), "a.dcm", "tilted", "dcm2niix")


def test_frames_of_several_directions(tmp_path):
    turned = {"PlaneOrientationSequence": {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}}
    groups = [{} if k else turned for k in range(8)]
    file = made.save(made.enhanced(stored(), places(), per_frame=groups), tmp_path / "a.dcm")
    refused(lambda: read(file), file, "direction", "frame")


@pytest.mark.parametrize("kind", ["US", "XA", "SC"])
def test_frames_without_places(tmp_path, kind):
    file = made.save(made.with_pixels(made.blank(kind), stored()), tmp_path / "a.dcm")
    refused(lambda: read(file), file, "8 frames without positions", "dcm2niix")


def test_what_is_not_stated_is_not_guessed(tmp_path):
    for name, macro, word in (
        ("a", "PixelMeasuresSequence", "PixelSpacing"),
        ("b", "PlaneOrientationSequence", "ImageOrientationPatient"),
    ):
        file = made.save(made.enhanced(stored(), places(), shared={macro: {}}), tmp_path / name)
        refused(lambda file=file: read(file), file, word)
    lost = made.enhanced(stored(), places())
    del lost.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence
    refused(lambda: read(made.save(lost, tmp_path / "c")), "frame 4", "ImagePositionPatient")
    lost = made.enhanced(stored(), places())
    del lost.PerFrameFunctionalGroupsSequence[-1]
    refused(lambda: read(made.save(lost, tmp_path / "d")), "8 frames", "7 descriptions")


def test_colours_slides_and_tables(tmp_path):
    colour = made.enhanced(stored(), places())
    colour.SamplesPerPixel, colour.PhotometricInterpretation = 3, "RGB"
    refused(lambda: read(made.save(colour, tmp_path / "a")), tmp_path / "a", "colours")
    slide = made.with_pixels(made.blank("SM"), stored())
    refused(lambda: read(made.save(slide, tmp_path / "b")), tmp_path / "b", "whole-slide")
    table = made.enhanced(stored(), places())
    table.ModalityLUTSequence = [made.item(LUTDescriptor=[2, 0, 16])]
    refused(lambda: read(made.save(table, tmp_path / "c")), tmp_path / "c", "table")


@pytest.mark.parametrize("split", ["halves", "interleaved", "single frames"])
def test_a_series_in_several_enhanced_files(tmp_path, split):
    parts = {
        "halves": [[0, 1, 2, 3], [4, 5, 6, 7]],
        "interleaved": [[0, 2, 4, 6], [1, 3, 5, 7]],
        "single frames": [[k] for k in (3, 1, 0, 2, 7, 4, 5, 6)],
    }[split]
    files = []
    for i, part in enumerate(parts):
        there = [places()[k] for k in part]
        rescale = [(1.0, -1024.0) if i % 2 else (0.5, -100.0)] * len(part)
        files.append(made.save(made.enhanced(stored(part), there, rescale=rescale, uid="1.2.3"), tmp_path / str(i)))
    expected = np.empty(VOXELS.shape)
    for i, part in enumerate(parts):
        expected[part] = VOXELS[part] if i % 2 else (VOXELS[part] + 1024) * 0.5 - 100
    np.testing.assert_allclose(sitk.GetArrayFromImage(read_series(files)), expected)


def test_time_points_in_files_of_their_own(tmp_path):
    files = [made.save(made.enhanced(stored() + i, places(), uid="1.2.3"), tmp_path / f"t{i}") for i in range(3)]
    refused(lambda: read_series(files), tmp_path, "same place", "t0", "t1")


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, ExplicitVRBigEndian, "deflated"])
def test_compressed_frames(tmp_path, syntax):
    order = ORDERS["from the middle"]
    file = made.enhanced(stored(order), [places()[k] for k in order], rescale=[(1.0 + k, -k) for k in order])
    if syntax == RLELossless:
        made.save(file, tmp_path / "plain")
        file.compress(RLELossless)
    elif syntax == JPEG2000Lossless:
        made.jpeg2000(file)
    elif syntax == ExplicitVRBigEndian:
        file.PixelData = stored(order).astype(">i2").tobytes()
        file["PixelData"].VR = "OW"
        made.syntax(file, ExplicitVRBigEndian)
    else:
        made.syntax(file, "1.2.840.10008.1.2.1.99")
    expected = [(VOXELS[k] + 1024) * (1.0 + k) - k for k in range(8)]
    np.testing.assert_array_equal(read(made.save(file, tmp_path / "a.dcm")), expected)


@pytest.mark.parametrize("signed", [True, False])
def test_twelve_bits_with_an_overlay_above_them(tmp_path, signed):
    voxels = VOXELS // 2 if signed else VOXELS + 1000
    raw = (voxels & 0xFFF).astype("<u2") | (np.arange(6) % 2 << 13).astype("<u2")
    file = made.enhanced(raw, places(), rescale=None)
    file.BitsStored, file.HighBit, file.PixelRepresentation = 12, 11, int(signed)
    np.testing.assert_array_equal(read(made.save(file, tmp_path / "a.dcm")), voxels)


def test_eight_bits_and_floats(tmp_path):
    small = (VOXELS % 256).astype(np.uint8)
    np.testing.assert_array_equal(
        read(made.save(made.enhanced(small, places(), rescale=(2, -5)), tmp_path / "a")), small * 2.0 - 5
    )
    for kind, name in (("<f4", "FloatPixelData"), ("<f8", "DoubleFloatPixelData")):
        whole = made.enhanced(stored(), places(), rescale=(0.5, 1))
        del whole.PixelData
        setattr(whole, name, (VOXELS / 7).astype(kind).tobytes())
        np.testing.assert_allclose(read(made.save(whole, tmp_path / name)), VOXELS / 14 + 1, rtol=1e-6)


def test_one_frame_only_and_pixels_cut_short(tmp_path):
    refused(lambda: read(made.save(made.enhanced(stored([0]), places()[:1]), tmp_path / "a")), tmp_path / "a", "single")
    file = made.enhanced(stored(), places())
    file.PixelData = file.PixelData[:-40]
    refused(lambda: read(made.save(file, tmp_path / "b")), tmp_path / "b", "truncated")


@pytest.mark.parametrize(
    ("name", "value"), [("BitsStored", 17), ("BitsStored", 60000), ("HighBit", 16), ("BitsAllocated", 2000)]
)
def test_bits_that_cannot_be(tmp_path, name, value):
    file = made.enhanced(stored(), places())
    setattr(file, name, value)
    refused(lambda: read(made.save(file, tmp_path / "a.dcm")), tmp_path / "a.dcm", "bits")
