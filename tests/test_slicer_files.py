"""3D Slicer itself reads what we export: voxels, places, the patch's corners, colours, and the script that sets it up."""

from __future__ import annotations

import itertools
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from viewer_tasks import NAMES, TURNS, boxes_in_space, make_view, space_of

from nnactive_ext.exchange.viewers import facts, slicer
from nnactive_ext.files import write_json
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.geometry.space import Space
from nnactive_ext.pages.colours import colours

FLIP = np.array([-1.0, -1.0, 1.0])
"""LPS, which we and ITK have, to RAS, which Slicer has; and back."""


@pytest.fixture(params=TURNS)
def view(request, tmp_path):
    view = make_view(tmp_path, space_of(TURNS[request.param]), predicted=True)
    facts.write(view)
    slicer.write(view)
    return view


def run(view) -> None:
    runpy.run_path(str(view.folder / slicer.SCRIPT), run_name="__main__")


def as_ours(array: np.ndarray, affine: np.ndarray, space: Space) -> np.ndarray:
    """``array`` (z, y, x) of Slicer's, which goes from index to RAS by ``affine``, in the order of ``space``; every voxel is
    looked up by its place in the patient."""
    made = np.full(space.shape, np.nan)
    for index in np.ndindex(*array.shape):
        world = (affine @ [*index[::-1], 1])[:3] * FLIP
        exact = np.array(space.to_index(world))
        voxel = tuple(np.rint(exact).astype(int).tolist())
        np.testing.assert_allclose(exact, voxel, atol=1e-4)
        made[voxel] = array[index]
    assert not np.isnan(made).any()
    return made


def corners(space: Space, box: Patch) -> np.ndarray:
    """Of the outer faces of the patch's voxels, in RAS mm, sorted."""
    ends = [(start - 0.5, stop - 0.5) for start, stop in zip(box.start, box.stop, strict=True)]
    return in_order([np.multiply(space.to_world(corner), FLIP) for corner in itertools.product(*ends)])


def in_order(points) -> np.ndarray:
    return np.array(sorted(np.round(points, 3).tolist()))


def corners_of(roi) -> np.ndarray:
    from real_slicer import array_of

    matrix, size = array_of(roi.GetObjectToWorldMatrix()), np.array(roi.GetSize())
    signs = itertools.product(*[(-0.5, 0.5)] * 3)
    return in_order([(matrix @ [*(size * sign), 1])[:3] for sign in signs])


def test_slicer_finds_every_voxel_at_its_place(core, view):
    from real_slicer import affine_of, voxels_of

    for file, labelmap in [*((image, False) for image in view.images), (view.label, True)]:
        volume = core.volume(file, "volume", labelmap)
        expected = view.labels if labelmap else facts_of(file)
        np.testing.assert_array_equal(as_ours(voxels_of(volume), affine_of(volume), view.space), expected)


def facts_of(image: Path) -> np.ndarray:
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(sitk.ReadImage(str(image)))


def test_slicers_region_has_the_corners_of_the_patch(core, view):
    roi = core.markups(view.folder / slicer.BOX_FILE)
    np.testing.assert_allclose(corners_of(roi), corners(view.space, view.box), atol=2e-3)
    assert (roi.GetName(), bool(roi.GetLocked())) == ("query box", True)
    assert not roi.GetDisplayNode().GetHandlesInteractive()


@given(boxes_in_space())
def test_slicers_region_has_the_corners_of_any_patch(core, tmp_path_factory, given_box):
    space, box = given_box
    file = tmp_path_factory.mktemp("roi") / slicer.BOX_FILE
    write_json(file, {"@schema": slicer._SCHEMA, "markups": [slicer.roi(space, box, "box")]})
    # Faces of neighbouring voxels are 0.2 mm apart at least.
    distances = np.linalg.norm(corners_of(core.markups(file))[:, None] - corners(space, box)[None], axis=-1)
    assert distances.min(axis=0).max() < 0.01
    assert distances.min(axis=1).max() < 0.01


def test_slicers_colour_table_has_our_values_names_and_colours(core, tmp_path):
    from real_slicer import colour_of

    slicer.write_colours(NAMES, tmp_path / "labels.ctbl")
    table = core.colour_table(tmp_path / "labels.ctbl")
    assert {table.GetColorName(value): value for value in range(table.GetNumberOfColors())} == NAMES
    for name, value in NAMES.items():
        np.testing.assert_allclose(colour_of(table, value), [*np.divide(colours(NAMES)[name], 255), 0 if value == 0 else 1])


