"""Files whose headers were changed at random are read or refused: never a traceback, never another place than nibabel or ITK
say."""

from __future__ import annotations

import gzip
import shutil
import struct
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from test_intake_dicom import write_series

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.label_images import read_image
from nnactive_ext.intake.find import Source, find_cases
from nnactive_ext.intake.reading import read

FEW = {"nifti": 100, "nrrd": 100, "metaimage": 100, "dicom": 30}
MANY = 1000
"""Mutations of each format, in the default tests and in the slow ones."""
SIZE = (4, 5, 6)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
UNITS = {"mm": 1.0, "um": 1e-3, "microns": 1e-3, "nm": 1e-6, "cm": 10.0, "m": 1e3}
INTEGERS = [0, 1, -1, 2, 3, 4, 5, 6, 7, 8, 16, 100, 255, 256, 511, 32767, -32768, 2**31 - 1, -(2**31), 2**62]
FLOATS = [0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 0.7071, 1e-3, -1e-3, 1e3, 1e-20, 1e20, 3e38, 1e-40, np.nan, np.inf, -np.inf, 352.0]


def voxels() -> np.ndarray:
    """(x, y, z)"""
    return np.random.default_rng(0).integers(0, 100, SIZE).astype(np.int16)


@pytest.fixture(scope="module", autouse=True)
def _quiet():
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    sitk.ProcessObject.SetGlobalWarningDisplay(shown)


@cache
def folder() -> Path:
    return Path(mkdtemp())


def affine_of(image: Any) -> np.ndarray:
    return Space.of_image(image).affine


def distance(one: np.ndarray, other: np.ndarray, size: tuple[int, ...]) -> float:
    """In the smallest voxel side, at the corner where they differ most."""
    corners = np.array([[x, y, z, 1.0] for x in (0, size[0] - 1) for y in (0, size[1] - 1) for z in (0, size[2] - 1)]).T
    apart = np.linalg.norm((one - other)[:3] @ corners, axis=0).max()
    return float(apart / np.linalg.norm(one[:3, :3], axis=0).min())


def check(file: Path, places: Callable[[Path], list[np.ndarray]]) -> bool:
    """Whether the file is read; each reading that succeeds lies where one of ``places`` is."""
    found = []
    for reading in (lambda: read(Source(file)), lambda: read_image(file)):
        try:
            result = reading()
        except NnActiveError:
            continue
        space = Space.of_image(result) if isinstance(result, sitk.Image) else result.space
        found.append(space)
    for space in found:
        size = space.shape[::-1]
        assert any(distance(space.affine, place, size) < 0.15 for place in places(file)), (space, places(file))
    return bool(found)


def by_itk(file: Path) -> list[np.ndarray]:
    try:
        return [affine_of(sitk.ReadImage(str(file)))]
    except RuntimeError:
        return []


def by_nibabel(file: Path) -> list[np.ndarray]:
    try:
        image: Any = nibabel.load(file)
        mm = {1: 1e3, 3: 1e-3}.get(int(image.header["xyzt_units"]) & 7, 1.0)
        found = [LPS @ np.diag([mm, mm, mm, 1.0]) @ image.affine]
        if not (image.header["qform_code"] > 0 or image.header["sform_code"] > 0):
            # No place: ITK puts the first voxel at 0, and we do so with NIfTI-2, too, which ITK does not read.
            found.append(np.diag([*(mm * np.array(image.header.get_zooms()[:3], float)), 1.0]))
        return found
    except Exception:  # of many kinds
        return []


FIELDS = {
    kind: [
        (name, offset, dtype.base, i)
        for name, (dtype, offset) in kind.template_dtype.fields.items()
        for i in range(int(np.prod(dtype.shape, dtype=int)))
    ]
    for kind in (Nifti1Header, Nifti2Header)
}


