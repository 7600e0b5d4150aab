"""What ITK-SNAP, MITK and people open: formats as documented, and nothing that ties a folder to the place it was made in."""

from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from viewer_tasks import NAMES, TURNS, make_view, space_of

from nnactive_ext.exchange.viewers import facts, itksnap, mitk
from nnactive_ext.exchange.viewers.all import write_list, write_task
from nnactive_ext.files import read_json
from nnactive_ext.geometry.space import Space
from nnactive_ext.pages.colours import colours

PER_TASK = {"task.json", "box.mrk.json", "open_in_slicer.py", "task.itksnap", "mitk_start.nrrd"}
PER_LIST = {"labels.txt", "labels.ctbl", "labels.json", "cycle_01_mitk.json", "README.txt"}


@pytest.fixture(params=TURNS)
def view(request, tmp_path):
    view = make_view(tmp_path, space_of(TURNS[request.param]))
    write_task(view)
    return view


@pytest.fixture
def views(tmp_path):
    space = space_of(TURNS["oblique"])
    views = [make_view(tmp_path, space, number, predicted=number == 2) for number in range(3)]
    for view in views:
        write_task(view)
    write_list(views, tmp_path, NAMES, 504, "cycle_01")
    return views


@pytest.mark.parametrize("count", [1, 2, 7, 8, 120])
def test_colours_are_distinct_and_do_not_depend_on_what_follows(count):
    names = {"background": 0} | {f"label {i}": i for i in range(1, count + 1)} | {"ignore": count + 1}
    found = colours(names)
    assert list(found) == list(names)
    assert (found["background"], found["ignore"]) == ((0, 0, 0), (128, 128, 128))
    assert len(set(found.values())) == count + 2
    assert found["label 1"] == (230, 159, 0)
    assert all(0 <= part <= 255 for colour in found.values() for part in colour)


def test_every_file_is_written_and_no_other(views, tmp_path):
    for view in views:
        given = {file.name for file in (*view.images, view.label)}
        assert {file.name for file in view.folder.iterdir()} == PER_TASK | given
        # Answers are recognised by the task's id in their name.
        assert not any(view.task.id in name for name in PER_TASK)
    assert {file.name for file in tmp_path.iterdir() if file.is_file()} == PER_LIST


def test_task_json_says_where_everything_is(view):
    content, space, box = facts.read(view.folder)
    assert (space, box) == (view.space, view.box)
    assert content["labels"] == NAMES
    assert [image["channel"] for image in content["images"]] == ["CT", "PET"]
    for name in [content["label"], *(image["file"] for image in content["images"])]:
        assert (view.folder / name).is_file()
    image = sitk.ReadImage(str(view.label))
    values = sitk.GetArrayFromImage(image)
    for end in ("first_voxel_lps", "last_voxel_lps"):
        x, y, z = image.TransformPhysicalPointToIndex(content["box"][end])
        assert values[z, y, x] == 0
    assert np.prod(content["box"]["size_zyx"]) == (values == 0).sum()


def entries(element: ET.Element, path: str = "") -> dict[str, str]:
    found = {}
    for child in element:
        key = f"{path}.{child.get('key')}" if path else child.get("key")
        if child.tag == "folder":
            found |= entries(child, key)
        else:
            assert child.tag == "entry"
            assert key not in found
            found[key] = child.get("value")
    return found


def test_itksnap_workspace(view):
    root = ET.parse(view.folder / "task.itksnap").getroot()
    assert root.tag == "registry"
    found = entries(root)
    layers = [(found[f"Layers.Layer[{i:03}].AbsolutePath"], found[f"Layers.Layer[{i:03}].Role"]) for i in range(3)]
    assert [role for _, role in layers] == ["MainRole", "SegmentationRole", "OverlayRole"]
    assert [Path(file) for file, _ in layers] == [view.images[0], view.label, view.images[1]]
    settings = {key.partition("ProjectMetaData.")[2]: value for key, value in found.items() if "ProjectMetaData" in key}
    image = sitk.ReadImage(str(view.label))
    assert settings["Files.Grey.Dimensions"] == " ".join(map(str, image.GetSize()))
    start, size = (
        [int(settings[f"IRIS.BoundingBox.ROIBox[{axis}].{what}"]) for axis in range(3)] for what in ("Index", "Size")
    )
    region = sitk.GetArrayFromImage(sitk.RegionOfInterest(image, size, start))
    assert (region == 0).all()
    assert region.size == (sitk.GetArrayFromImage(image) == 0).sum()
    assert settings["IRIS.LabelState.CoverageMode"] == "OverOne"
    assert (settings["IRIS.LabelState.OverwriteLabel"], settings["IRIS.LabelState.DrawingLabel"]) == ("0", "1")
    assert settings["IRIS.LabelTable.NumberOfElements"] == "4"
    labels = {}
    for number in range(4):
        element = f"IRIS.LabelTable.Element[{number}]"
        labels[settings[f"{element}.Label"]] = int(settings[f"{element}.Index"])
        assert settings[f"{element}.Flags"] == ("0 0" if settings[f"{element}.Label"] == "ignore" else "1 1")
        assert all(0 <= int(part) <= 255 for part in settings[f"{element}.Color"].split())
    assert labels == {name: value for name, value in NAMES.items() if value}


