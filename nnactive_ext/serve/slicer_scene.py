"""One task in 3D Slicer's scene: its image, a segment per label, and the patch, outside of which Slicer changes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.pages.colours import BOX, Colour

PATCH = "patch"
"""Identifier of the segment that is the mask, the patch without locked labels; nobody paints in it, and the list of segments
does not show it."""


@dataclass(frozen=True)
class Facts:
    """What the server says of a task.

    ``channels``: files of the crop's channels. ``windows``: for each, the grey values of black and white. ``labels``: file
    (``.npy``, (z, y, x), uint8) of the labels to start with. ``names``: label name -> value, without the background.
    """

    task: str
    channels: tuple[str, ...]
    windows: tuple[tuple[float, float], ...]
    labels: str
    box: Patch
    names: dict[str, int]
    colours: dict[str, Colour]


def segment_id(value: int) -> str:
    """Identifier of the segment of a label, which stays when people rename the segment."""
    return f"label_{value}"


class Scene:
    """What ``app`` (trame_slicer's ``SlicerApp``) shows of one task; made anew for the next one."""

    def __init__(self, app: Any, facts: Facts):
        app.scene.Clear()  # also the tools' own nodes, which must be made after the views
        self.app, self.facts = app, facts
        self.editor = app.segmentation_editor
        self._locked: frozenset[int] = frozenset()
        self._volumes: dict[int, Any] = {}
        self.volume = self._volume(0)
        self.node = self.editor.create_empty_segmentation_node()
        self.editor.set_active_segmentation(self.node, self.volume)
        self._add_segments(np.load(facts.labels))
        self._show_patch()
        self.editor.editor_node_modified.connect(self.confine)
        self.editor.segmentation_modified.connect(self._keep_patch)
        self.confine()
        self.given = self.inside()

    def inside(self) -> np.ndarray:
        """The labels in the patch, (z, y, x) in the order of the file; 0 where no segment is.

        Raises:
            NnActiveError: segments overlap, or one is none of the labels.
        """
        found = np.zeros(self.facts.box.size, np.uint8)
        known = {PATCH, *map(segment_id, self.facts.names.values())}
        for other in set(self.editor.get_segment_ids()) - known:  # islands can be split into segments of their own
            if self.editor.get_segment_labelmap(other, as_numpy_array=True).any():
                name = self.editor.get_segment_properties(other).name
                raise NnActiveError(
                    f"The segment {name} is none of the labels. With the tool for logical operators, add it to a label, then "
                    "clear it."
                )
        for name, value in self.facts.names.items():
            here = self._of(value)[self.facts.box.slices] > 0
            if (found[here] > 0).any():
                first = next(other for other, number in self.facts.names.items() if number == found[here].max())
                raise NnActiveError(f"{name} and {first} overlap. Erase one of them where both are.")
            found[here] = value
        return found

    def outside(self) -> int:
        """Voxels with a label outside the patch, which are not taken: 0, because Slicer's mask keeps it so."""
        away = np.ones(self._of(next(iter(self.facts.names.values()))).shape, bool)
        away[self.facts.box.slices] = False
        return sum(int(np.count_nonzero(self._of(value)[away])) for value in self.facts.names.values())

    def changed(self) -> bool:
        """Whether the labels differ from those that were last kept."""
        return not np.array_equal(self.inside(), self.given)

    def confine(self, *_: Any) -> None:
        """Only the patch may be edited, and labels do not overlap, whatever is chosen in the page."""
        from trame_slicer.segmentation import SegmentationEditableAreaMode as Area
        from trame_slicer.segmentation import SegmentationOverwriteMode as Overwrite

        if self.editor.get_mask_segment_id() != PATCH:
            self.editor.set_mask_segment_id(PATCH)
        if self.editor.get_editable_area() != Area.INSIDE_SINGLE_SEGMENT:
            self.editor.set_editable_area(Area.INSIDE_SINGLE_SEGMENT)
        if self.editor.get_overwrite_mode() != Overwrite.OVERWRITE_ALL:
            self.editor.set_overwrite_mode(Overwrite.OVERWRITE_ALL)

    def show(self, channel: int) -> None:
        """Show another channel, which threshold and intensity masks then look at, too."""
        self.volume = self._volume(channel)
        self.app.display_manager.show_volume_in_slice_background(self.volume)
        segmentation = self.editor.active_segmentation
        segmentation.volume_node = self.volume
        segmentation.set_active()

    def lock(self, values: Iterable[int]) -> None:
        """From now on, no tool changes a voxel that has one of these labels, and no others are locked."""
        self._locked = frozenset(values) & frozenset(self.facts.names.values())
        self._keep_patch()

    def close(self) -> None:
        """Look no more at the editor, which shows another task."""
        self.editor.editor_node_modified.disconnect(self.confine)
        self.editor.segmentation_modified.disconnect(self._keep_patch)

    @property
    def centre(self) -> tuple[float, float, float]:
        """The middle voxel of the patch in mm, RAS: between two voxels, the planes would cut neither in its middle."""
        starts, sizes = self.facts.box.start, self.facts.box.size
        return self._world([start + size // 2 for start, size in zip(starts, sizes, strict=True)])

    def _of(self, value: int) -> np.ndarray:
        return self.editor.active_segmentation.get_segment_labelmap(segment_id(value), as_numpy_array=True)

    def _volume(self, channel: int) -> Any:
        from trame_slicer.core import VolumeWindowLevel

        if channel not in self._volumes:
            file = self.facts.channels[channel]
            volumes = self.app.io_manager.load_volumes(file)
            if len(volumes) != 1:
                raise NnActiveError(f"{Path(file).name}: 3D Slicer cannot read it. Use the light page.")
            self._volumes[channel] = volumes[0]
            VolumeWindowLevel.set_volume_node_display_min_max_range(volumes[0], *self.facts.windows[channel])
        return self._volumes[channel]

    def _add_segments(self, labels: np.ndarray) -> None:
        segmentation, box = self.editor.active_segmentation, self.facts.box
        masks = {segment_id(value): (name, value, labels == value) for name, value in self.facts.names.items()}
        masks[PATCH] = (PATCH, max(self.facts.names.values()) + 1, np.ones(labels.shape, bool))
        for identifier, (name, value, mask) in masks.items():
            colour = [part / 255 for part in self.facts.colours.get(name, BOX)]
            segmentation.add_empty_segment(segment_id=identifier, segment_name=name, segment_color=colour, segment_value=value)
            voxels = np.zeros(labels.shape, np.uint8)
            voxels[box.slices] = mask[box.slices]
            self._set(identifier, voxels)
        if self.editor.undo_stack:
            self.editor.undo_stack.clear()
        self.editor.set_active_segment_id(segment_id(next(iter(self.facts.names.values()))))

    def _set(self, identifier: str, voxels: np.ndarray) -> None:
        """Without the mask, and without an undo step."""
        from slicer import vtkSlicerSegmentEditorLogic as Logic
        from trame_slicer.utils import vtk_image_to_np

        logic = self.editor.editor_logic
        given = self.editor.create_modifier_labelmap()
        vtk_image_to_np(given)[:] = voxels
        everything = given.GetExtent()
        logic.ModifySegmentByLabelmap(self.node, identifier, given, Logic.ModificationModeSet, everything, False, True)

    def _keep_patch(self) -> None:
        """Slicer takes painted voxels away from all other segments, and so from the mask: put them back. Voxels of a locked
        label are none of the mask's."""
        if PATCH not in self.editor.get_segment_ids():
            return
        allowed = np.zeros(self.editor.get_segment_labelmap(PATCH, as_numpy_array=True).shape, np.uint8)
        allowed[self.facts.box.slices] = 1
        for value in self._locked:
            allowed[self._of(value) != 0] = 0
        if not np.array_equal(self.editor.get_segment_labelmap(PATCH, as_numpy_array=True), allowed):
            self._set(PATCH, allowed)

    def _show_patch(self) -> None:
        self.editor.set_segment_visibility(PATCH, False)
        self._frame = self.app.scene.AddNewNodeByClass("vtkMRMLModelNode", PATCH)
        self._frame.SetAndObservePolyData(self._faces())
        self._frame.CreateDefaultDisplayNodes()
        shown = self._frame.GetDisplayNode()
        shown.SetColor(*(part / 255 for part in BOX))
        shown.SetRepresentation(shown.WireframeRepresentation)
        shown.SetLineWidth(2)
        shown.SetLighting(False)
        shown.SetVisibility2D(True)  # where the planes cut it
        shown.SetSliceIntersectionThickness(2)

    def _faces(self) -> Any:
        """The six sides of the patch, along the outer faces of its voxels."""
        from vtkmodules.vtkCommonCore import vtkPoints
        from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData

        starts, sizes = self.facts.box.start, self.facts.box.size
        corners, sides = vtkPoints(), vtkCellArray()
        for far in np.ndindex(2, 2, 2):
            place = [start - 0.5 + there * size for start, size, there in zip(starts, sizes, far, strict=True)]
            corners.InsertNextPoint(self._world(place))
        for axis, one, two in ((1, 2, 4), (2, 1, 4), (4, 1, 2)):
            for side in (0, axis):
                sides.InsertNextCell(4, [side, side | one, side | one | two, side | two])
        faces = vtkPolyData()
        faces.SetPoints(corners)
        faces.SetPolys(sides)
        return faces

    def _world(self, zyx: list[float]) -> tuple[float, float, float]:
        """A place in voxels of the crop in mm, RAS."""
        from vtkmodules.vtkCommonMath import vtkMatrix4x4

        matrix = vtkMatrix4x4()
        self._volumes[0].GetIJKToRASMatrix(matrix)
        x, y, z, _ = matrix.MultiplyPoint([*zyx[::-1], 1.0])
        return x, y, z