def test_the_script_sets_slicer_up(core, view, capsys):
    from real_slicer import affine_of, array_of, named, nodes, segment_voxels

    with core.as_module():
        run(view)
        settings = core.editor.settings
        node, volume = settings.GetSegmentationNode(), settings.GetSourceVolumeNode()
        ids = named(node)
        assert list(ids) == [*list(NAMES)[1:], "query_box"]
        expected = {name: view.labels == value for name, value in NAMES.items()}
        expected["query_box"] = view.labels != NAMES["ignore"]
        for name, segment in ids.items():
            held = as_ours(segment_voxels(node, segment, volume), affine_of(volume), view.space)
            np.testing.assert_array_equal(held, expected[name], err_msg=name)
            found = node.GetSegmentation().GetSegment(segment)
            assert not found.GetNameAutoGenerated(), "choosing a terminology would rename it"
            if name in NAMES:
                np.testing.assert_allclose(found.GetColor(), np.divide(colours(NAMES)[name], 255))

    assert volume.GetName().startswith("CT")
    assert core.shown == "SegmentEditor"
    assert settings.GetMaskMode() == node.EditAllowedInsideSingleSegment
    assert settings.GetMaskSegmentID() == ids["query_box"]
    assert settings.GetOverwriteMode() == settings.OverwriteVisibleSegments
    assert settings.GetSelectedSegmentID() == ids["left kidney"]
    display = node.GetDisplayNode()
    assert not display.GetSegmentVisibility(ids["query_box"])
    assert display.GetSegmentOpacity2DFill(ids["ignore"]) == 0
    roi = nodes(core.scene, "vtkMRMLMarkupsROINode")[-1]
    np.testing.assert_allclose(corners_of(roi), corners(view.space, view.box), atol=2e-3)
    assert not roi.GetDisplayNode().GetFillVisibility(), "the image under the patch would be tinted"

    middle = np.multiply(view.space.to_world(np.add(view.box.start, view.box.stop) / 2 - 0.5), FLIP)
    axes = affine_of(volume)[:3, :3] / np.linalg.norm(affine_of(volume)[:3, :3], axis=0)
    for slice_node in nodes(core.scene, "vtkMRMLSliceNode"):
        shown = array_of(slice_node.GetSliceToRAS())
        assert abs((middle - shown[:3, 3]) @ shown[:3, 2]) < 1e-3, "the slice is not in the middle of the patch"
        assert np.abs(axes.T @ shown[:3, 2]).max() > 1 - 1e-4, "the slice is not along the image's axes"
    assert {found.GetBackgroundVolumeID() for found in nodes(core.scene, "vtkMRMLSliceCompositeNode")} == {volume.GetID()}
    assert Path(node.GetStorageNode().GetFileName()) == view.folder / f"{view.task.id}.seg.nrrd"
    assert f"{view.task.id}.seg.nrrd" in capsys.readouterr().out


def test_the_script_goes_on_with_a_saved_answer(core, view):
    from real_slicer import affine_of, named, paint, save, segment_voxels

    with core.as_module():
        run(view)
        node = core.editor.settings.GetSegmentationNode()
        stroke = np.zeros(view.space.shape, bool)
        stroke[3:5] = True  # past the patch on both sides
        paint(core, named(node)["Gefäß"], stroke)
        save(node)
        run(view)
        again, volume = core.editor.settings.GetSegmentationNode(), core.editor.settings.GetSourceVolumeNode()
        assert again is not node
        assert list(named(again)) == list(named(node))
        for name, segment in named(again).items():
            held = segment_voxels(again, segment, volume)
            np.testing.assert_array_equal(held, segment_voxels(node, named(node)[name], volume), err_msg=name)
        painted = as_ours(segment_voxels(again, named(again)["Gefäß"], volume), affine_of(volume), view.space)
        assert painted.any()
        assert not painted[view.labels == NAMES["ignore"]].any()
        assert core.editor.settings.GetMaskSegmentID() == named(again)["query_box"]


@pytest.mark.parametrize("place", ["argument", "current folder", "nowhere"])
def test_the_script_finds_its_folder_without_file(core, tmp_path, place, monkeypatch, tmp_path_factory):
    from real_slicer import nodes

    view = make_view(tmp_path, space_of(TURNS["straight"]))
    view = replace(view, predicted=False)
    facts.write(view)
    slicer.write(view)
    code = compile((view.folder / slicer.SCRIPT).read_text(encoding="ascii"), "script", "exec")
    monkeypatch.chdir(view.folder if place == "current folder" else tmp_path_factory.mktemp("elsewhere"))
    monkeypatch.setattr(sys, "argv", ["Slicer"] + [str(view.folder / slicer.SCRIPT)] * (place == "argument"))
    # __file__ as a script run before, for another task, left it
    scope = {"__name__": "__main__", "__file__": str(tmp_path_factory.mktemp("other") / slicer.SCRIPT)}
    before = len(nodes(core.scene, "vtkMRMLSegmentationNode"))
    with core.as_module():
        if place == "nowhere":
            with pytest.raises(RuntimeError, match="Start Slicer in the folder of task c001_003_liver_12"):
                exec(code, scope)
        else:
            exec(code, scope)
    assert len(nodes(core.scene, "vtkMRMLSegmentationNode")) == before + (place != "nowhere")
