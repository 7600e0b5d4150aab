"""Every reader of files that people hand in, with a good file for each; experiments' own files are in fuzz_experiments.py."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from dicom_made import enhanced, save
from dicom_segmentations import as_dicom
from fuzzing import Target
from PIL import Image
from test_intake_dicom import write_series

from nnactive_ext.bench.definition import read_benchmark
from nnactive_ext.exchange.page_note import note_of
from nnactive_ext.exchange.points import read_points
from nnactive_ext.exchange.viewers import facts
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.label_files import read_label_file
from nnactive_ext.images.volumes import open_volume
from nnactive_ext.intake.channel_names import channels_beside
from nnactive_ext.intake.find import Source, find_cases
from nnactive_ext.intake.inspect import inspect_case
from nnactive_ext.intake.reading import read
from nnactive_ext.intake.tables import read_table
from nnactive_ext.planning.labels import read_operations
from nnactive_ext.querying.descriptor_files import DescriptorFiles
from nnactive_ext.relevance.reading import read_similarity, read_words
from nnactive_ext.screening.reference import read_reference

SHAPE = (4, 5, 6)
NAMES = {"background": 0, "organ": 1, "lesion": 2, "ignore": 3}
CASES = ["tiny_1", "tiny_2", "tiny_3"]
CLASSES = ["organ", "lesion"]
SPACE = Space(SHAPE, (0.8, 0.9, 2.0), (1.0, 2.0, 3.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))


def labels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)


def every(folder: Path) -> Iterator[Target]:
    """All targets; ``folder`` is for files that are made to be read back."""
    yield from _label_maps(folder)
    yield from _images(folder)
    yield from _dicom(folder)
    yield from _volumes(folder)
    yield from _points()
    yield from _tables()
    yield from _arrays()
    yield from _json_of_others()


def _written(folder: Path, name: str, image: Any) -> bytes:
    sitk.WriteImage(image, str(folder / name), useCompression=not name.endswith((".nii", ".mhd", ".nhdr")))
    return (folder / name).read_bytes()


def _label(file: Path) -> object:
    return read_label_file(file, NAMES, [SPACE])


def _label_maps(folder: Path) -> Iterator[Target]:
    image = SPACE.image(labels())
    for ending in (".nii.gz", ".nii", ".nrrd", ".mha"):
        yield Target(f"label map {ending}", f"v{ending}", _written(folder, f"v{ending}", image), _label)
    for ending, more in ((".mhd", ".raw"), (".nhdr", ".raw")):
        content = _written(folder, f"w{ending}", image)
        beside = {f"w{more}": (folder / f"w{more}").read_bytes()}
        yield Target(f"label map {ending}", f"w{ending}", content, _label, beside)
    slicer = SPACE.image(labels())
    for key, value in {
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segment0_Name": "organ",
        "Segment0_LabelValue": "1",
        "Segment0_Layer": "0",
        "Segment1_Name": "lesion",
        "Segment1_LabelValue": "2",
        "Segment1_Layer": "0",
    }.items():
        slicer.SetMetaData(key, value)
    yield Target("label map .seg.nrrd", "v.seg.nrrd", _written(folder, "v.seg.nrrd", slicer), _label)
    mitk = SPACE.image(labels())
    groups = [{"labels": [{"name": "organ", "value": 1}, {"name": "lesion", "value": 2}]}]
    mitk.SetMetaData("modality", "org.mitk.multilabel.segmentation")
    mitk.SetMetaData("org.mitk.multilabel.segmentation.labelgroups", json.dumps(groups))
    yield Target("label map of MITK", "m.nrrd", _written(folder, "m.nrrd", mitk), _label)
    stack = {"groups": [{"_file": "s.nii", "labels": [{"name": "organ", "value": 1}, {"name": "lesion", "value": 2}]}]}
    beside = {"s.nii": (folder / "v.nii").read_bytes()}
    yield Target(
        "MITK's stack",
        "s.mitklabel.json",
        json.dumps(stack).encode(),
        lambda file: read_label_file(file.with_name("s.nii"), NAMES),
        beside,
    )
    frames = [Image.fromarray(plane) for plane in labels()]
    made = io.BytesIO()
    frames[0].save(made, "TIFF", save_all=True, append_images=frames[1:])
    yield Target("label map .tif", "v.tif", made.getvalue(), _label)
    made = io.BytesIO()
    np.save(made, labels())
    yield Target("label map .npy", "v.npy", made.getvalue(), _label)
    as_dicom(folder / "v.seg.dcm", labels(), image, {"organ": 1, "lesion": 2})
    yield Target("label map .dcm (SEG)", "v.dcm", (folder / "v.seg.dcm").read_bytes(), _label)
    content = (folder / "v.nii.gz").read_bytes()
    yield Target("note of a page", "v.nii.gz", content, note_of)


def _grey() -> np.ndarray:
    return np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


def _case(file: Path) -> object:
    """As planning does; problems are texts there."""
    found = find_cases(file.parent)
    for case in found.values():
        inspect_case((case, NAMES))
    return [read(replace(case.sources[0], spacing=(2.0, 0.9, 0.8))) for case in found.values()]


def _folder(file: Path) -> object:
    """Of an image in a folder of its own."""
    return _case(file.parent)


def _images(folder: Path) -> Iterator[Target]:
    image = SPACE.image(_grey())
    for ending in (".nii.gz", ".nii", ".nrrd", ".mha"):
        content = _written(folder, f"i{ending}", image)
        yield Target(f"image {ending}", f"i{ending}", content, lambda file: read(Source(file)))
        yield Target(f"case {ending}", f"i{ending}", content, _case)
    made = io.BytesIO()
    frames = [Image.fromarray(plane) for plane in labels()]
    frames[0].save(made, "TIFF", save_all=True, append_images=frames[1:])
    beside = {"t.json": b'{"spacing": [2.0, 0.9, 0.8]}'}
    yield Target("image .tif", "t.tif", made.getvalue(), lambda file: read(Source(file)), beside)
    spacing = lambda file: read(Source(file.with_suffix(".tif")))  # noqa: E731
    yield Target("spacing of a .tif", "t.json", beside["t.json"], spacing, {"t.tif": made.getvalue()})
    planes = {}
    for number, plane in enumerate(labels()):
        png = io.BytesIO()
        Image.fromarray(plane).save(png, "PNG")
        planes[f"a/p/{number:03d}.png"] = png.getvalue()
    first = planes.pop("a/p/000.png")
    yield Target("slices .png", "a/p/000.png", first, _folder, planes)


def _dicom(folder: Path) -> Iterator[Target]:
    write_series(folder / "series", np.random.default_rng(0).integers(-1000, 2000, SHAPE))
    slices = {f"a/s/{file.name}": file.read_bytes() for file in sorted((folder / "series").iterdir())}
    name = next(iter(slices))
    yield Target("DICOM series", name, slices.pop(name), _folder, slices)
    stored = np.random.default_rng(0).integers(0, 100, SHAPE).astype(np.int16)
    save(enhanced(stored, [(0.0, 0.0, 2.5 * k) for k in range(SHAPE[0])]), folder / "e" / "e.dcm")
    content = (folder / "e" / "e.dcm").read_bytes()
    yield Target("DICOM enhanced", "a/e/e.dcm", content, _folder)


def _volume(file: Path) -> object:
    open_volume.cache_clear()
    volume = open_volume(file)
    return volume.read(0, (0, 0, 0), volume.level.shape), volume.missing_chunks()


def _volumes(folder: Path) -> Iterator[Target]:
    from large import write_zarr

    for version in ("0.4", "0.5"):
        write_zarr(folder / f"z{version}.ome.zarr", np.tile(labels(), (2, 2, 2)), version=version, chunks=4)
        packed = shutil.make_archive(str(folder / f"z{version}.ome.zarr"), "zip", folder / f"z{version}.ome.zarr")
        yield Target(f"OME-Zarr {version}", "z.ome.zarr.zip", Path(packed).read_bytes(), _volume)


def _points() -> Iterator[Target]:
    point = {"label": "organ-1", "position": [1.0, 2.0, 3.0], "positionStatus": "defined"}
    markup = {"type": "Fiducial", "name": "organ", "coordinateSystem": "LPS", "controlPoints": [point]}
    contents = {
        "tiny_1.mrk.json": json.dumps({"markups": [markup]}).encode(),
        "tiny_1.fcsv": b"# Markups fiducial file version = 5.6\n# CoordinateSystem = LPS\n"
        b"# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n1,1,2,3,0,0,0,1,1,1,0,organ-1,,,2,0\n",
        "p.csv": b"case,class,i,j,k\ntiny_1,organ,1,2,3\ntiny_2,lesion,3,2,1\n",
        "p.tsv": b"case\tclass\tx_lps\ty_lps\tz_lps\ntiny_1\torgan\t1\t2\t3\n",
    }
    for name, content in contents.items():
        yield Target(f"points {name}", name, content, lambda file: read_points(file, CASES, CLASSES))


def _tables() -> Iterator[Target]:
    rows = io.StringIO()
    csv.writer(rows).writerows([["task_or_case", "verdict", "why"], ["tiny_1", "irrelevant", "a knee, no head"]])
    yield Target("verdicts.csv", "verdicts.csv", rows.getvalue().encode(), read_table)
    yield Target("benchmark .toml", "b.toml", BENCHMARK, read_benchmark)
    yield Target("classes .toml", "c.toml", b'changes = ["rename organ liver", ["drop", "lesion"]]', _operations)
    yield Target("classes .json", "c.json", b'["rename organ liver", ["drop", "lesion"]]', _operations)
    texts = b"id,group,class,text\na,relevant,organ,an organ\nb,irrelevant,,a knee\n"
    similar = b"case,a,b\ntiny_1,0.5,0.1\ntiny_2,0.4,-0.1\ntiny_3,0,1\n"
    yield Target("texts.csv", "texts.csv", texts, _similarity, {"similarity.csv": similar})
    yield Target("similarity.csv", "similarity.csv", similar, _similarity, {"texts.csv": texts})
    rng = np.random.default_rng(0)
    arrays = {
        "cases": np.array(CASES),
        "image": rng.normal(size=(3, 4)),
        "texts": np.array(["a", "b"]),
        "text": rng.normal(size=(2, 4)),
        "corpus": rng.normal(size=(5, 4)),
    }
    content = _npz(**arrays)
    yield Target("embeddings.npz", "embeddings.npz", content, _similarity, {"texts.csv": texts})
    words = lambda file: read_words(file.parent, CASES, CLASSES)  # noqa: E731
    yield Target("words in embeddings.npz", "embeddings.npz", content, words, {"texts.csv": texts})


BENCHMARK = b"""
name = "small"
first_number = 300
methods = ["random", "clasp_pe alpha=0.5"]
seeds = [1, 2, 3]
cycles = 4

