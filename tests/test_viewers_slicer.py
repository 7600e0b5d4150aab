"""What 3D Slicer opens: the box is where it should be, and the script asks Slicer for what it should."""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path
from unittest.mock import MagicMock

import jsonschema
import numpy as np
import pytest
import SimpleITK as sitk
import slicerio
from hypothesis import given
from viewer_tasks import NAMES, TURNS, boxes_in_space, make_view, space_of

from nnactive_ext.exchange.viewers import facts, slicer
from nnactive_ext.geometry.space import Space
from nnactive_ext.pages.colours import colours

SCHEMA = Path(__file__).parent.parent.parent / "shared" / "spec" / "slicer-markups-schema-v1.0.3.json"


def test_the_box_follows_slicers_schema(tmp_path):
    if not SCHEMA.is_file():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{SCHEMA} is missing")
        pytest.skip("needs Slicer's schema, which is not ours to hand on")
    view = make_view(tmp_path, space_of(TURNS["oblique"]))
    slicer.write(view)
    content = json.loads((view.folder / slicer.BOX_FILE).read_text())
    schema = json.loads(SCHEMA.read_text())
    jsonschema.validate(content, schema)
    # The schema lets unknown keys pass: what we write should be known to it.
    (markup,) = content["markups"]
    known = schema["properties"]["markups"]["items"]["anyOf"][0]["properties"]
    assert set(markup) <= set(known)
    assert set(markup["display"]) - {"fillVisibility"} <= set(known["display"]["properties"])  # newer than the schema
    assert set(markup["controlPoints"][0]) <= set(known["controlPoints"]["items"]["anyOf"][0]["properties"])
    del markup["size"][2]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema)


@given(boxes_in_space())
def test_the_box_leads_back_to_its_voxels(given_box):
    """A voxel is in the box of the image exactly if its centre is in the box of the markup."""
    space, box = given_box
    markup = slicer.roi(space, box, "box")
    axes = np.reshape(markup["orientation"], (3, 3))
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
    assert np.linalg.det(axes) > 0
    index = np.stack(np.meshgrid(*map(np.arange, space.shape), indexing="ij"), -1).reshape(-1, 3)
    world = index[:, ::-1] @ space.affine[:3, :3].T + space.origin
    inside = np.abs((world - markup["center"]) @ axes) < np.asarray(markup["size"]) / 2
    expected = np.zeros(space.shape, bool)
    expected[box.slices] = True
    np.testing.assert_array_equal(inside.all(1).reshape(space.shape), expected)
    # And its faces are those of the voxels: half a voxel outside the outermost centres.
    np.testing.assert_allclose(markup["size"], np.multiply(box.size[::-1], space.spacing))
    assert markup["controlPoints"][0]["position"] == markup["center"]


def test_colour_table(tmp_path):
    slicer.write_colours(NAMES, tmp_path / "labels.ctbl")
    rows = [line.split(" ") for line in (tmp_path / "labels.ctbl").read_text(encoding="utf-8").splitlines()]
    assert rows[0][0] == "#"
    assert {row[1].replace("_", " "): int(row[0]) for row in rows if row[0] != "#"} == NAMES
    assert all(len(row) == 6 for row in rows if row[0] != "#")


class Volume:
    """A loaded volume, with the third axis reversed if its axes are left-handed, as Slicer has it."""

    def __init__(self, file: str):
        image = sitk.ReadImage(file)
        if np.linalg.det(np.reshape(image.GetDirection(), (3, 3))) < 0:
            image = sitk.Flip(image, [False, False, True])
        self.file, self.array, self.space = file, sitk.GetArrayFromImage(image), Space.of_image(image)

    def GetRASToIJKMatrix(self, matrix):
        matrix.values = np.linalg.inv(np.diag([-1, -1, 1, 1]) @ self.space.affine)


class Matrix:
    def MultiplyPoint(self, point):
        return tuple(self.values @ np.asarray(point))


