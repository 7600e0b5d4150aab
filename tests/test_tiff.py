"""TIFF stacks and folders of slices are read as their axes and units say, compared with what was written, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image
from test_intake_dicom import refused

from nnactive_ext.intake.find import FoundCase, find
from nnactive_ext.intake.reading import read

VOXELS = np.random.default_rng(0).integers(0, 4000, (6, 12, 10)).astype(np.uint16)
OTHER = VOXELS[::-1].copy()
GIVEN = (2e-3, 5e-4, 5e-4)
IMAGEJ = {"imagej": True, "resolution": (2, 2)}
OME = {f"PhysicalSize{axis}": mm for axis, mm in zip("ZYX", (2.0, 0.5, 0.25), strict=True)}


def stack(file: Path, voxels: np.ndarray = VOXELS, axes: str = "ZYX", **more) -> Path:
    """An ImageJ stack of 2 x 0.5 x 0.5 um."""
    file.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"axes": axes, "spacing": 2.0, "unit": "um", **more.pop("metadata", {})}
    tifffile.imwrite(file, voxels, **IMAGEJ, metadata=metadata, **more)
    return file


def slices(folder: Path, voxels: np.ndarray = VOXELS, name: str = "slice_{}.png", first: int = 7) -> Path:
    folder.mkdir(parents=True)
    for number, plane in enumerate(voxels, start=first):
        file = folder / name.format(number)
        tifffile.imwrite(file, plane) if file.suffix.startswith(".tif") else Image.fromarray(plane).save(file)
    return folder


def cases(folder: Path, **more) -> dict[str, FoundCase]:
    return find(folder, **more).cases


def only(folder: Path, channel: int = 0, **more) -> sitk.Image:
    (case,) = cases(folder, **more).values()
    return read(case.sources[channel])


def same(image: sitk.Image, voxels: np.ndarray, spacing) -> None:
    """``spacing`` along (z, y, x) in mm."""
    got = sitk.GetArrayFromImage(image)
    assert got.dtype == voxels.dtype
    assert (got == voxels).all()
    assert image.GetSpacing() == pytest.approx(spacing[::-1])
    assert image.GetOrigin() == (0, 0, 0)
    assert image.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)


@pytest.mark.parametrize(
    ("written", "spacing"),
    [
        ({**IMAGEJ, "metadata": {"axes": "ZYX", "spacing": 2.0, "unit": "um"}}, (2e-3, 5e-4, 5e-4)),
        (
            {**IMAGEJ, "resolution": (1 / 200, 1 / 200), "metadata": {"axes": "ZYX", "spacing": 400, "unit": "nm"}},
            (4e-4, 2e-4, 2e-4),
        ),
        ({**IMAGEJ, "metadata": {"axes": "ZYX", "spacing": 0.5, "unit": "\\u00B5m"}}, (5e-4, 5e-4, 5e-4)),
        ({**IMAGEJ, "metadata": {"axes": "ZYX", "spacing": 3, "unit": "mm"}}, (3, 0.5, 0.5)),
        ({"ome": True, "metadata": {"axes": "ZYX", **OME}}, (2e-3, 5e-4, 2.5e-4)),
        ({"ome": True, "compression": "zlib", "metadata": {"axes": "ZYX", **OME}}, (2e-3, 5e-4, 2.5e-4)),
        (
            {"ome": True, "metadata": {"axes": "ZYX", **OME, **{f"PhysicalSize{a}Unit": "mm" for a in "XYZ"}}},
            (2, 0.5, 0.25),
        ),
    ],
)
def test_the_spacing_that_the_file_states(tmp_path, written, spacing):
    tifffile.imwrite(tmp_path / "a.tif", VOXELS, **written)
    same(only(tmp_path), VOXELS, spacing)
    refused(lambda: only(tmp_path, spacing=(1.0, 1.0, 1.0)), tmp_path / "a.tif", "-spacing")
    same(only(tmp_path, spacing=(1.0, 1.0, 1.0), strict=False), VOXELS, spacing)
    same(only(tmp_path, spacing=spacing), VOXELS, spacing)


@pytest.mark.parametrize(
    ("written", "missing"),
    [
        ({}, "z, y and x"),
        ({"metadata": None, "resolution": (72, 72), "resolutionunit": "INCH"}, "z, y and x"),
        ({"bigtiff": True}, "z, y and x"),
        ({**IMAGEJ, "metadata": {"axes": "ZYX", "unit": "um"}}, "along z."),
        ({**IMAGEJ, "metadata": {"axes": "ZYX", "unit": "pixel", "spacing": 2.0}}, "z, y and x"),
        ({"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}}, "along z."),
        ({"ome": True, "metadata": {"axes": "ZYX", **OME, "PhysicalSizeZUnit": "pixel"}}, "along z."),
    ],
)
def test_a_spacing_that_the_file_does_not_state(tmp_path, written, missing):
    tifffile.imwrite(tmp_path / "a.tif", VOXELS, **written)
    refused(lambda: only(tmp_path), tmp_path / "a.tif", missing, "-spacing", "ImageJ")
    given = (2e-3, 5e-4, 2.5e-4) if "PhysicalSizeZUnit" in str(written) else GIVEN
    same(only(tmp_path, spacing=given), VOXELS, given)


def test_nnunets_spacing_beside_the_file(tmp_path):
    for name in ("a_0000.tif", "b_0000.tiff"):
        tifffile.imwrite(tmp_path / name, VOXELS)
    (tmp_path / "a.json").write_text('{"spacing": [3, 2, 1]}')
    (tmp_path / "b.json").write_text('{"spacing": [3, 2]}')
    found = cases(tmp_path)
    same(read(found["a"].sources[0]), VOXELS, (3, 2, 1))
    refused(lambda: read(found["b"].sources[0]), tmp_path / "b.json")
    stack(tmp_path / "a_0000.tif")
    refused(lambda: read(found["a"].sources[0]), tmp_path / "a_0000.tif", "a.json")


@pytest.mark.parametrize("text", ['[{"type": "Feature"}]', '"x"', "null", '{"type": "FeatureCollection"}'])
def test_a_file_of_another_program_beside_it_states_no_spacing(tmp_path, text):
    tifffile.imwrite(tmp_path / "b_0000.tif", VOXELS)
    (tmp_path / "b.json").write_text(text)
    refused(lambda: read(cases(tmp_path)["b"].sources[0]), tmp_path / "b_0000.tif", "-spacing")


def test_compression_that_needs_another_package(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", VOXELS, compression="zlib")

    def missing(*_: object) -> None:
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", missing)
    refused(lambda: only(tmp_path, spacing=GIVEN), tmp_path / "a.tif", "pip install imagecodecs")


@pytest.mark.parametrize("dtype", ["u1", "u2", ">u2", "i2", "u4", "f4", "f8", "f2", "?"])
def test_types(tmp_path, dtype):
    voxels = (VOXELS % 2 if dtype == "?" else VOXELS % 200).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", voxels, byteorder=">" if dtype[0] == ">" else None)
    kept = {"f2": np.float32, "?": np.uint8, ">u2": np.uint16}
    same(only(tmp_path, spacing=GIVEN), voxels.astype(kept.get(dtype, dtype)), GIVEN)


@pytest.mark.parametrize(
    ("axes", "more"),
    [
        ("ZCYX", IMAGEJ | {"metadata": {"spacing": 2.0, "unit": "um"}}),
        ("CZYX", {"ome": True, "metadata": dict(OME)}),
        ("ZCYX", {"ome": True, "metadata": dict(OME), "compression": "zlib"}),
        ("ZCYX", {"ome": True, "metadata": dict(OME), "photometric": "minisblack"}),
    ],
)
def test_channels_in_one_file(tmp_path, axes, more):
    both = np.stack([VOXELS, OTHER])
    more = more | {"metadata": more["metadata"] | {"axes": axes}}
    for name in ("p1.ome.tif", "p2.tif"):
        tifffile.imwrite(tmp_path / name, np.transpose(both, ["CZYX".index(axis) for axis in axes]), **more)
    there = find(tmp_path)
    assert list(there.cases) == ["p1", "p2"]
    assert any("channels" in note.why for note in there.notes)
    spacing = (2e-3, 5e-4, 5e-4 if "imagej" in more else 2.5e-4)
    for case in there.cases.values():
        assert len(case.sources) == 2
        same(read(case.sources[0]), VOXELS, spacing)
        same(read(case.sources[1]), OTHER, spacing)
    assert list(cases(tmp_path, channels=["DAPI", "GFP"])) == ["p1", "p2"]
    assert list(cases(tmp_path, channels=["DAPI", "GFP"], pattern="{case}")) == ["p1", "p2"]
    refused(lambda: cases(tmp_path, channels=["a", "b", "c"]), "p1", "c")
    stack(tmp_path / "p3.tif")
    refused(lambda: cases(tmp_path), "p3", "0001")


def test_channels_in_another_order(tmp_path):
    for name, channels in (("p1", ["DAPI", "GFP"]), ("p2", ["DAPI", "GFP"]), ("p3", ["GFP", "DAPI"])):
        metadata = {"axes": "CZYX", "Channel": {"Name": channels}, **OME}
        tifffile.imwrite(tmp_path / f"{name}.ome.tif", np.stack([VOXELS, OTHER]), metadata=metadata)
    refused(lambda: cases(tmp_path), tmp_path / "p3.ome.tif", "GFP, DAPI", "p1.ome.tif")
    (tmp_path / "p3.ome.tif").unlink()
    refused(lambda: cases(tmp_path, channels=["gfp", "dapi"]), "-channels DAPI GFP")
    assert list(cases(tmp_path, channels=["dapi", "gfp"])) == list(cases(tmp_path, channels=["red", "green"])) == ["p1", "p2"]
    stack(tmp_path / "other.tif")
    assert list(cases(tmp_path, channels=["a", "b"], pattern="p{case}")) == ["1", "2"]


@pytest.mark.parametrize(
    ("shape", "axes", "words"),
    [
        ((6, 12, 10), "TYX", ["6 time points", "frames"]),
        ((2, 6, 12, 10), "TZYX", ["2 time points"]),
        ((2, 6, 2, 12, 10), "TZCYX", ["2 time points"]),
        ((12, 10), "YX", ["2D"]),
        ((2, 12, 10), "CYX", ["2 channels", "2D"]),
    ],
)
@pytest.mark.parametrize("form", ["imagej", "ome"])
def test_axes_that_are_no_volume(tmp_path, shape, axes, words, form):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, np.uint16), **{form: True}, metadata={"axes": axes})
    refused(lambda: read(next(iter(cases(tmp_path, spacing=GIVEN).values())).sources[0]), tmp_path / "a.tif", *words)


def test_files_that_are_no_single_volume(tmp_path):
    made = {"rgb": np.stack([VOXELS] * 3, -1).astype(np.uint8), "four": np.zeros((2, 6, 12, 10)), "complex": VOXELS * 1j}
    for name, array in made.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", array, photometric="rgb" if name == "rgb" else None)
    with tifffile.TiffWriter(tmp_path / "several.tif") as file:
        file.write(VOXELS, metadata=None)
        file.write(VOXELS[:, :5], metadata=None)
    for name, words in {"rgb": "colour", "four": "QQYX", "complex": "complex", "several": "2 images"}.items():
        refused(lambda name=name: read(cases(tmp_path, spacing=GIVEN)[name].sources[0]), tmp_path / f"{name}.tif", words)


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.7, 0.99])
@pytest.mark.parametrize(
    "written", [{}, {"metadata": None}, IMAGEJ, {"ome": True, "compression": "zlib"}, {"bigtiff": True, "compression": "zlib"}]
)
def test_cut_short(tmp_path, written, share):
    tifffile.imwrite(tmp_path / "a.tif", VOXELS, **written)
    whole = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(whole[: int(len(whole) * share)])
    refused(lambda: only(tmp_path, spacing=GIVEN), tmp_path / "a.tif")


def test_slices_missing_in_a_file(tmp_path):
    tifffile.imwrite(tmp_path / "a.ome.tif", VOXELS[:4], photometric="minisblack", metadata={"axes": "ZYX"})
    text = tifffile.TiffFile(tmp_path / "a.ome.tif").ome_metadata.replace('SizeZ="4"', 'SizeZ="6"')
    tifffile.imwrite(tmp_path / "a.ome.tif", VOXELS[:4], photometric="minisblack", description=text, metadata=None)
    refused(lambda: only(tmp_path, spacing=GIVEN), tmp_path / "a.ome.tif")


@pytest.mark.parametrize("name", ["slice_{}.png", "{:03d}.tif", "p1 z{:02d}_c1.tiff", "{}.PNG"])
def test_folders_of_slices(tmp_path, name):
    slices(tmp_path / "p1", VOXELS, name)  # from 7 to 12: by name, 10 comes before 7
    slices(tmp_path / "deep" / "er" / "p2", OTHER, name)
    there = find(tmp_path, spacing=GIVEN)
    assert list(there.cases) == ["deep", "p1"]
    same(read(there.cases["p1"].sources[0]), VOXELS, GIVEN)
    same(read(there.cases["deep"].sources[0]), OTHER, GIVEN)
    assert there.cases["p1"].sources[0].copied
    refused(lambda: read(cases(tmp_path)["p1"].sources[0]), tmp_path / "p1", "-spacing")


def test_slices_state_a_spacing(tmp_path):
    for number, plane in enumerate(VOXELS):
        file = tmp_path / "p1" / f"{number}.tif"
        file.parent.mkdir(exist_ok=True)
        tifffile.imwrite(file, plane, ome=True, metadata={"axes": "YX", **OME})
    same(only(tmp_path), VOXELS, (2e-3, 5e-4, 2.5e-4))
    refused(lambda: only(tmp_path, spacing=GIVEN), tmp_path / "p1", "-spacing")


def test_grey_in_colour_is_grey_and_colour_is_not(tmp_path):
    grey = (VOXELS % 256).astype(np.uint8)
    for name, colours in (("rgb", 3), ("rgba", 4)):
        pixels = np.repeat(grey[..., None], colours, -1)
        pixels[..., 3:] = 255
        slices(tmp_path / name, pixels)
        same(read(cases(tmp_path, spacing=GIVEN)[name].sources[0]), grey, GIVEN)
    (tmp_path / "palette").mkdir()
    for number, plane in enumerate(grey):
        Image.fromarray(plane).convert("P").save(tmp_path / "palette" / f"{number}.png")
    same(read(cases(tmp_path, spacing=GIVEN)["palette"].sources[0]), grey, GIVEN)
    pixels[3, 4, 5, 1] += 1
    slices(tmp_path / "one", pixels)
    refused(lambda: read(cases(tmp_path, spacing=GIVEN)["one"].sources[0]), tmp_path / "one" / "slice_10.png", "colour")


def test_slices_that_are_no_volume(tmp_path):
    def problem(folder: str, *words) -> None:
        refused(lambda: read(cases(tmp_path / folder, spacing=GIVEN)["p1"].sources[0]), *words)

    (slices(tmp_path / "gap" / "p1") / "slice_9.png").unlink()
    problem("gap", tmp_path / "gap" / "p1", "9")
    (slices(tmp_path / "far" / "p1") / "slice_9.png").rename(tmp_path / "far" / "p1" / "slice_20240101120000.png")
    problem("far", tmp_path / "far" / "p1", "slice 9")
    slices(tmp_path / "twice" / "p1")
    Image.fromarray(VOXELS[0]).save(tmp_path / "twice" / "p1" / "slice_07.png")
    problem("twice", "slice_07.png", "slice_7.png")
    slices(tmp_path / "size" / "p1")
    Image.fromarray(VOXELS[0, :5]).save(tmp_path / "size" / "p1" / "slice_8.png")
    problem("size", "slice_8.png", "10x5", "slice_7.png")
    slices(tmp_path / "type" / "p1")
    Image.fromarray(VOXELS[0].astype(np.uint8)).save(tmp_path / "type" / "p1" / "slice_8.png")
    problem("type", "slice_8.png", "uint8", "uint16")
    file = slices(tmp_path / "cut" / "p1") / "slice_8.png"
    file.write_bytes(file.read_bytes()[:100])
    problem("cut", "slice_8.png")
    slices(tmp_path / "two" / "p1", name="a{}.png")
    for file in sorted((tmp_path / "two" / "p1").iterdir()):
        Image.fromarray(VOXELS[0]).save(file.with_name(file.name.replace("a", "b")))
    problem("two", "2 stacks", "a7.png to a12.png", "b7.png to b12.png")
    slices(tmp_path / "flat" / "p1")
    refused(lambda: cases(tmp_path / "flat" / "p1"), tmp_path / "flat" / "p1", "folder of its own")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ({"cf": 0, "c0": -32768.0, "c1": 1.0}, (VOXELS.astype(np.int64) - 32768).astype(np.int16)),  # ImageJ's signed 16 bits
        ({"cf": 0, "c0": -1024.0, "c1": 0.5}, (VOXELS * 0.5 - 1024).astype(np.float32)),
        ({"cf": 21, "c0": 3.0, "c1": 1.0}, VOXELS),  # a curve, such as a density: the numbers as stored
    ],
)
def test_imagejs_straight_calibration_gives_the_grey_values(tmp_path, line, shown):
    stack(tmp_path / "a.tif", metadata={**line, "vunit": "gray value"})
    same(only(tmp_path), shown, GIVEN)
    (tmp_path / "slices" / "p1").mkdir(parents=True)
    for number, plane in enumerate(VOXELS):
        tifffile.imwrite(tmp_path / "slices" / "p1" / f"z{number}.tif", plane, imagej=True, metadata=line)
    same(only(tmp_path / "slices", spacing=GIVEN), shown, GIVEN)


@pytest.mark.parametrize("name", ["img_t{:03d}.png", "p1 time{}.tif", "T{}.tif", "z03_c{}.png", "Channel {}.tif"])
def test_numbers_of_time_points_and_channels_are_no_slices(tmp_path, name):
    slices(tmp_path / "p1", VOXELS, name)
    refused(lambda: cases(tmp_path, spacing=GIVEN), tmp_path / "p1", name.format(7))


@pytest.mark.parametrize("name", ["t1w_{:02d}.png", "time_z{}.tif", "ct{}.png", "T2_{}.tif", "spec{}.png"])
def test_letters_that_only_look_like_those_of_time_points_and_channels(tmp_path, name):
    slices(tmp_path / "p1", VOXELS, name)
    same(only(tmp_path, spacing=GIVEN), VOXELS, GIVEN)


def test_a_spacing_is_not_left_out_because_of_two_stacks(tmp_path):
    slices(tmp_path / "p1", VOXELS, "DAPI_z{}.tif")
    for number, plane in enumerate(VOXELS):
        tifffile.imwrite(tmp_path / "p1" / f"GFP_z{number}.tif", plane)
    assert "-spacing" not in refused(lambda: cases(tmp_path, spacing=GIVEN), tmp_path / "p1", "DAPI_z7.tif", "GFP_z0.tif")
