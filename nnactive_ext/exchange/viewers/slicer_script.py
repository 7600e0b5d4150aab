"""Opens one annotation task in 3D Slicer 5: Slicer --python-script open_in_slicer.py

Lies in the folder of a task, beside its task.json. Names of Slicer's functions are as in its own tests and its script
repository; nobody has run this script in Slicer yet.
"""

import json
import os
import sys

import numpy as np
import slicer
import vtk

TASK = ""
BOX = "query_box"
IGNORE = "ignore"


def find_folder():
    """The folder of this script: of the places it may have been started from, the one with this task's labels."""
    # Slicer sets __file__ as it was typed; pasted into the console it is missing, or left from a script run before.
    for place in [globals().get("__file__") or "", *sys.argv, os.path.join(os.getcwd(), "script")]:
        folder = os.path.dirname(os.path.abspath(place))
        if os.path.exists(os.path.join(folder, TASK + ".nii.gz")):
            return folder
    raise RuntimeError("Start Slicer in the folder of task " + TASK + ": Slicer --python-script open_in_slicer.py")


def ras(lps):
    return [-lps[0], -lps[1], lps[2]]


def box_voxels(task, volume, shape):
    """1 in the box, 0 elsewhere, for the array of ``volume``."""
    # By position, not by index: Slicer may have reversed an axis on loading to make the axes right-handed.
    matrix = vtk.vtkMatrix4x4()
    volume.GetRASToIJKMatrix(matrix)
    ends = [matrix.MultiplyPoint([*ras(task["box"][end]), 1.0])[:3] for end in ("first_voxel_lps", "last_voxel_lps")]
    first, last = np.sort(np.rint(ends).astype(int), axis=0)[:, ::-1]
    voxels = np.zeros(shape, np.uint8)
    voxels[tuple(slice(a, b + 1) for a, b in zip(first, last))] = 1  # noqa: B905 Slicer 5.0 has Python 3.9
    return voxels


def make_segmentation(task, file):
    """A segmentation with one segment for each label, named and coloured as everywhere, and one that is the box."""
    labels = slicer.util.loadLabelVolume(file)
    values = slicer.util.arrayFromVolume(labels)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", TASK)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(labels)
    segments = [(name, values == value, task["colours"][name]) for name, value in task["labels"].items() if value]
    segments.append((BOX, box_voxels(task, labels, values.shape), [255, 128, 0]))
    for name, voxels, colour in segments:
        segment = node.GetSegmentation().AddEmptySegment("", name, [value / 255 for value in colour])
        if voxels.any():
            slicer.util.updateSegmentBinaryLabelmapFromArray(voxels.astype(np.uint8), node, segment, labels)
    slicer.mrmlScene.RemoveNode(labels)
    return node


def set_editor_up(task, node, volume):
    """The Segment Editor on the first label, painting in the box only."""
    segments = {name: node.GetSegmentation().GetSegmentIdBySegmentName(name) for name in [*task["labels"], BOX]}
    display = node.GetDisplayNode()
    display.SetSegmentVisibility(segments[BOX], False)
    display.SetSegmentOpacity2DFill(segments[IGNORE], 0.0)  # its outline remains: the edge of the box
    slicer.util.selectModule("SegmentEditor")
    editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    editor.setSegmentationNode(node)
    if hasattr(editor, "setSourceVolumeNode"):
        editor.setSourceVolumeNode(volume)
    else:  # before Slicer 5.2
        editor.setMasterVolumeNode(volume)
    settings = editor.mrmlSegmentEditorNode()
    settings.SetMaskSegmentID(segments[BOX])
    settings.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    # Overwriting all segments would cut what is painted out of the box too, where nothing could be painted again.
    settings.SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteVisibleSegments)
    editor.setCurrentSegmentID(next(segments[name] for name, value in task["labels"].items() if value))


def look_at_box(task, volume):
    """Slices along the image's own axes, through the middle of the box."""
    slicer.util.setSliceViewerLayers(background=volume)
    for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        view.RotateToVolumePlane(volume)
    slicer.util.resetSliceViews()
    centre = np.mean([ras(task["box"]["first_voxel_lps"]), ras(task["box"]["last_voxel_lps"])], axis=0).tolist()
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *centre, slicer.vtkMRMLSliceNode.CenteredJumpSlice)


def main():
    folder = find_folder()
    with open(os.path.join(folder, "task.json"), encoding="utf-8") as file:
        task = json.load(file)
    volumes = [
        slicer.util.loadVolume(os.path.join(folder, image["file"]), {"name": image["channel"]}) for image in task["images"]
    ]
    answer = os.path.join(folder, TASK + ".seg.nrrd")
    if os.path.exists(answer):
        node = slicer.util.loadSegmentation(answer)  # work goes on where it stopped
    else:
        node = make_segmentation(task, os.path.join(folder, task["label"]))
        node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(answer)
    slicer.util.loadMarkups(os.path.join(folder, "box.mrk.json"))
    set_editor_up(task, node, volumes[0])
    look_at_box(task, volumes[0])
    print("Task " + TASK + ": label every voxel of the orange box; background needs no paint.")
    print("What cannot be decided becomes '" + IGNORE + "'. Leave the segment '" + BOX + "' as it is.")
    print("Then File > Save Data, with only " + TASK + ".seg.nrrd ticked, in " + folder)


if __name__ == "__main__":
    main()
