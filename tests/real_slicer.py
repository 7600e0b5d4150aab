"""3D Slicer's core without its windows: its own readers, storage nodes and segment editor logic, and its `slicer` module.

Only what belongs to a window is replaced, by the least that a script asks it for: the registry that finds the reader of a file,
the module selector, the widget of the Segment Editor, the layout manager.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from trame_slicer.core import SlicerApp
from vtk.util.numpy_support import numpy_to_vtk

from nnactive_ext.geometry.space import Space

VIEWS = ("Red", "Green", "Yellow")


class Core:
    """One scene of Slicer's with the logics of its modules."""

    def __init__(self) -> None:
        self.app = SlicerApp()
        self.scene = self.app.scene
        self.editor = _Editor(self.scene)
        self.shown: str | None = None
        """The module that a script switched to."""
        for name in VIEWS:
            for node in (slicer.vtkMRMLSliceNode(), slicer.vtkMRMLSliceCompositeNode()):
                node.SetName(name)
                node.SetLayoutName(name)
                self.scene.AddNode(node)

    def volume(self, file: Path, name: str = "volume", labelmap: bool = False) -> Any:
        return self.app.volumes_logic.AddArchetypeVolume(str(file), name, int(labelmap))

    def segmentation(self, file: Path, table: Any = None) -> Any:
        return self.app.segmentations_logic.LoadSegmentationFromFile(str(file), True, file.name.split(".")[0], table)

    def markups(self, file: Path) -> Any:
        return self.scene.GetNodeByID(self.app.markups_logic.LoadMarkups(str(file)))

    def colour_table(self, file: Path) -> Any:
        return self.app.color_logic.LoadColorFile(str(file))

    @contextmanager
    def as_module(self) -> Iterator[None]:
        """`slicer` as a script in the application sees it: with the scene, its modules and the application."""

        def logic(of: Any) -> SimpleNamespace:
            return SimpleNamespace(logic=lambda: of)

        widget = SimpleNamespace(self=lambda: SimpleNamespace(editor=self.editor))
        modules = SimpleNamespace(
            volumes=logic(self.app.volumes_logic),
            segmentations=logic(self.app.segmentations_logic),
            segmenteditor=SimpleNamespace(widgetRepresentation=lambda: widget),
        )
        application = SimpleNamespace(
            coreIOManager=lambda: SimpleNamespace(loadNodes=self._load),
            layoutManager=lambda: SimpleNamespace(resetSliceViews=lambda: None),
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(slicer, "mrmlScene", self.scene, raising=False)
            patch.setattr(slicer, "modules", modules, raising=False)
            patch.setattr(slicer, "app", application, raising=False)
            patch.setattr(slicer.util, "selectModule", lambda name: setattr(self, "shown", name))
            yield

    def _load(self, kind: str, properties: dict[str, Any], loaded: Any, messages: Any) -> bool:
        """What qSlicerVolumesReader, qSlicerSegmentationsReader and qSlicerMarkupsReader ask the logics of their modules."""
        file = Path(properties["fileName"])
        if kind == "VolumeFile":
            name = properties.get("name") or file.name.split(".")[0]
            node = self.volume(file, name, properties.get("labelmap", False))
        else:
            node = {"SegmentationFile": self.segmentation, "MarkupsFile": self.markups}[kind](file)
        if node is not None:
            loaded.AddItem(node)
        return node is not None


class _Editor:
    """The widget of the Segment Editor: it keeps what it is given, and settings in a real node."""

    def __init__(self, scene: Any) -> None:
        self.settings = slicer.vtkMRMLSegmentEditorNode()
        scene.AddNode(self.settings)

    def mrmlSegmentEditorNode(self) -> Any:
        return self.settings

    def setSegmentationNode(self, node: Any) -> None:
        self.settings.SetAndObserveSegmentationNode(node)

    def setSourceVolumeNode(self, node: Any) -> None:
        self.settings.SetAndObserveSourceVolumeNode(node)

    def setCurrentSegmentID(self, segment: str) -> None:
        self.settings.SetSelectedSegmentID(segment)


def paint(core: Core, segment: str, voxels: np.ndarray) -> None:
    """Paint ``voxels`` (z, y, x; of the source volume) as ``segment``, by the logic of the Segment Editor and its settings."""
    _modify(core, segment, voxels, slicer.vtkSlicerSegmentEditorLogic.ModificationModeAdd)


def erase(core: Core, segment: str, voxels: np.ndarray) -> None:
    _modify(core, segment, voxels, slicer.vtkSlicerSegmentEditorLogic.ModificationModeRemove)


def new_segmentation(core: Core, volume: Any, name: str, *segments: str) -> Any:
    """As "Create new segmentation" in the Segment Editor on ``volume``, which paints everywhere, over all segments."""
    node = core.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.SetName(name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for segment in segments:
        node.GetSegmentation().AddEmptySegment("", segment)
    core.editor.setSegmentationNode(node)
    core.editor.setSourceVolumeNode(volume)
    core.editor.settings.SetMaskMode(node.EditAllowedEverywhere)
    core.editor.settings.SetOverwriteMode(core.editor.settings.OverwriteAllSegments)
    return node


def _modify(core: Core, segment: str, voxels: np.ndarray, mode: int) -> None:
    settings = core.editor.settings
    logic = slicer.vtkSlicerSegmentEditorLogic()
    logic.SetMRMLScene(core.scene)
    logic.SetSegmentEditorNode(settings)
    node, volume = settings.GetSegmentationNode(), settings.GetSourceVolumeNode()
    stroke = slicer.vtkOrientedImageData()
    stroke.SetDimensions(voxels.shape[::-1])
    stroke.GetPointData().SetScalars(numpy_to_vtk(voxels.astype(np.uint8).ravel(), deep=True))
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    stroke.SetGeometryFromImageToWorldMatrix(matrix)
    everywhere = [0, -1, 0, -1, 0, -1]
    assert logic.ModifySegmentByLabelmap(node, segment, stroke, mode, everywhere, False, False) is not False


def save(node: Any, file: Path | None = None, cut: bool | None = None) -> Path:
    """As File > Save Data; ``file``: None for the one that the node has; ``cut``: whether to crop to minimum extent (None: as
    Slicer does by itself)."""
    node.GetStorageNode() or node.AddDefaultStorageNode()
    storage = node.GetStorageNode()
    if file is not None:
        storage.SetFileName(str(file))
    if cut is not None:
        storage.SetCropToMinimumExtent(cut)
    assert storage.WriteData(node)
    return Path(storage.GetFileName())


def export_files(
    core: Core, node: Any, volume: Any, folder: Path, ending: str, names: Sequence[str], table: Any = None
) -> None:
    """As Segmentations > Export to files, of the segments ``names``, which writes a label map and a table of its labels."""
    export = core.app.segmentations_logic.ExportSegmentsBinaryLabelmapRepresentationToFiles
    extent = slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
    assert export(str(folder), node, _ids(node, names), ending, True, volume, extent, table)


def export_label_map(core: Core, node: Any, volume: Any, names: Sequence[str], table: Any = None) -> Any:
    """As Segmentations > Export to label map, of the segments ``names``: the label map, whose display has the colour table."""
    made = core.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", f"{node.GetName()}-label")
    extent = slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
    export = core.app.segmentations_logic.ExportSegmentsToLabelmapNode
    assert export(node, _ids(node, names), made, volume, extent, table)
    return made


def _ids(node: Any, names: Sequence[str]) -> Any:
    ids = vtk.vtkStringArray()
    for name in names:
        ids.InsertNextValue(named(node)[name])
    return ids


def array_of(matrix: Any) -> np.ndarray:
    return slicer.util.arrayFromVTKMatrix(matrix)


def affine_of(volume: Any) -> np.ndarray:
    """Index (x, y, z) to RAS mm, 4 x 4."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return array_of(matrix)


def as_ours(array: np.ndarray, volume: Any, space: Space) -> np.ndarray:
    """``array`` (z, y, x) on the grid of ``volume``, in the order of ``space``, which has the same voxels."""
    made = np.full(space.shape, np.nan)
    made[_places(volume, space, array.shape)] = array
    assert not np.isnan(made).any()
    return made


def as_slicers(array: np.ndarray, volume: Any, space: Space) -> np.ndarray:
    """``array`` in ``space`` on the grid of ``volume``."""
    return array[_places(volume, space, volume.GetImageData().GetDimensions()[::-1])]


def _places(volume: Any, space: Space, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """For each voxel (z, y, x) of ``volume`` its index in ``space``: each is looked up by its place in the patient."""
    index = np.moveaxis(np.indices(shape), 0, -1)[..., ::-1]
    affine = np.linalg.inv(space.affine) @ np.diag([-1, -1, 1, 1]) @ affine_of(volume)  # Slicer has RAS, we have LPS
    found = (index @ affine[:3, :3].T + affine[:3, 3])[..., ::-1]
    np.testing.assert_allclose(found, np.rint(found), atol=1e-3)
    return tuple(np.moveaxis(np.rint(found).astype(int), -1, 0))


def voxels_of(volume: Any) -> np.ndarray:
    """(z, y, x), a copy."""
    return slicer.util.arrayFromVolume(volume).copy()


def segment_voxels(node: Any, segment: str, volume: Any) -> np.ndarray:
    """(z, y, x) on the grid of ``volume``, by Slicer's own export; only inside ``Core.as_module``."""
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, volume)


def colour_of(table: Any, value: int) -> list[float]:
    """Red, green, blue, opacity, 0 to 1."""
    colour = [0.0] * 4
    assert table.GetColor(value, colour)
    return colour


def named(node: Any) -> dict[str, str]:
    """Name -> id of the segments, in their order."""
    held = node.GetSegmentation()
    return {held.GetNthSegment(n).GetName(): held.GetNthSegmentID(n) for n in range(held.GetNumberOfSegments())}


def nodes(scene: Any, kind: str) -> list[Any]:
    return [scene.GetNthNodeByClass(n, kind) for n in range(scene.GetNumberOfNodesByClass(kind))]


def finer(core: Core, volume: Any) -> Any:
    """``volume`` with half the spacing along each axis."""
    made = slicer.vtkMRMLScalarVolumeNode()
    core.scene.AddNode(made)
    made.CopyOrientation(volume)
    made.SetSpacing([mm / 2 for mm in volume.GetSpacing()])
    image = vtk.vtkImageData()
    image.SetDimensions([2 * n for n in volume.GetImageData().GetDimensions()])
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    made.SetAndObserveImageData(image)
    return made