[[datasets]]
dataset = 100
patch_sizes = ["4 4 4", 6, "5mm 4mm 4mm"]
regimes = { low = 40, odd = { starting_budget = 3, query_size = 7 } }
"""


def _operations(file: Path) -> object:
    return read_operations([str(file)])


def _similarity(file: Path) -> object:
    return read_similarity(file.parent, dict.fromkeys(CASES, SHAPE), (), CLASSES)


def _npz(**arrays: Any) -> bytes:
    made = io.BytesIO()
    np.savez(made, **arrays)
    return made.getvalue()


def _arrays() -> Iterator[Target]:
    boxes = {"start": np.zeros((2, 3), int), "size": np.full((2, 3), 2), "descriptor": np.ones((2, 4), np.float32)}

    def descriptors(file: Path) -> object:
        return DescriptorFiles(file.parent, {"tiny_1": SHAPE})("tiny_1", [])

    yield Target("descriptors .npz", "tiny_1.npz", _npz(**boxes), descriptors)
    told = {
        **{"version": 1, "experiment": "x", "cycle": 1, "kind": "folds", "folds": [0, 1], "patch_mm": [5.0, 5.0, 5.0]},
        **{"seed": 1, "configuration": "3d_fullres", "plans": "p", "weights": "w", "schemes": ["ZScoreNormalization"]},
        **{"pool": [[[1.0, 1.0, 1.0], [1, 0, 0, 0, 1, 0, 0, 0, 1]]], "series": [], "spacing": None, "scores": ["extent"]},
        **{"options": {"limit": 3.0, "scores": None}, "thresholds": {}},
    }
    three = {"spacing": np.ones((3, 3)), "extent": np.ones((3, 3)), "channels": np.ones(3, int), "value_x": np.ones(3)}
    yield Target("reference .npz", "r.npz", _npz(facts=np.array(json.dumps(told)), **three), read_reference)


def _json_of_others() -> Iterator[Target]:
    task = {
        **{"id": "c000_001_tiny_1", "case": "tiny_1", "images": [{"channel": "T1", "file": "T1.nii.gz"}], "label": "x.nii.gz"},
        **{"labels": NAMES, "label_version": 0, "colours": {}, "predicted": False, "starts_blank": []},
        "space": {
            "shape_zyx": [4, 5, 6],
            "spacing_xyz": [1, 1, 1],
            "origin_lps": [0, 0, 0],
            "direction": [1, 0, 0, 0, 1, 0, 0, 0, 1],
        },
        "box": {"start_zyx": [0, 0, 0], "size_zyx": [2, 2, 2]},
    }
    yield Target("task.json", "task.json", json.dumps(task).encode(), lambda file: facts.read(file.parent))
    description = {"channel_names": {"0": "T1"}, "labels": {"background": 0, "organ": 1}, "file_ending": ".nii.gz"}
    beside = {"imagesTr/a_0000.nii.gz": b""}
    look: Callable[[Path], object] = lambda file: channels_beside(file.parent / "imagesTr")  # noqa: E731
    yield Target("dataset.json beside images", "dataset.json", json.dumps(description).encode(), look, beside)
