"""What is painted in 3D Slicer itself and saved or exported by it becomes the labels, voxel for voxel, or is refused."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scripted_expert as expert
import SimpleITK as sitk
from folders import set_folders
from open_tasks import OpenTasks, copied, made_in, make
from rollouts import assert_simulated
from viewer_tasks import TURNS

from nnactive_ext.exchange.viewers import slicer
from nnactive_ext.geometry.space import Space

CLASSES = ("organ", "lesion")


def turned(built_once: Callable, dataset: Path, how: str) -> SimpleNamespace:
    """A roll-out with its first tasks out, read only; all images with the axes that ``how`` names, or each with others, which
    nnU-Net then reads as RAS."""
    turns = list(TURNS.values()) if how == "mixed" else [TURNS[how]]

    def build(root: Path) -> None:
        made = Path(shutil.copytree(dataset, root / "dataset" / dataset.name))
        for file in made.glob("*Tr/*.nii.gz"):
            image = sitk.ReadImage(str(file))
            image.SetDirection(turns[int(file.name.split("_")[1][0]) % len(turns)].ravel().tolist())
            sitk.WriteImage(image, str(file), True)
        with pytest.MonkeyPatch.context() as monkeypatch:
            make(set_folders(monkeypatch, root), made)

    return made_in(built_once(f"turned_{how}", build))


@pytest.fixture
def tasks(built_once, tiny_template, nnunet_folders, tmp_path, quick_planning, request) -> OpenTasks:
    """In images with left-handed axes, one of which Slicer reverses, or as the test's ``how`` says."""
    how = request.node.callspec.params.get("how", "left_handed") if hasattr(request.node, "callspec") else "left_handed"
    return copied(turned(built_once, tiny_template, how), nnunet_folders, tmp_path)


@pytest.fixture
def task(tasks: OpenTasks) -> expert.Seen:
    """One around a lesion."""
    (found,) = (task for task in tasks.seen if task.id.endswith("tiny_2"))
    assert {1, 2} <= set(np.unique(found.truth[found.box]))
    return found


def open_script(core: Any, task: expert.Seen) -> Any:
    """As the expert begins: the segmentation that the script sets up; only inside ``Core.as_module``."""
    runpy.run_path(str(task.folder / slicer.SCRIPT), run_name="__main__")
    return core.editor.settings.GetSegmentationNode()


def open_image(core: Any, task: expert.Seen) -> Any:
    return core.volume(task.folder / "image_T1.nii.gz", "T1")


def where(core: Any, task: expert.Seen, labels: np.ndarray) -> np.ndarray:
    """Labels (z, y, x) of the exported label map on the grid that Slicer edits."""
    from real_slicer import as_slicers

    return as_slicers(labels, core.editor.settings.GetSourceVolumeNode(), Space.of_image(task.shown))


def paint_truth(core: Any, node: Any, task: expert.Seen, classes: tuple[str, ...] = CLASSES) -> None:
    """Each class wherever it is, in the patch or not."""
    from real_slicer import named, paint

    truth = where(core, task, task.truth)
    for name in classes:
        paint(core, named(node)[name], truth == task.names[name])


def expected(task: expert.Seen) -> np.ndarray:
    return task.truth[task.box]


def accepted(tasks: OpenTasks, task: expert.Seen, labels: np.ndarray, more: str = "") -> None:
    tasks.hand_in(task.folder, more=more)
    np.testing.assert_array_equal(tasks.counted(task), labels)


def refused(tasks: OpenTasks, task: expert.Seen, capsys, *words: str) -> None:
    capsys.readouterr()
    with pytest.raises(SystemExit, match="1"):
        tasks.hand_in(task.folder, more="--accept_unchanged")
    said = capsys.readouterr().err
    assert all(word in said for word in words), said
    assert tasks.book.status(task.id) == "open"


@pytest.mark.parametrize(
    "how", ["left_handed", *(pytest.param(how, marks=pytest.mark.slow) for how in ("sagittal", "oblique", "mixed"))]
)
def test_what_is_painted_in_slicer_ends_in_labels_tr(core, tasks, tmp_path, how):
    """All tasks: too much, over each other and over the edge of the patch, then corrected."""
    from real_slicer import erase, named, paint, save

    with core.as_module():
        for task in tasks.seen:
            node = open_script(core, task)
            everywhere = np.ones(where(core, task, task.truth).shape, bool)
            paint(core, named(node)["lesion"], everywhere)
            paint_truth(core, node, task)
            erase(core, named(node)["lesion"], where(core, task, task.truth) != task.names["lesion"])
            file = save(node)
            assert file.name == f"{task.id}.seg.nrrd"
    tasks.hand_in()
    assert len(tasks.events()) == len(tasks.seen)
    assert {event["outside"] for event in tasks.events()} == {0}
    tasks.annotate("close --disable_progress_bar")
    assert_simulated(tasks, tmp_path)


