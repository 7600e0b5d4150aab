"""The query engine: voxel maps to patch scores, and scores to windows that do not overlap; plain arrays, no files.

A faster or another exact way to compute means of windows or to choose them goes here. What a voxel is worth belongs to
``query_methods/``.

A *window* is a box of the query patch's size inside the map. A map of windows has one value for every window start
(stride 1, the last start included), so along each axis it is ``extent - size + 1`` long.
"""

from nnactive_ext.engine.bounds import largest_product, most_of_a_race
from nnactive_ext.engine.entropy import add_entropy
from nnactive_ext.engine.free import free_starts
from nnactive_ext.engine.means import box_means
from nnactive_ext.engine.select import Pick, select
from nnactive_ext.engine.threads import at_once
from nnactive_ext.engine.windows import allowed_voxels

__all__ = [
    "Pick",
    "add_entropy",
    "allowed_voxels",
    "at_once",
    "box_means",
    "free_starts",
    "largest_product",
    "most_of_a_race",
    "select",
]
