"""trame_slicer's segmentation page without what does not belong to a task: opening files, adding and deleting segments."""

from __future__ import annotations

import asyncio
from importlib import resources
from typing import Any

from trame.widgets import client
from trame_slicer.app.logic.base_logic import BaseLogic
from trame_slicer.app.logic.layout_button_logic import LayoutButtonLogic
from trame_slicer.app.logic.mpr_interaction_button_logic import MprInteractionButtonLogic
from trame_slicer.app.logic.segmentation import SegmentEditorLogic
from trame_slicer.app.logic.volume_property_logic import VolumePropertyLogic
from trame_slicer.app.ui import SegmentationAppUI, SegmentEditorUI, ViewerLayoutState, VolumePropertyUI
from trame_slicer.core import LayoutManager, SlicerApp, VolumeWindowLevel
from trame_slicer.rca_view import register_rca_factories
from trame_slicer.segmentation import SegmentationEffectPaint
from trame_slicer.views import Layout, LayoutDirection, ViewLayoutDefinition

from nnactive_ext.serve.slicer_scene import PATCH, Scene

_HIDDEN = (resources.files("nnactive_ext.serve") / "assets" / "slicer_app.css").read_text(encoding="utf-8")


class Segments(SegmentEditorLogic):
    """The list of segments holds the labels: none is added or deleted, and the mask is not among them."""

    def _on_delete_segment_clicked(self, segment_id: str) -> None:
        pass

    def _on_add_segment_clicked(self) -> None:
        pass

    def display(self) -> None:
        """Show the segments of a new task as those before."""
        self._on_segment_display_changed(self.data.segment_display)

    def _update_segment_list(self) -> None:
        super()._update_segment_list()
        shown = [segment for segment in self.data.segment_list.segments if segment.segment_id != PATCH]
        self.data.segment_list.segments = shown


class Tools(BaseLogic[ViewerLayoutState]):
    """Behind the page: Slicer's segment editor, window and level, layouts."""

    def __init__(self, server: Any, app: SlicerApp):
        super().__init__(server, app, ViewerLayoutState)
        register_rca_factories(app.view_manager, server)
        self._segments, self._volume = Segments(server, app), VolumePropertyLogic(server, app)
        self._layouts, self._planes = LayoutButtonLogic(server, app), MprInteractionButtonLogic(server, app)
        self.layout.register_layout_dict(_layouts())
        server.controller.on_client_connected.add(self._draw_soon)
        server.state["trame__title"] = "3D Slicer"
        server.state["trame__favicon"] = None

    def _draw_soon(self, *_: Any) -> None:
        """The first pictures are made before the planes have found their slices: draw again."""
        for seconds in (0.5, 1.5, 4.0):
            asyncio.get_running_loop().call_later(seconds, self._draw)

    def _draw(self) -> None:
        for view in self._slicer_app.view_manager.get_views():
            view.schedule_render()

    @property
    def layout(self) -> LayoutManager:
        return self._layouts.layout_manager

    def connect(self, page: Page) -> None:
        """Let the page's buttons do something."""
        self._segments.set_ui(page.tool_registry[SegmentEditorUI])
        self._volume.set_ui(page.tool_registry[VolumePropertyUI])
        self._layouts.set_ui(page.layout_button)
        self._planes.set_ui(page.mpr_interaction_button)
        self._segments.data.segment_display.opacity_2d.value = 0.35  # the image is seen through the labels

    def show(self, scene: Scene, plane: str) -> None:
        """Show a task: ``plane``, one of Slicer's orientations, is the largest."""
        app, window = self._slicer_app, scene.facts.windows[0]
        app.display_manager.show_volume(scene.volume)
        self._volume.on_volume_changed(scene.volume)
        app.volume_rendering.get_vr_display_node(scene.volume).SetVisibility(False)  # the labels are what is looked at
        VolumeWindowLevel.set_volume_node_display_min_max_range(scene.volume, *window)
        self._segments.display()
        self._layouts.data.current_layout_id = f"{plane} Primary"
        self.data.is_drawer_visible = self.data.is_volume_loaded = True
        self.data.active_tool = SegmentEditorUI.__name__
        app.display_manager.reset_views()
        for view in app.view_manager.get_slice_views():
            app.scene.GetNodeByID(view.get_view_node_id()).JumpSliceByCentering(*scene.centre)
        scene.editor.set_active_effect_type(SegmentationEffectPaint)


class Page(SegmentationAppUI):
    """trame_slicer's page of its segmentation app, of which parts are hidden."""

    def __init__(self, server: Any, layout: LayoutManager):
        super().__init__(server, layout)
        with self.layout:
            client.Style(_HIDDEN)


def _layouts() -> dict[str, Layout]:
    planes = {
        "Axial": ViewLayoutDefinition.axial_view(),
        "Coronal": ViewLayoutDefinition.coronal_view(),
        "Sagittal": ViewLayoutDefinition.sagittal_view(),
    }
    solid = ViewLayoutDefinition.threed_view()
    return {
        f"{name} Primary": Layout(
            LayoutDirection.Horizontal,
            [large, Layout(LayoutDirection.Vertical, [solid, *(other for other in planes.values() if other is not large)])],
        )
        for name, large in planes.items()
    }