class Segmentation:
    """As much of a segmentation as the script touches, with the segments' voxels."""

    def __init__(self):
        self.names, self.voxels, self.lattice, self.colours = {}, {}, None, {}
        self.display, self.storage = MagicMock(), MagicMock()

    def AddEmptySegment(self, given, name, colour):
        segment = f"Segment_{len(self.names) + 1}"
        self.names[name], self.colours[name] = segment, colour
        return segment

    def GetSegmentIdBySegmentName(self, name):
        return self.names.get(name, "")

    def GetSegmentation(self):
        return self

    def GetDisplayNode(self):
        return self.display

    def GetStorageNode(self):
        return self.storage

    CreateDefaultDisplayNodes = SetReferenceImageGeometryParameterFromVolumeNode = AddDefaultStorageNode = MagicMock()


@pytest.fixture
def application(monkeypatch):
    """Slicer as the script sees it: a mock that reads volumes and keeps segments."""
    application = MagicMock()
    application.util.loadVolume.side_effect = lambda file, properties: Volume(file)
    application.util.loadLabelVolume.side_effect = Volume
    application.util.arrayFromVolume.side_effect = lambda volume: volume.array
    application.segmentation = Segmentation()
    application.mrmlScene.AddNewNodeByClass.side_effect = lambda kind, name: application.segmentation

    def update(voxels, node, segment, volume):
        node.voxels[segment], node.lattice = voxels, volume.space

    application.util.updateSegmentBinaryLabelmapFromArray.side_effect = update
    application.editor = application.modules.segmenteditor.widgetRepresentation().self().editor
    monkeypatch.setitem(sys.modules, "slicer", application)
    vtk = MagicMock()
    vtk.vtkMatrix4x4 = Matrix
    monkeypatch.setitem(sys.modules, "vtk", vtk)
    return application


def run(view) -> None:
    runpy.run_path(str(view.folder / slicer.SCRIPT), run_name="__main__")


@pytest.fixture(params=TURNS)
def view(request, tmp_path):
    view = make_view(tmp_path, space_of(TURNS[request.param]), predicted=True)
    facts.write(view)
    slicer.write(view)
    return view


