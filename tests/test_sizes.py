"""What is too large, or of another image, is refused by its header: no voxel is unpacked, and little memory is taken."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_segmentations import as_dicom

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.space import Space
from nnactive_ext.images import label_images, metaimage, nifti
from nnactive_ext.images.checks import read_image_file
from nnactive_ext.images.label_images import read_image
from nnactive_ext.images.sizes import Grid, stated_size
from nnactive_ext.memory import memory_limit

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
SPACE = Space((20, 24, 28), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), IDENTITY)
HUGE = (2048, 2048, 1500)
MEMBER = gzip.compress(bytes(1 << 24))
"""16 MB of zeros; several of them behind each other are one .gz file."""


def nifti_head(shape=HUGE) -> bytes:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(shape)
    header["magic"], header["vox_offset"], header["sform_code"] = b"n+1", 352, 1
    header["srow_x"], header["srow_y"], header["srow_z"] = [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 1, 0]
    header.set_zooms((1,) * len(shape))
    return header.binaryblock + bytes(4)


def nrrd_head(shape=HUGE, encoding: str = "gzip") -> bytes:
    sizes = " ".join(map(str, shape))
    return (
        f"NRRD0004\ntype: unsigned char\ndimension: 3\nspace: left-posterior-superior\nsizes: {sizes}\n"
        "space directions: (1,0,0) (0,1,0) (0,0,1)\nkinds: domain domain domain\nendian: little\n"
        f"encoding: {encoding}\nspace origin: (0,0,0)\n\n"
    ).encode()


def mha_head(shape=HUGE) -> bytes:
    return (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = True\n"
        "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 1 1 1\n"
        f"DimSize = {' '.join(map(str, shape))}\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    ).encode()


def bomb(folder: Path, ending: str) -> Path:
    """6 GB of zeros with a true header, in about 6 MB; of .mha and .nrrd the beginning."""
    file = folder / f"answer{ending}"
    with open(file, "wb") as stream:
        if ending == ".nii.gz":
            stream.write(gzip.compress(nifti_head()))
            for _ in range(376):
                stream.write(MEMBER)
        else:
            stream.write(mha_head() if ending == ".mha" else nrrd_head())
            pack = zlib.compressobj(9, wbits=15 if ending == ".mha" else 31)
            stream.write(pack.compress(bytes(1 << 24)))
            stream.write(bytes(6_300_000))  # no end, but as long as the whole of it would be
    return file


@pytest.fixture
def sealed(monkeypatch):
    """Whoever unpacks or reads a voxel fails."""

    def fail(*_, **__):
        raise AssertionError("voxels were read")

    monkeypatch.setattr(nifti, "_decompressed", fail)
    monkeypatch.setattr(metaimage, "_inflated", fail)
    monkeypatch.setattr(label_images, "_load", fail)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".seg.nrrd", ".mha"])
def test_a_file_much_larger_than_its_image_is_refused_by_its_header(tmp_path, sealed, ending):
    with pytest.raises(NnActiveError, match=r"2048x2048x1500.*28x24x20") as refused:
        read_image(bomb(tmp_path, ending), grid=Grid(SPACE))
    assert str(tmp_path) in str(refused.value)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_header_that_lies(tmp_path, sealed, ending):
    file = tmp_path / f"a{ending}"
    content = nifti_head((32767,) * 3) + bytes(1000)
    file.write_bytes(gzip.compress(content) if ending == ".nii.gz" else content)
    with pytest.raises(NnActiveError, match="32767x32767x32767"):
        read_image(file, grid=Grid(SPACE))
    with pytest.raises(NnActiveError, match="memory"):
        read_image(file)  # nobody knows of which image
    with pytest.raises(NnActiveError, match="memory"):
        read_image_file(file)


@pytest.mark.parametrize("change", ["spacing", "direction", "far away"])
@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_another_grid_is_refused_by_the_header(tmp_path, sealed, ending, change):
    image = SPACE.image(np.zeros(SPACE.shape, np.uint8))
    if change == "spacing":
        image.SetSpacing((1.0, 1.0, 1.5))
    elif change == "direction":
        image.SetDirection((0.8, 0.6, 0, -0.6, 0.8, 0, 0, 0, 1))
    else:
        image.SetOrigin((1e6, 0, 0))
    file = tmp_path / f"a{ending}"
    sitk.WriteImage(image, str(file), useCompression=True)
    with pytest.raises(NnActiveError, match="far|away" if change == "far away" else "voxels are not those of the image"):
        read_image(file, grid=Grid(SPACE))


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_what_fits_is_read(tmp_path, ending):
    labels = np.arange(np.prod(SPACE.shape), dtype=np.uint16).reshape(SPACE.shape)
    extended = sitk.ConstantPad(SPACE.image(labels), (3, 4, 5), (6, 7, 8), 0)
    file = tmp_path / f"a{ending}"
    sitk.WriteImage(extended, str(file), useCompression=True)
    assert read_image(file, grid=Grid(SPACE)).layers[0].sum() == labels.sum()
    size = stated_size(file)
    assert size is not None
    assert (size.axes, size.numbers, size.bytes_each) == (extended.GetSize(), 1, 2)


def test_an_image_without_a_place_is_compared_by_its_size(tmp_path):
    file = tmp_path / "a.nii.gz"
    image = SPACE.image(np.zeros(SPACE.shape, np.uint8))
    image.SetOrigin((1e6, 0, 0))
    sitk.WriteImage(image, str(file))
    assert read_image(file, grid=Grid(SPACE, placed=False)).layers.shape == (1, *SPACE.shape)


def test_a_stream_that_holds_more_than_its_header_speaks_of(tmp_path):
    file = tmp_path / "a.nii.gz"
    with open(file, "wb") as stream:
        stream.write(gzip.compress(nifti_head(SPACE.shape[::-1])))
        for _ in range(100):
            stream.write(MEMBER)
    with pytest.raises(NnActiveError, match="more than"):
        read_image(file, grid=Grid(SPACE))
    assert nifti._decompressed(file, None, 1000) <= 1000 + (1 << 20)
    file = tmp_path / "a.mha"
    file.write_bytes(mha_head(SPACE.shape[::-1]) + zlib.compress(bytes(1 << 26)))
    with pytest.raises(NnActiveError, match="more than"):
        read_image(file, grid=Grid(SPACE))


def test_arrays_without_a_place(tmp_path, sealed):
    npy = tmp_path / "a.npy"
    with open(npy, "wb") as stream:
        facts = {"descr": "|u1", "fortran_order": False, "shape": (32767,) * 3}
        np.lib.format.write_array_header_1_0(stream, facts)
    tiff = tmp_path / "a.tif"
    import tifffile

    tifffile.imwrite(tiff, shape=(1000, 64, 64), dtype=np.uint8, photometric="minisblack")
    for file in (npy, tiff):
        with pytest.raises(NnActiveError, match=r"a\.npy|instead of"):
            read_image(file, [SPACE], Grid(SPACE))


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_a_returned_file_names_no_other(tmp_path, sealed, ending):
    """The bytes of any file of this machine would be taken for labels, and values of them named in messages."""
    other = tmp_path / "secret"
    other.write_bytes(bytes(np.prod(SPACE.shape)))
    if ending == ".nrrd":
        content = nrrd_head(SPACE.shape[::-1], "raw").replace(b"\n\n", f"\ndata file: {other}\n\n".encode())
    else:
        content = mha_head(SPACE.shape[::-1]).replace(b"LOCAL", str(other).encode()).replace(b"= True\nT", b"= False\nT")
    file = tmp_path / f"a{ending}"
    file.write_bytes(content)
    with pytest.raises(NnActiveError, match="another file"):
        read_image(file, grid=Grid(SPACE))


@pytest.mark.parametrize("ending", [".seg.nrrd", ".mha"])
def test_a_header_without_an_end(tmp_path, sealed, ending):
    file = tmp_path / f"a{ending}"
    lines = "".join(f"Segment{i}_Name:=s{i}\n" if ending == ".seg.nrrd" else f"Key{i} = {i}\n" for i in range(100_000))
    head = nrrd_head(SPACE.shape[::-1])[:-1] if ending == ".seg.nrrd" else b""
    file.write_bytes(head + lines.encode() + b"\n")
    for read in (lambda: read_image(file, grid=Grid(SPACE)), lambda: read_image_file(file)):
        with pytest.raises(NnActiveError, match="no end"):
            read()


def test_a_pattern_of_file_names_never_reaches_itk(tmp_path, sealed):
    file = tmp_path / "a.mha"
    file.write_bytes(mha_head(SPACE.shape[::-1]).replace(b"LOCAL", b"%s%s%n.raw 1 10000000 1"))
    with pytest.raises(NnActiveError, match="pattern"):
        read_image_file(file)


def test_more_numbers_than_a_label_map_has(tmp_path, sealed):
    file = tmp_path / "a.nii"
    file.write_bytes(nifti_head((*SPACE.shape[::-1], 1, 5000)))
    with pytest.raises(NnActiveError, match=r"5,?000 numbers"):
        read_image(file, grid=Grid(SPACE, layers=64))


def test_the_limit_is_that_of_the_process():
    code = "import resource; resource.setrlimit(resource.RLIMIT_AS, (3 << 30, -1))\n"
    code += "from nnactive_ext.memory import memory_limit; print(memory_limit())"
    pytest.importorskip("resource")
    assert int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout) <= 3 << 30
    assert (memory_limit() or 1) > 0


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space")
@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("of", ["answer", "image"])
def test_a_bomb_is_refused_within_little_memory(tmp_path, ending, of):
    file = bomb(tmp_path, ending)
    call = "read_image(file, grid=Grid(Space((20, 24, 28), (1.0,) * 3, (0.0,) * 3, (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))))"
    code = textwrap.dedent(
        f"""
        import resource, time
        from pathlib import Path
        import SimpleITK
        from nnactive_ext.errors import NnActiveError
        from nnactive_ext.geometry.space import Space
        from nnactive_ext.images.checks import read_image_file
        from nnactive_ext.images.label_images import read_image
        from nnactive_ext.images.sizes import Grid
        resource.setrlimit(resource.RLIMIT_AS, (6 << 30, -1))
        held, begin, file = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time(), Path({str(file)!r})
        try:
            {call if of == "answer" else "read_image_file(file)"}
        except NnActiveError as error:
            print(error)
        print(time.process_time() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held)
        """
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    *refusal, measured = run.stdout.splitlines()
    seconds, kilobytes = map(float, measured.split())
    assert str(file) in "".join(refusal)
    assert seconds < 2
    assert kilobytes < 100_000


def _segmentation(file: Path, space: Space) -> Path:
    pytest.importorskip("highdicom")
    labels = np.zeros(space.shape, np.uint8)
    labels[2:5, 3:9, 4:8] = 1
    as_dicom(file, labels, space.image(labels), {"organ": 1})
    return file


def test_a_dicom_segmentation_of_another_image_is_refused_before_its_frames_are_read(tmp_path, monkeypatch):
    file = _segmentation(tmp_path / "a.dcm", SPACE)
    assert read_image(file, grid=Grid(SPACE)).layers.sum() == 3 * 6 * 4
    import highdicom

    monkeypatch.setattr(highdicom.seg.Segmentation, "get_volume", lambda *_, **__: pytest.fail("frames were read"))
    other = Space(SPACE.shape, (1.0, 1.0, 1.7), SPACE.origin, SPACE.direction)
    with pytest.raises(NnActiveError, match="voxels are not those of the image"):
        read_image(file, grid=Grid(other))


def test_a_deflated_dicom_file_is_not_unpacked_as_a_whole(tmp_path, monkeypatch):
    import pydicom
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    from nnactive_ext.images import dicom_segmentation

    file = _segmentation(tmp_path / "a.dcm", SPACE)
    content = pydicom.dcmread(file)
    content.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    content.save_as(file)
    assert read_image(file, grid=Grid(SPACE)).layers.sum() == 3 * 6 * 4
    content.add_new(0x00420011, "OB", bytes(1 << 22))  # an encapsulated document
    content.save_as(file)
    assert file.stat().st_size < 1 << 16
    monkeypatch.setattr(dicom_segmentation, "_MOST", 1 << 20)
    monkeypatch.setattr(pydicom, "dcmread", lambda *_, **__: pytest.fail("unpacked as a whole"))
    with pytest.raises(NnActiveError, match="unpacks to more than"):
        read_image(file, grid=Grid(SPACE))