def test_itksnap_finds_the_files_of_a_copied_folder(view, tmp_path_factory):
    """ITK-SNAP's rule: the part of a path after SaveLocation, put behind the folder the workspace is in now."""
    copy = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(view.folder, copy)
    shutil.rmtree(view.folder)
    found = entries(ET.parse(copy / "task.itksnap").getroot())
    paths = [value for key, value in found.items() if key.endswith("AbsolutePath")]
    assert len(paths) == 3
    for path in paths:
        assert path.startswith(found["SaveLocation"] + "/")
        assert (copy / path.removeprefix(found["SaveLocation"] + "/")).is_file()


def test_itksnap_label_file(tmp_path):
    itksnap.write_labels(NAMES, tmp_path / "labels.txt")
    lines = (tmp_path / "labels.txt").read_text(encoding="utf-8").splitlines()
    assert lines[1] == "# ITK-SnAP Label Description File"
    shown = {}
    for line in lines:
        if not line.startswith("#"):
            row = re.fullmatch(r'\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+([\d.]+)\s+([01])\s+([01])\s+"([^"]*)"', line)
            assert row, line
            shown[row[8]] = (int(row[1]), row[6])
            assert tuple(map(int, row.group(2, 3, 4))) in colours(NAMES).values()
    expected = {"background": (0, "0"), "left kidney": (1, "1"), "cyst '<&>'": (2, "1"), "Gefäß": (3, "1")}
    assert shown == expected | {"ignore": (4, "0")}


def test_mitk_list(views, tmp_path, tmp_path_factory):
    copy = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(tmp_path, copy)
    content = read_json(copy / "cycle_01_mitk.json")
    assert set(content) == {"FileFormat", "Version", "Name", "Defaults", "Tasks"}
    assert (content["FileFormat"], content["Version"]) == ("MITK Segmentation Task List", 1)
    assert content["Defaults"] == {"LabelNameSuggestions": "labels.json"}
    assert [task["Name"] for task in content["Tasks"]] == [view.task.id for view in views]
    for task in content["Tasks"]:
        assert set(task) == {"Name", "Description", "Image", "Segmentation", "Result"}
        assert (copy / task["Image"]).is_file()
        assert (copy / task["Segmentation"]).is_file()
        assert (copy / task["Result"]).parent.is_dir()
        assert not (copy / task["Result"]).exists()  # MITK takes a task with a result for done
        assert Path(task["Result"]).name == task["Name"] + "_mitk.nrrd"  # as README.txt says
        assert "\\" not in task["Result"]
    assert len({task["Result"] for task in content["Tasks"]}) == 3
    suggestions = read_json(copy / "labels.json")
    assert [entry["name"] for entry in suggestions] == list(NAMES)[1:]
    assert all(re.fullmatch("#[0-9a-f]{6}", entry["color"]) and len(entry) == 2 for entry in suggestions)


def test_mitk_starts_from_named_labels(view):
    image = sitk.ReadImage(str(view.folder / mitk.START))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), view.labels)
    np.testing.assert_allclose(Space.of_image(image).affine, view.space.affine, atol=1e-6)
    assert image.GetPixelID() == sitk.sitkUInt16
    assert image.GetMetaData("modality") == "org.mitk.multilabel.segmentation"
    assert image.GetMetaData("org.mitk.multilabel.segmentation.version") == "1"
    (group,) = json.loads(image.GetMetaData("org.mitk.multilabel.segmentation.labelgroups"))
    assert {label["name"]: label["value"] for label in group["labels"]} == {name: v for name, v in NAMES.items() if v}
    assert [label["name"] for label in group["labels"] if label["locked"]] == ["ignore"]


def test_readme_says_what_to_do(views, tmp_path):
    text = (tmp_path / "README.txt").read_text(encoding="utf-8")
    for expected in (
        "nnactive_annotate import -d 504 FOLDER -who NAME",
        "annotate: 3 (cycle_01)",
        "correct it",
        *NAMES,
        *PER_LIST - {"README.txt"},
    ):
        if expected != "labels.json":  # MITK finds it by itself
            assert expected in text, expected
    assert max(map(len, text.splitlines())) <= 128
    write_list(views[:1], tmp_path, NAMES, 504, "cycle_01")
    assert "starts empty" in (tmp_path / "README.txt").read_text(encoding="utf-8")