@cache
def nifti_bytes(kind: Any, codes: tuple[int, int], order: str) -> bytes:
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.int16)
    angle = np.radians(20)
    place = np.eye(4)
    place[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    place[:3, :3] *= (0.8, 0.9, 2.0)
    place[:3, 3] = (-12.0, 20.0, -30.0)
    image = kind(voxels(), place, header)
    image.set_qform(place, codes[0])
    image.set_sform(place, codes[1])
    image.header.set_xyzt_units("mm")
    return image.to_bytes()


@st.composite
def niftis(draw: Any) -> tuple[bytes, bool]:
    kind = draw(st.sampled_from([nibabel.Nifti1Image] * 3 + [nibabel.Nifti2Image]))
    codes = draw(st.sampled_from([(1, 1), (1, 0), (0, 1), (1, 2), (0, 0)]))
    order = draw(st.sampled_from(["<", ">"]))
    raw = bytearray(nifti_bytes(kind, codes, order))
    for _ in range(draw(st.integers(1, 3))):
        _, offset, dtype, i = draw(st.sampled_from(FIELDS[kind.header_class]))
        at, letter = offset + i * dtype.itemsize, order + dtype.char
        if dtype.kind == "f":
            value = draw(st.sampled_from(FLOATS))
            raw[at : at + dtype.itemsize] = np.array(value, letter).tobytes()
        elif dtype.kind in "iu":
            value = draw(st.sampled_from(INTEGERS)) & (2 ** (8 * dtype.itemsize) - 1)
            raw[at : at + dtype.itemsize] = np.array(value, order + f"u{dtype.itemsize}").tobytes()
        else:
            raw[at : at + dtype.itemsize] = draw(st.binary(min_size=dtype.itemsize, max_size=dtype.itemsize))
    if draw(st.integers(0, 19)) == 0:
        del raw[draw(st.integers(0, len(raw))) :]
    return bytes(raw), draw(st.booleans())


def nifti(mutated: tuple[bytes, bool]) -> None:
    raw, packed = mutated
    file = folder() / ("n.nii.gz" if packed else "m.nii")
    file.write_bytes(gzip.compress(raw, 1) if packed else raw)
    check(file, lambda file: by_itk(file) + by_nibabel(file))


NRRD_LINES = {
    "type": ["int16", "uint8", "double", "block", "int", "unsigned long long", "x"],
    "dimension": ["3", "2", "4", "0", "-1", "17", "x"],
    "space": ["left-posterior-superior", "RAS", "scanner-xyz", "3D-left-handed", "left-posterior-superior-time", "moon"],
    "space dimension": ["3", "2", "4"],
    "sizes": ["4 5 6", "6 5 4", "4 5 0", "4 5 -6", "4 5", "2000000 2000000 2000000", "4 5 6 1", "1 4 5 6", "4.0 5 6", ""],
    "space directions": [
        "(0.8,0,0) (0,0.9,0) (0,0,2)",
        "(0.8,0,0) (0,0.9,0) (0,0,0)",
        "(0.8,0,0) (0,0.9,0) (0,0,nan)",
        "(0,0,0.8) (0.9,0,0) (0,2,0)",
        "(0.8,0.1,0) (0,0.9,0) (0,0,2)",
        "(0.8,0.0004,0) (0,0.9,0) (0,0,2)",
        "none (0.8,0,0) (0,0.9,0)",
        "(1e-30,0,0) (0,1e30,0) (0,0,2)",
        "(0.8,0) (0,0.9)",
        "0.8",
    ],
    "space origin": ["(1,2,3)", "(nan,0,0)", "(1e300,0,0)", "(1,2)", "none", ""],
    "space units": [
        '"um" "um" "um"',
        '"mm" "mm" "mm"',
        '"microns" "microns" "microns"',
        '"um" "mm" "um"',
        '"x"',
        "um um um",
        '"um"',
    ],
    "units": ['"um" "um" "um"', '"nm" "nm" "nm"', '"mm" "" ""', "x"],
    "spacings": ["0.8 0.9 2", "0 0 0", "nan nan nan", "-1 1 1", "0.8 0.9", "1e-6 1e-6 1e-6"],
    "kinds": ["domain domain domain", "list domain domain", "vector domain domain domain", "RGB-color domain domain", "x"],
    "endian": ["little", "big", "x"],
    "encoding": ["raw", "gzip", "ascii", "hex", "bzip2", "x"],
    "data file": ["x.raw", "LIST", "n.nrrd"],
    "line skip": ["1", "-1", "1000000"],
    "byte skip": ["1", "-1", "1000000"],
    "measurement frame": ["(1,0,0) (0,1,0) (0,0,1)", "(0,0,0) (0,0,0) (0,0,0)", "x"],
    "centerings": ["cell cell cell", "node node node", "???"],
    "thicknesses": ["1 1 1", "nan nan 3"],
}
NRRD = {
    "type": "int16",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "4 5 6",
    "space directions": "(0.8,0,0) (0,0.9,0) (0,0,2)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(1,2,3)",
}
PLAIN_NRRD = {key: value for key, value in NRRD.items() if not key.startswith("space")} | {"spacings": "0.8 0.9 2"}


@st.composite
def mutated_lines(draw: Any, base: dict[str, str], values: dict[str, list[str]], separator: str) -> list[str]:
    """The lines of a header of which one to three were replaced, left out or repeated."""
    fields = [*base.items()]
    for _ in range(draw(st.integers(1, 3))):
        what = draw(st.integers(0, 9))
        if what == 0 and fields:
            fields.pop(draw(st.integers(0, len(fields) - 1)))
        elif what == 1 and fields:
            fields.insert(0, fields[draw(st.integers(0, len(fields) - 1))])
        else:
            key = draw(st.sampled_from(sorted(values)))
            value = draw(st.sampled_from(values[key]))
            at = next((i for i, (name, _) in enumerate(fields) if name == key), None)
            if at is None:
                fields.insert(max(0, len(fields) - 1), (key, value))
            else:
                fields[at] = (key, value)
    return [f"{key}{separator}{value}" for key, value in fields]


@st.composite
def nrrds(draw: Any) -> bytes:
    lines = draw(mutated_lines(draw(st.sampled_from([NRRD, PLAIN_NRRD])), NRRD_LINES, ": "))
    data = voxels().T.tobytes()
    data = gzip.compress(data, 1) if "encoding: gzip" in lines and draw(st.booleans()) else data
    return "\n".join(["NRRD0005", *lines, "", ""]).encode() + data


def in_units(units: str, of_space: bool) -> Callable[[Path], list[np.ndarray]]:
    """ITK's place in the units that a header gives, which ITK passes over."""

    def places(file: Path) -> list[np.ndarray]:
        words = [word.strip('"') for word in units.split()]
        factors = [UNITS[word] for word in words] if words and all(word in UNITS for word in words) else [1.0]
        factors = factors if len(factors) == 3 else factors[:1] * 3
        found = []
        for place in by_itk(file):
            changed = place.copy()
            changed[:3, 3] *= factors
            changed[:3, :3] *= np.array(factors)[:, None] if of_space else factors
            found.append(changed)
        return found

    return places


def nrrd(raw: bytes) -> None:
    file = folder() / "n.nrrd"
    file.write_bytes(raw)
    lines = raw.split(b"\n\n")[0].decode().splitlines()
    fields = dict(reversed([line.partition(": ")[::2] for line in lines]))
    of_space = "space units" in fields
    check(file, in_units(fields["space units"] if of_space else fields.get("units", ""), of_space))


MHA_LINES = {
    "ObjectType": ["Image", "Mesh", "x"],
    "NDims": ["3", "2", "4", "0", "-1", "100000", "x"],
    "BinaryData": ["True", "False", "x"],
    "BinaryDataByteOrderMSB": ["True", "False"],
    "CompressedData": ["True", "False", "x"],
    "CompressedDataSize": ["10", "-1", "100000000000"],
    "TransformMatrix": [
        "1 0 0 0 1 0 0 0 1",
        "0 0 0 0 0 0 0 0 0",
        "1 0.3 0 0 1 0 0 0 1",
        "nan 0 0 0 1 0 0 0 1",
        "1 0 0",
        "0 1 0 -1 0 0 0 0 1",
        "x",
    ],
    "Offset": ["1 2 3", "nan 0 0", "1e300 0 0", "1 2", "x"],
    "Origin": ["5 6 7"],
    "CenterOfRotation": ["1 2 3"],
    "AnatomicalOrientation": ["RAI", "LPS", "???"],
    "ElementSpacing": ["0.8 0.9 2", "0 0 0", "nan 1 1", "-1 1 1", "1 1", "1e-6 1e-6 1e-6", "x"],
    "ElementSize": ["0.8 0.9 2", "7 7 7"],
    "DistanceUnits": ["um", "mm", "cm", "?", "parsec", ""],
    "DimSize": ["4 5 6", "6 5 4", "4 5 0", "4 5 -6", "4 5", "2000000 2000000 2000000", "100000 100000 2", "x"],
    "ElementNumberOfChannels": ["1", "3", "0", "-1"],
    "ElementType": ["MET_SHORT", "MET_UCHAR", "MET_DOUBLE", "MET_FLOAT_ARRAY", "MET_STRING", "x"],
    "HeaderSize": ["0", "-1", "100", "1000000000"],
    "ElementDataFile": ["LOCAL", "x.raw", "LIST", "", "n.mha", "%d.raw 1 3 1"],
}
MHA = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "TransformMatrix": "0.8 0.6 0 -0.6 0.8 0 0 0 1",
    "Offset": "1 2 3",
    "ElementSpacing": "0.8 0.9 2",
    "DimSize": "4 5 6",
    "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}


@st.composite
def metaimages(draw: Any) -> bytes:
    return "\n".join([*draw(mutated_lines(MHA, MHA_LINES, " = ")), ""]).encode() + voxels().T.tobytes()


def metaimage(raw: bytes) -> None:
    file = folder() / "n.mha"
    file.write_bytes(raw)
    lines = raw.split(b"ElementDataFile")[0].decode("latin-1").splitlines()
    units = next((line.partition(" = ")[2] for line in lines if line.startswith("DistanceUnits")), "")
    check(file, in_units(units, True))


DICOM = {
    "Rows": [0, 1, 4, 65535],
    "Columns": [0, 1, 65535],
    "NumberOfFrames": ["0", "1", "2", "x"],
    "BitsAllocated": [1, 8, 16, 32, 12],
    "BitsStored": [0, 8, 12, 16, 32],
    "HighBit": [0, 7, 15, 31],
    "PixelRepresentation": [0, 1, 2],
    "SamplesPerPixel": [0, 1, 3],
    "PhotometricInterpretation": ["MONOCHROME1", "RGB", "PALETTE COLOR", "", "x"],
    "PixelSpacing": [
        ["0.8", "1.2"],
        ["0", "0"],
        ["nan", "1"],
        ["1"],
        ["-1", "1"],
        ["1e-6", "1e-6"],
        [],
        ["x", "y"],
        ["0.8", "0.8", "0.8"],
    ],
    "ImagePositionPatient": [["0", "0", "0"], ["nan", "0", "0"], ["1", "2"], [], ["1e30", "0", "0"], ["x", "y", "z"]],
    "ImageOrientationPatient": [
        ["1", "0", "0", "0", "1", "0"],
        ["0"] * 6,
        ["1", "0", "0", "1", "0", "0"],
        ["nan"] * 6,
        ["1", "0", "0"],
        [],
        ["x"] * 6,
    ],
    "RescaleSlope": ["0", "1", "nan", "inf", "", "x", "-1", "1e300"],
    "RescaleIntercept": ["0", "nan", "", "x", "1e300"],
    "InstanceNumber": ["0", "-1", "x", "", "3"],
    "SliceThickness": ["0", "nan", "x", ""],
    "SeriesInstanceUID": ["1.2.3", "", "x"],
    "FrameOfReferenceUID": ["1.2.3", ""],
    "Modality": ["SR", "RTSTRUCT", "", "MR"],
    "SOPClassUID": ["1.2.840.10008.5.1.4.1.1.481.3", "1.2.3", ""],
    "ImageType": [["DERIVED", "SECONDARY"], ["ORIGINAL", "PRIMARY", "LOCALIZER"], []],
    "SpecificCharacterSet": ["ISO_IR 192", "x", ""],
    "PixelData": [b"", b"\0\0", b"\0" * 1000],
}


@cache
def series() -> Path:
    write_series(folder() / "series", np.random.default_rng(0).integers(-1000, 2000, (4, 5, 6)))
    return folder() / "series"


@st.composite
def dicoms(draw: Any) -> list[tuple[int, str, Any]]:
    """Of which slices (-1: of all) which elements are set to which values; None leaves them out."""
    changes = []
    for _ in range(draw(st.integers(1, 2))):
        keyword = draw(st.sampled_from(sorted(DICOM)))
        changes.append((draw(st.integers(-1, 3)), keyword, draw(st.sampled_from([*DICOM[keyword], None]))))
    return changes


def dicom(changes: list[tuple[int, str, Any]]) -> None:
    import pydicom
    from pydicom.config import IGNORE
    from pydicom.config import settings as config

    target = folder() / "mutated" / "p1"
    shutil.rmtree(target.parent, ignore_errors=True)
    target.mkdir(parents=True)
    old = config.reading_validation_mode, config.writing_validation_mode
    config.reading_validation_mode = config.writing_validation_mode = IGNORE
    try:
        for number, file in enumerate(sorted(series().iterdir())):
            data = pydicom.dcmread(file)
            for which, keyword, value in changes:
                if which in (-1, number):
                    if value is None:
                        data.pop(keyword, None)
                    else:
                        _set(data, keyword, value)
            data.save_as(target / file.name)
    finally:
        config.reading_validation_mode, config.writing_validation_mode = old
    try:
        source = find_cases(target.parent)["p1"].sources[0]
        image = read(source)
    except NnActiveError:
        return
    first = pydicom.dcmread(source.files[0])
    if hasattr(first, "ImagePositionPatient"):
        ends = [pydicom.dcmread(source.files[i]).ImagePositionPatient for i in (0, -1)]
        near = [np.allclose(image.GetOrigin(), [float(v) for v in end], atol=0.01) for end in ends]
        assert any(near), (image.GetOrigin(), ends)


def _set(data: Any, keyword: str, value: Any) -> None:
    """An element whose value may be none that the standard allows."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    tag, kind = Tag(tag_for_keyword(keyword)), dictionary_VR(keyword).split(" ")[-1]  # type: ignore[arg-type]
    raw = value if isinstance(value, bytes) else b""
    if isinstance(value, int):
        kind, raw = "US", struct.pack("<H", value)
    elif isinstance(value, (str, list)):
        raw = ("\\".join(value) if isinstance(value, list) else value).encode()
        raw += b" " * (len(raw) % 2)
    data._dict[tag] = RawDataElement(tag, kind, len(raw), raw, 0, False, True, True)


FORMATS: dict[str, tuple[Any, Callable[[Any], None]]] = {
    "nifti": (niftis(), nifti),
    "nrrd": (nrrds(), nrrd),
    "metaimage": (metaimages(), metaimage),
    "dicom": (dicoms(), dicom),
}


def try_many(name: str, number: int) -> None:
    strategy, test = FORMATS[name]
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run = settings(
        max_examples=number,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=checks,
    )
    run(given(strategy)(test))()


@pytest.mark.parametrize("name", FORMATS)
def test_mutations(name):
    try_many(name, FEW[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_a_thousand_mutations(name):
    try_many(name, MANY)


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_not_changed_is_read(name):
    """The checks above see files that are read, not only refusals."""
    if name == "dicom":
        dicom([])
        assert read(find_cases(folder() / "mutated")["p1"].sources[0]).GetSize() == (6, 5, 4)
        return
    raw = {
        "nifti": nifti_bytes(nibabel.Nifti1Image, (1, 1), "<"),
        "nrrd": "\n".join(["NRRD0005", *map(": ".join, NRRD.items()), "", ""]).encode() + voxels().T.tobytes(),
        "metaimage": "\n".join([*map(" = ".join, MHA.items()), ""]).encode() + voxels().T.tobytes(),
    }[name]
    file = folder() / {"nifti": "u.nii", "nrrd": "u.nrrd", "metaimage": "u.mha"}[name]
    file.write_bytes(raw)
    assert check(file, by_itk)
