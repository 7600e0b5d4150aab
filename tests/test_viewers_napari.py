"""What napari opens, without napari where it is not installed: layers in place, only the box to paint, and back to disk."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from viewer_tasks import NAMES, TURNS, make_view, space_of

import nnactive_ext
from nnactive_ext.exchange.viewers import facts
from nnactive_ext.exchange.viewers.napari import get_reader, read_task, write_task_labels
from nnactive_ext.geometry.space import Space

MANIFEST = Path(nnactive_ext.__file__).parent / "napari.yaml"


@pytest.fixture(params=TURNS)
def view(request, tmp_path):
    view = make_view(tmp_path, space_of(TURNS[request.param]), predicted=True)
    facts.write(view)
    return view


def corners(array: np.ndarray) -> np.ndarray:
    return np.array([[0, 0, 0], np.subtract(array.shape, 1), [array.shape[0] - 1, 0, 0]])


def test_layers_are_where_the_images_are(view):
    *images, (rectangles, box_meta, box_kind), (labels, meta, kind) = read_task(str(view.folder))
    assert ([layer[2] for layer in images], box_kind, kind) == (["image"] * 2, "shapes", "labels")
    turn = np.reshape(view.space.direction, (3, 3))
    for data, facts_of, offset in [(images[0][0], images[0][1], (0, 0, 0)), (labels, meta, view.box.start)]:
        for corner in corners(data):
            # napari's position is along the image's own axes: turned and moved it is the patient's.
            position = corner * np.asarray(facts_of["scale"]) + facts_of.get("translate", 0)
            world = turn @ position[::-1] + view.space.origin
            np.testing.assert_allclose(world, view.space.to_world(corner + offset), atol=1e-6)
    for number, (data, image_meta, _) in enumerate(images):
        np.testing.assert_array_equal(data, sitk.GetArrayFromImage(sitk.ReadImage(str(view.images[number]))))
        assert image_meta["name"] == view.channels[number]
    np.testing.assert_array_equal(labels, view.labels[view.box.slices])
    assert dict(zip(meta["features"]["label"], meta["features"]["index"], strict=True)) == NAMES
    assert box_meta["scale"] == meta["scale"]
    assert len(rectangles) == view.box.size[0]
    np.testing.assert_array_equal(np.min(rectangles, axis=(0, 1))[1:] + 0.5, view.box.start[1:])
    np.testing.assert_array_equal(np.max(rectangles, axis=(0, 1))[1:] + 0.5, view.box.stop[1:])
    np.testing.assert_array_equal(np.unique(np.array(rectangles)[..., 0]), range(view.box.start[0], view.box.stop[0]))


def test_painted_labels_come_back_on_the_lattice_of_the_task(view):
    labels, meta, _ = read_task(str(view.folder))[-1]
    labels[1, 2, 0] = 3
    target = str(view.label)
    assert write_task_labels(target, labels, meta) == [target]
    image = sitk.ReadImage(target)
    expected = view.labels.copy()
    expected[view.box.slices][1, 2, 0] = 3
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), expected)
    np.testing.assert_allclose(Space.of_image(image).affine, view.space.affine, atol=1e-5)
    np.testing.assert_array_equal(read_task(str(view.folder))[-1][0], labels)


def test_what_is_no_task_is_refused(view, tmp_path):
    assert get_reader(str(view.folder)) is read_task
    assert get_reader(str(view.folder / "task.json")) is read_task
    assert get_reader(str(tmp_path)) is None
    assert get_reader([str(view.folder)]) is None
    labels, meta, _ = read_task(str(view.folder))[-1]
    with pytest.raises(ValueError, match="opened with a task folder"):
        write_task_labels(str(view.label), labels, {"metadata": {}})
    with pytest.raises(ValueError, match="instead of the box's"):
        write_task_labels(str(view.label), labels[1:], meta)
    sitk.WriteImage(view.space.crop(view.box).image(labels), str(view.label))
    with pytest.raises(ValueError, match="voxels"):
        read_task(str(view.folder))


def test_the_manifest_names_functions_that_exist():
    text = MANIFEST.read_text(encoding="utf-8")
    found = re.findall(r"python_name: (.*):(.*)", text)
    assert [getattr(importlib.import_module(module), name) for module, name in found] == [get_reader, write_task_labels]
    assert set(re.findall(r"command: (.*)", text)) == set(re.findall(r"id: (.*)", text))


def test_the_manifest_is_valid():
    npe2 = pytest.importorskip("npe2")
    assert npe2.PluginManifest.from_file(MANIFEST).name == "nnactive-ext"


@pytest.mark.slow
def test_napari_opens_a_task_and_saves_it(view):
    pytest.importorskip("napari")
    import npe2
    from napari.components import ViewerModel

    manager = npe2.PluginManager.instance()
    if "nnactive-ext" not in manager:
        manager.register(npe2.PluginManifest.from_file(MANIFEST))
    viewer = ViewerModel()
    viewer.open(str(view.folder), plugin="nnactive-ext")
    assert [layer.name for layer in viewer.layers] == ["CT", "PET", "query box", view.task.id]
    layer = viewer.layers[-1]
    assert viewer.layers.selection.active is layer
    np.testing.assert_allclose(layer.data_to_world((0, 0, 0)), viewer.layers[0].data_to_world(view.box.start))
    layer.selected_label = 3
    layer.paint((1, 2, 0), 3)
    expected = view.labels.copy()
    expected[view.box.slices] = layer.data
    assert (expected == 3).any()
    viewer.layers.save(str(view.label), selected=True, plugin="nnactive-ext")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(view.label))), expected)
