"""Volumes larger than memory: what OME-Zarr and TIFF state is read, and what is damaged or unclear is refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile

pytest.importorskip("zarr")
from large import brain, write_zarr

from nnactive_ext.errors import NnActiveError
from nnactive_ext.images.volumes import open_volume

BRAIN = brain((24, 32, 40))
BOX = (slice(3, 20), slice(4, 30), slice(5, 37))
START, SIZE = (3, 4, 5), (17, 26, 32)


@pytest.fixture(autouse=True)
def nothing_open():
    open_volume.cache_clear()


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_scale_translation_and_voxels_of_both_versions(tmp_path, version):
    volume = open_volume(write_zarr(tmp_path / "a.ome.zarr", BRAIN, version=version, translation=(3, 4, 5), channels=["DAPI"]))
    assert volume.channels == ("DAPI",)
    assert volume.level.spacing == pytest.approx((2e-3, 5e-4, 5e-4))
    assert volume.space.origin == pytest.approx((5e-3, 4e-3, 3e-3))
    assert [level.shape for level in volume.levels] == [(24, 32, 40), (12, 16, 20)]
    np.testing.assert_array_equal(volume.read(0, START, SIZE), BRAIN[BOX])
    coarse = volume.on(1)
    assert coarse.level.spacing == pytest.approx((4e-3, 1e-3, 1e-3))
    np.testing.assert_array_equal(coarse.read(0, (0, 0, 0), (12, 16, 20)), BRAIN[::2, ::2, ::2])


def test_axes_in_any_order_channels_time_points_and_shards(tmp_path):
    voxels = np.stack([np.stack([BRAIN, BRAIN // 2]), np.stack([BRAIN + 1, BRAIN // 3])])  # t c z y x
    file = write_zarr(tmp_path / "a.zarr", voxels.transpose(4, 1, 0, 2, 3), axes="xctzy", shards=32, channels=["a", "b"])
    with pytest.raises(NnActiveError, match="-time"):
        open_volume(file)
    volume = open_volume(file, time=1)
    assert volume.channels == ("a", "b")
    np.testing.assert_array_equal(volume.read(1, START, SIZE), voxels[1, 1][BOX])
    assert volume.missing_chunks()[0] == 0


def test_transformations_of_the_whole_image_come_after_those_of_a_level(tmp_path):
    outer = [{"type": "scale", "scale": [10, 10, 10]}, {"type": "translation", "translation": [1, 2, 3]}]
    file = write_zarr(
        tmp_path / "a.zarr", BRAIN, translation=(7, 0, 0), unit="nanometer", more={"coordinateTransformations": outer}
    )
    level = open_volume(file).level
    assert level.spacing == pytest.approx((20e-6, 5e-6, 5e-6))
    assert level.origin == pytest.approx((71e-6, 2e-6, 3e-6))


@pytest.mark.parametrize("inner", ["", "a.zarr/"])
def test_zipped_stores(tmp_path, inner):
    folder = write_zarr(tmp_path / "a.zarr", BRAIN)
    zipped = tmp_path / "a.ome.zarr.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, inner + file.relative_to(folder).as_posix())
    np.testing.assert_array_equal(open_volume(zipped).read(0, START, SIZE), BRAIN[BOX])
    zipped.write_bytes(zipped.read_bytes()[:500])
    open_volume.cache_clear()
    with pytest.raises(NnActiveError, match=r"a\.ome\.zarr\.zip"):
        open_volume(zipped)


def chunks_of(file: Path) -> list[Path]:
    return sorted(
        path for path in (file / "0").rglob("*") if path.is_file() and path.name != "zarr.json" and path.name[0] != "."
    )


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_missing_chunks_are_counted_and_damaged_ones_refused(tmp_path, version):
    file = write_zarr(tmp_path / "a.zarr", BRAIN, version=version)
    chunks = chunks_of(file)
    chunks[0].unlink()
    volume = open_volume(file)
    assert volume.missing_chunks() == (1, len(chunks))
    assert not volume.read(0, (0, 0, 0), (16, 16, 16)).any()
    chunks[-1].write_bytes(chunks[-1].read_bytes()[:40])
    with pytest.raises(NnActiveError, match=r"a\.zarr: the voxels z 0 to 23"):
        volume.read(0, (0, 0, 0), BRAIN.shape)


def test_codecs_that_are_not_installed_are_named(tmp_path):
    file = write_zarr(tmp_path / "a.zarr", BRAIN)
    described = json.loads((file / "0" / "zarr.json").read_text())
    described["codecs"][-1] = {"name": "zfp", "configuration": {}}
    (file / "0" / "zarr.json").write_text(json.dumps(described))
    with pytest.raises(NnActiveError, match=r"codec.*zfp.*Install"):
        open_volume(file)
    file = write_zarr(tmp_path / "b.zarr", BRAIN, version="0.4")
    described = json.loads((file / "0" / ".zarray").read_text())
    described["compressor"] = {"id": "imagecodecs_jpegxl"}
    (file / "0" / ".zarray").write_text(json.dumps(described))
    with pytest.raises(NnActiveError, match=r"codec.*jpegxl.*Install"):
        open_volume(file)


def described(file: Path, change) -> Path:
    content = json.loads((file / "zarr.json").read_text())
    change(content["attributes"]["ome"])
    (file / "zarr.json").write_text(json.dumps(content))
    return file


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda ome: ome.pop("multiscales"), "no multiscales"),
        (lambda ome: ome["multiscales"].append(ome["multiscales"][0]), "2 multiscale images"),
        (lambda ome: ome["multiscales"][0].pop("axes"), "axes"),
        (lambda ome: ome["multiscales"][0]["axes"][0].update(name="angle"), "angle"),
        (lambda ome: ome["multiscales"][0]["axes"][0].pop("unit"), "unit"),
        (lambda ome: ome["multiscales"][0]["axes"][0].update(unit="pixel"), "pixel"),
        (lambda ome: ome["multiscales"][0]["datasets"][0].pop("coordinateTransformations"), "scale"),
        (lambda ome: ome["multiscales"][0]["datasets"][1].update(path="gone"), "gone"),
        (lambda ome: ome.update(version="0.6"), r"0\.6"),
        (lambda ome: ome.update(plate={}), "plate"),
        (
            lambda ome: ome["multiscales"][0]["datasets"][0]["coordinateTransformations"][0].update(scale=[0, 1, 1]),
            "above 0",
        ),
        (
            lambda ome: ome["multiscales"][0]["datasets"][0]["coordinateTransformations"].append({"type": "affine"}),
            "affine",
        ),
    ],
)
def test_metadata_that_say_too_little_are_refused(tmp_path, change, says):
    file = described(write_zarr(tmp_path / "a.zarr", BRAIN), change)
    with pytest.raises(NnActiveError, match=rf"a\.zarr.*{says}"):
        open_volume(file)


def test_a_spacing_without_a_unit_is_asked_for(tmp_path):
    file = write_zarr(tmp_path / "a.zarr", BRAIN, unit="", scale=(4, 1, 1), translation=(8, 0, 0))
    with pytest.raises(NnActiveError, match="-spacing"):
        open_volume(file)
    level = open_volume(file, 1, None, (8e-3, 1e-3, 1e-3)).level
    assert level.spacing == pytest.approx((16e-3, 2e-3, 2e-3))
    assert level.origin == pytest.approx((16e-3, 0, 0))
    with pytest.raises(NnActiveError, match="-spacing"):
        open_volume(write_zarr(tmp_path / "b.zarr", BRAIN), 0, None, (8e-3, 1e-3, 1e-3))


def test_levels_that_are_not_there_name_those_that_are(tmp_path):
    with pytest.raises(NnActiveError, match=r"-level 5.*0 \(24 x 32 x 40 voxels of 2 x 0\.5 x 0\.5 um.*1 \(12 x 16 x 20"):
        open_volume(write_zarr(tmp_path / "a.zarr", BRAIN), 5)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"tile": (16, 16), "compression": "zlib"},
        {"bigtiff": True, "tile": (16, 16), "compression": "lzw"},
        {"bigtiff": True, "rowsperstrip": 5},
        {"bigtiff": True, "rowsperstrip": 7, "compression": "zlib", "predictor": True},
    ],
    ids=["stack", "tiled", "big", "strips", "compressed strips"],
)
def test_regions_of_tiff_files(tmp_path, how):
    file = tmp_path / "a.tif"
    tifffile.imwrite(file, BRAIN, metadata={"axes": "ZYX"}, **how)
    volume = open_volume(file, spacing=(2e-3, 5e-4, 5e-4))
    np.testing.assert_array_equal(volume.read(0, START, SIZE), BRAIN[BOX])
    assert volume.chunks[0] == 1
    assert volume.level.spacing == pytest.approx((2e-3, 5e-4, 5e-4))


def test_pyramids_and_channels_of_ome_tiff(tmp_path):
    file, both = tmp_path / "a.ome.tif", np.stack([BRAIN, BRAIN // 2], axis=1)
    size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    with tifffile.TiffWriter(file, bigtiff=True) as tif:
        metadata = {"axes": "ZCYX", "Channel": {"Name": ["DAPI", "GFP"]}, **size}
        tif.write(both, subifds=1, tile=(16, 16), metadata=metadata)
        tif.write(both[:, :, ::2, ::2], subfiletype=1, tile=(16, 16))
    volume = open_volume(file)
    assert volume.channels == ("DAPI", "GFP")
    np.testing.assert_array_equal(volume.read(1, START, SIZE), BRAIN[BOX] // 2)
    assert volume.on(1).level.spacing == pytest.approx((2e-3, 1e-3, 1e-3))