@pytest.mark.parametrize("cut", [False, True])
def test_a_segmentation_that_was_cut_to_minimum_extent(core, tasks, task, cut):
    """Without the frame of ignore, which would keep it at full extent."""
    from real_slicer import named, save

    with core.as_module():
        node = open_script(core, task)
        paint_truth(core, node, task)
        for helper in ("ignore", "query_box"):
            node.GetSegmentation().RemoveSegment(named(node)[helper])
        file = save(node, cut=cut)
    assert (np.prod(sitk.ReadImage(str(file)).GetSize()) < task.truth.size) == cut
    accepted(tasks, task, expected(task))


def test_an_own_segmentation_in_several_layers(core, tasks, task):
    """Segments that overlap where one of them is ignore, in another order than the dataset's, of a scene of one's own."""
    from real_slicer import named, new_segmentation, paint, save

    with core.as_module():
        node = new_segmentation(core, open_image(core, task), task.id, "Lesion", "ignore", "ORGAN")
        core.editor.settings.SetOverwriteMode(core.editor.settings.OverwriteNone)
        inside = np.zeros(task.truth.shape, bool)
        inside[task.box] = True
        for name, value in (("Lesion", 2), ("ORGAN", 1)):
            paint(core, named(node)[name], where(core, task, inside & (task.truth == value)))
        inside[task.box[0].start + 1 :] = False
        paint(core, named(node)["ignore"], where(core, task, inside))
        file = save(node, task.folder / f"{task.id}.seg.nrrd")
    assert sitk.ReadImage(str(file)).GetNumberOfComponentsPerPixel() == 2
    labels = expected(task)
    labels[0] = task.names["ignore"]
    accepted(tasks, task, labels)


def test_two_classes_on_one_voxel_are_refused(core, tasks, task, capsys):
    from real_slicer import named, paint, save

    with core.as_module():
        node = open_script(core, task)
        paint_truth(core, node, task)
        core.editor.settings.SetOverwriteMode(core.editor.settings.OverwriteNone)
        paint(core, named(node)["organ"], where(core, task, task.truth > 0))
        save(node)
    refused(tasks, task, capsys, f"{int((expected(task) == 2).sum())} voxel", "'organ'", "'lesion'")


def test_a_patch_in_which_nothing_is(core, tasks, task, capsys):
    """Said by the frame that the script keeps; a segmentation without a voxel says nothing."""
    from real_slicer import new_segmentation, save

    with core.as_module():
        save(new_segmentation(core, open_image(core, task), task.id, *CLASSES), task.folder / f"{task.id}.seg.nrrd")
        refused(tasks, task, capsys, "no segment has a voxel")
        (task.folder / f"{task.id}.seg.nrrd").unlink()
        save(open_script(core, task))
    accepted(tasks, task, np.zeros_like(expected(task)))


def test_a_finer_grid_is_refused(core, tasks, task, capsys):
    """As "Specify geometry" with oversampling makes it."""
    from real_slicer import finer, named, new_segmentation, paint, save

    with core.as_module():
        volume = finer(core, open_image(core, task))
        node = new_segmentation(core, volume, task.id, *CLASSES)
        paint(core, named(node)["organ"], np.ones(volume.GetImageData().GetDimensions()[::-1], bool))
        save(node, task.folder / f"{task.id}.seg.nrrd")
    refused(tasks, task, capsys, f"{task.id}.seg.nrrd", "spacing")


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("classes", [CLASSES, ("organ",), ("lesion",)])
def test_a_segmentation_for_each_class(core, tasks, task, cut, classes):
    """Cut, their extents differ; that of a class that is not there has no voxel and no place."""
    from real_slicer import named, new_segmentation, paint, save

    labels = np.where(np.isin(task.truth, [task.names[name] for name in classes]), task.truth, 0)
    sizes = set()
    with core.as_module():
        volume = open_image(core, task)
        for name in CLASSES:
            node = new_segmentation(core, volume, f"{task.id}_{name}", name)
            inside = np.zeros(task.truth.shape, bool)
            inside[task.box] = labels[task.box] == task.names[name]
            paint(core, named(node)[name], where(core, task, inside))
            sizes.add(sitk.ReadImage(str(save(node, task.folder / f"{task.id}_{name}.seg.nrrd", cut))).GetSize())
    assert len(sizes) == 1 + cut
    accepted(tasks, task, labels[task.box])


@pytest.mark.parametrize("ending", ["nrrd", "nii.gz"])
@pytest.mark.parametrize("names", [("organ", "lesion", "ignore"), ("lesion", "ignore"), ("ignore", "lesion", "organ")])
@pytest.mark.parametrize("ours", [False, True])
def test_exported_to_files(core, tasks, task, ending, names, ours):
    """Slicer numbers what it exports by the order of the segments, and writes their names into a table beside the file; with
    our colour table it has our values."""
    from real_slicer import export_files

    with core.as_module():
        node = open_script(core, task)
        paint_truth(core, node, task)
        table = core.colour_table(tasks.out / "labels.ctbl") if ours else None
        export_files(core, node, core.editor.settings.GetSourceVolumeNode(), task.folder, ending, names, table)
    table = task.folder / f"{task.id}.labels.csv"
    assert table.is_file()
    labels = np.where(np.isin(expected(task), [task.names[name] for name in names]), expected(task), 0)
    if ours:
        table.unlink()
    tasks.hand_in(task.folder / f"{task.id}.{ending}" if len(names) == 2 else task.folder)
    np.testing.assert_array_equal(tasks.counted(task), labels)
    kept = {file.name.split("_", 1)[1] for file in (tasks.ledger.folder / "received").iterdir()}
    assert kept - {"points.csv"} == {f"{task.id}.{ending}", *({table.name} if not ours else ())}


