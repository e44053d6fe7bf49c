"""Inspectors with sliders: anchors, the grid of YOLO v1, suppression box by box, the three maps of U-Net-ID, and
anomaly scores with their reconstructions.

Each is one module, `NAME_view.py`, and three things: `NAME_compute(state) -> data` and
`NAME_draw(data, figure=None) -> figure`, which need neither a notebook nor ipywidgets, and a thin shell (`anchors`,
`grid`, `maps`, `nms`, `reconstruction`) that ties sliders to them. Lectures 02, 04, 05, 07 and 09 use them. A further
inspector is one more such module, made of what `drawing.py` and `shell.py` hold, and its line here.
"""

from geodl_course.widgets.anchor_view import AnchorState, anchors, anchors_compute, anchors_draw, anchors_words
from geodl_course.widgets.grid_view import GridState, grid, grid_compute, grid_draw, grid_words
from geodl_course.widgets.maps_view import MapsState, maps, maps_compute, maps_draw, maps_words
from geodl_course.widgets.nms_view import NmsState, nms, nms_compute, nms_draw, nms_walk, nms_words
from geodl_course.widgets.reconstruction_drawing import reconstruction_draw
from geodl_course.widgets.reconstruction_view import (
    ReconstructionState,
    reconstruction,
    reconstruction_compute,
    reconstruction_state,
    reconstruction_words,
)
from geodl_course.widgets.shell import png

__all__ = ["AnchorState", "anchors", "anchors_compute", "anchors_draw", "anchors_words"]
__all__ += ["GridState", "grid", "grid_compute", "grid_draw", "grid_words"]
__all__ += ["MapsState", "maps", "maps_compute", "maps_draw", "maps_words"]
__all__ += ["NmsState", "nms", "nms_compute", "nms_draw", "nms_walk", "nms_words"]
__all__ += ["ReconstructionState", "reconstruction", "reconstruction_compute", "reconstruction_draw"]
__all__ += ["reconstruction_state", "reconstruction_words"]
__all__ += ["png"]