def test_the_script_sets_slicer_up(view, application, capsys):
    run(view)
    loaded = [call.args[0] for call in application.util.loadVolume.call_args_list]
    assert loaded == [str(file) for file in view.images]
    assert [call.args[1] for call in application.util.loadVolume.call_args_list] == [{"name": "CT"}, {"name": "PET"}]
    assert Path(application.util.loadMarkups.call_args.args[0]) == view.folder / slicer.BOX_FILE
    background = application.util.setSliceViewerLayers.call_args.kwargs["background"]
    assert background.file == str(view.images[0])

    # Where Slicer has the voxels, each segment is where the label map has its label, and the box where the box is.
    node = application.segmentation
    assert list(node.names) == [*list(NAMES)[1:], "query_box"]
    index = np.stack(np.meshgrid(*map(np.arange, node.lattice.shape), indexing="ij"), -1).reshape(-1, 3)
    back = np.rint([view.space.to_index(node.lattice.to_world(voxel)) for voxel in index]).astype(int)
    labels = view.labels[tuple(back.T)].reshape(node.lattice.shape)
    for name, value in list(NAMES.items())[1:]:
        found = node.voxels.get(node.names[name], np.zeros(labels.shape))
        np.testing.assert_array_equal(found, labels == value)
        np.testing.assert_allclose(node.colours[name], np.divide(colours(NAMES)[name], 255))
    np.testing.assert_array_equal(node.voxels[node.names["query_box"]], labels != NAMES["ignore"])

    settings = application.editor.mrmlSegmentEditorNode()
    settings.SetMaskMode.assert_called_once_with(application.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    settings.SetMaskSegmentID.assert_called_once_with(node.names["query_box"])
    settings.SetOverwriteMode.assert_called_once_with(application.vtkMRMLSegmentEditorNode.OverwriteVisibleSegments)
    node.display.SetSegmentVisibility.assert_called_once_with(node.names["query_box"], False)
    node.display.SetSegmentOpacity2DFill.assert_called_once_with(node.names["ignore"], 0.0)
    application.editor.setCurrentSegmentID.assert_called_once_with(node.names["left kidney"])
    _, *centre, _ = application.vtkMRMLSliceNode.JumpAllSlices.call_args.args
    middle = view.space.to_world([a + (n - 1) / 2 for a, n in zip(view.box.start, view.box.size, strict=True)])
    np.testing.assert_allclose(centre, np.multiply(middle, (-1, -1, 1)), atol=1e-6)
    node.storage.SetFileName.assert_called_once_with(str(view.folder / f"{view.task.id}.seg.nrrd"))
    assert f"{view.task.id}.seg.nrrd" in capsys.readouterr().out


def test_the_script_goes_on_with_a_saved_answer(view, application):
    (view.folder / f"{view.task.id}.seg.nrrd").touch()
    application.segmentation.names = {name: name for name in [*list(NAMES)[1:], "query_box"]}
    application.util.loadSegmentation.side_effect = lambda file: application.segmentation
    run(view)
    assert Path(application.util.loadSegmentation.call_args.args[0]).name == f"{view.task.id}.seg.nrrd"
    application.util.loadLabelVolume.assert_not_called()
    application.editor.mrmlSegmentEditorNode().SetMaskSegmentID.assert_called_once_with("query_box")


@pytest.mark.parametrize("place", ["argument", "current folder", "nowhere"])
def test_the_script_finds_its_folder_without_file(view, application, place, monkeypatch, tmp_path_factory):
    code = compile((view.folder / slicer.SCRIPT).read_text(encoding="ascii"), "script", "exec")
    monkeypatch.chdir(view.folder if place == "current folder" else tmp_path_factory.mktemp("elsewhere"))
    monkeypatch.setattr(sys, "argv", ["Slicer"] + [str(view.folder / slicer.SCRIPT)] * (place == "argument"))
    # __file__ as a script run before, for another task, left it
    scope = {"__name__": "__main__", "__file__": str(tmp_path_factory.mktemp("other") / slicer.SCRIPT)}
    if place == "nowhere":
        with pytest.raises(RuntimeError, match="Start Slicer in the folder of task c001_003_liver_12"):
            exec(code, scope)
    else:
        exec(code, scope)
        application.editor.setSegmentationNode.assert_called_once()


def test_a_segmentation_of_slicers_keeps_our_names(tmp_path):
    """As Slicer would save it: a segment of each label, and the box, which overlaps them, in a layer of its own."""
    view = make_view(tmp_path, space_of(TURNS["oblique"]), predicted=True)
    voxels = view.labels.T
    names = {name: value for name, value in NAMES.items() if value and name.isascii()}  # pynrrd writes ASCII only
    saved = slicerio.create_segmentation(voxels.shape, view.space.affine)
    for name, value in names.items():
        colour = [part / 255 for part in colours(NAMES)[name]]
        slicerio.add_segment(saved, voxels == value, {"id": f"Segment_{value}", "name": name, "color": colour})
    slicerio.add_segment(saved, voxels != NAMES["ignore"], {"id": "Segment_9", "name": "query_box"})
    slicerio.write_segmentation(str(tmp_path / "answer.seg.nrrd"), saved)
    found = slicerio.read_segmentation(str(tmp_path / "answer.seg.nrrd"))
    assert slicerio.segment_names(found) == [*names, "query_box"]
    np.testing.assert_allclose(found["ijkToLPS"], view.space.affine, atol=1e-6)
    kidney = slicerio.segment_from_name(found, "left kidney")
    np.testing.assert_array_equal(slicerio.segment_mask(found, kidney), voxels == 1)
    for segment in found["segments"][:-1]:
        np.testing.assert_allclose(segment["color"], np.divide(colours(NAMES)[segment["name"]], 255), atol=1e-6)