@pytest.mark.parametrize("ending", ["csv", "ctbl", "txt"])
def test_exported_to_a_label_map_and_saved(core, tasks, task, ending):
    """File > Save Data then saves the label map and its colour table, each by its own name."""
    from real_slicer import export_label_map, save

    with core.as_module():
        node = open_script(core, task)
        paint_truth(core, node, task)
        made = export_label_map(core, node, core.editor.settings.GetSourceVolumeNode(), ("lesion", "ignore", "organ"))
        table = made.GetDisplayNode().GetColorNode()
        assert table.GetName().startswith(f"{task.id}_ColorTable")
        save(made, task.folder / f"{task.id}-label.nrrd")
        save(table, task.folder / f"{task.id}_ColorTable.{ending}")
    accepted(tasks, task, expected(task))


def test_the_box_exported_too_covers_the_paint_and_is_refused(core, tasks, task, capsys):
    from real_slicer import export_files, named

    with core.as_module():
        node = open_script(core, task)
        paint_truth(core, node, task)
        export_files(core, node, core.editor.settings.GetSourceVolumeNode(), task.folder, "nrrd", list(named(node)))
    refused(tasks, task, capsys, f"{task.id}.nrrd", "query_box", "visible")
    # Without the table, its value is none of the dataset's.
    (task.folder / f"{task.id}.labels.csv").unlink()
    refused(tasks, task, capsys, f"{task.id}.nrrd", "4 (")


def test_tables_that_differ_or_cannot_be_read_are_refused(core, tasks, task, capsys):
    from real_slicer import export_files

    with core.as_module():
        node = open_script(core, task)
        paint_truth(core, node, task)
        export_files(core, node, core.editor.settings.GetSourceVolumeNode(), task.folder, "nrrd", (*CLASSES, "ignore"))
    table, other = task.folder / f"{task.id}.labels.csv", task.folder / f"{task.id}_ColorTable.ctbl"
    other.write_text("# Color table file\n1 lesion 0 0 0 255\n2 organ 0 0 0 255\n3 ignore 0 0 0 255\n")
    refused(tasks, task, capsys, f"{task.id}.nrrd", table.name, other.name)
    other.unlink()
    whole = table.read_text()
    table.write_text("value,meaning\n1,organ\n")
    refused(tasks, task, capsys, f"{task.id}.nrrd", table.name)
    table.write_text(whole)
    accepted(tasks, task, expected(task))


def test_the_label_map_itself_edited_and_saved_in_slicer(core, tasks, task):
    """As a volume: Slicer writes it on its own grid, on which an axis may be reversed."""
    import slicer as application
    from real_slicer import as_slicers, save, voxels_of

    with core.as_module():
        volume = core.volume(task.label, task.id, labelmap=True)
        assert not np.array_equal(as_slicers(task.truth, volume, Space.of_image(task.shown)), task.truth)
        application.util.updateVolumeFromArray(volume, as_slicers(task.answer(), volume, Space.of_image(task.shown)))
        save(volume, task.label)
        assert voxels_of(volume).any()
    accepted(tasks, task, expected(task))


@pytest.mark.parametrize("with_table", [False, True])
def test_the_label_map_opened_as_a_segmentation(core, tasks, task, capsys, with_table):
    """Without our script: with our colour table its segments have names, and without they are made up and refused."""
    from real_slicer import named, paint, save

    with core.as_module():
        table = core.colour_table(tasks.out / "labels.ctbl") if with_table else None
        node = core.segmentation(task.label, table)
        assert list(named(node)) == (["ignore"] if with_table else ["Segment_3"])
        core.editor.setSegmentationNode(node)
        core.editor.setSourceVolumeNode(open_image(core, task))
        core.editor.settings.SetMaskMode(node.EditAllowedEverywhere)
        core.editor.settings.SetOverwriteMode(core.editor.settings.OverwriteAllSegments)
        inside = np.zeros(task.truth.shape, bool)
        inside[task.box] = True
        for name in CLASSES:
            node.GetSegmentation().AddEmptySegment("", name)
            paint(core, named(node)[name], where(core, task, inside & (task.truth == task.names[name])))
        save(node, task.folder / f"{task.id}.seg.nrrd")
    if with_table:
        accepted(tasks, task, expected(task))
    else:
        refused(tasks, task, capsys, "Segment_3")
