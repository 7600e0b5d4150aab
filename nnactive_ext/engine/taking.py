"""Taking a box: the windows that can no longer be chosen are marked, and the tiles they are in looked at again."""

from __future__ import annotations

import numpy as np

from nnactive_ext.engine.compiling import kernel
from nnactive_ext.engine.tiles import SIDE, TAKEN, best_of_tile


@kernel
def touched_windows(start, extent, size, starts, counts, region):
    """``region[axis]`` = first and last (exclusive) index of the windows that share a voxel with the box.

    ``starts[axis]`` are where windows start, the first ``counts[axis]`` of them.
    """
    for axis in range(3):
        first, last = 0, counts[axis]
        while first < last and starts[axis, first] + size[axis] <= start[axis]:
            first += 1
        while last > first and starts[axis, last - 1] >= start[axis] + extent[axis]:
            last -= 1
        region[axis, 0] = first
        region[axis, 1] = last


@kernel
def take_all(scores, maxima, region):
    """Mark every window of the region. Tiles wholly inside are dropped without looking at their windows."""
    nz, ny, nx = scores.shape
    z0, z1, y0, y1, x0, x1 = region[0, 0], region[0, 1], region[1, 0], region[1, 1], region[2, 0], region[2, 1]
    if z0 >= z1 or y0 >= y1 or x0 >= x1:
        return
    for tz in range(z0 // SIDE, (z1 - 1) // SIDE + 1):
        az, bz = max(z0, tz * SIDE), min(z1, tz * SIDE + SIDE)
        for ty in range(y0 // SIDE, (y1 - 1) // SIDE + 1):
            ay, by = max(y0, ty * SIDE), min(y1, ty * SIDE + SIDE)
            for tx in range(x0 // SIDE, (x1 - 1) // SIDE + 1):
                if maxima[tz, ty, tx] == TAKEN:
                    continue
                ax, bx = max(x0, tx * SIDE), min(x1, tx * SIDE + SIDE)
                whole = (bz - az) * (by - ay) * (bx - ax) == (
                    (min(tz * SIDE + SIDE, nz) - tz * SIDE)
                    * (min(ty * SIDE + SIDE, ny) - ty * SIDE)
                    * (min(tx * SIDE + SIDE, nx) - tx * SIDE)
                )
                if whole:
                    maxima[tz, ty, tx] = TAKEN
                    continue
                for z in range(az, bz):
                    for y in range(ay, by):
                        for x in range(ax, bx):
                            scores[z, y, x] = TAKEN
                maxima[tz, ty, tx] = best_of_tile(scores, tz, ty, tx)


@kernel
def take_covered(scores, maxima, region, starts, size, covered, allowed):
    """Mark the windows of the region of which more than ``allowed`` voxels are ``covered`` (uint8, one per voxel)."""
    z0, z1, y0, y1, x0, x1 = region[0, 0], region[0, 1], region[1, 0], region[1, 1], region[2, 0], region[2, 1]
    if z0 >= z1 or y0 >= y1 or x0 >= x1:
        return
    oy, ox = starts[1, y0], starts[2, x0]
    ny = starts[1, y1 - 1] + size[1] - oy
    nx = starts[2, x1 - 1] + size[2] - ox
    for slab in range(z0, z1, size[0]):  # in slabs, so that the counts stay small however large the region
        end = min(slab + size[0], z1)
        oz = starts[0, slab]
        nz = starts[0, end - 1] + size[0] - oz
        count = np.zeros((nz + 1, ny + 1, nx + 1), np.int32)  # voxels covered before each corner
        for z in range(nz):
            for y in range(ny):
                line = 0
                for x in range(nx):
                    line += covered[oz + z, oy + y, ox + x]
                    count[z + 1, y + 1, x + 1] = line + count[z, y + 1, x + 1] + count[z + 1, y, x + 1] - count[z, y, x + 1]
        for z in range(slab, end):
            for y in range(y0, y1):
                for x in range(x0, x1):
                    a, b, c = starts[0, z] - oz, starts[1, y] - oy, starts[2, x] - ox
                    d, e, f = a + size[0], b + size[1], c + size[2]
                    inside = count[d, e, f] - count[a, e, f] - count[d, b, f] - count[d, e, c]
                    inside += count[a, b, f] + count[a, e, c] + count[d, b, c] - count[a, b, c]
                    if inside > allowed:
                        scores[z, y, x] = TAKEN
    for tz in range(z0 // SIDE, (z1 - 1) // SIDE + 1):
        for ty in range(y0 // SIDE, (y1 - 1) // SIDE + 1):
            for tx in range(x0 // SIDE, (x1 - 1) // SIDE + 1):
                if maxima[tz, ty, tx] != TAKEN:
                    maxima[tz, ty, tx] = best_of_tile(scores, tz, ty, tx)


@kernel
def take_box(scores, maxima, starts, size, start, extent, covered, allowed, region):
    """Take one box: mark the windows that overlap what is taken now by more than ``allowed`` voxels.

    ``covered``: uint8, one per voxel, empty where ``allowed`` is 0 and a touched window is a taken one.
    """
    touched_windows(start, extent, size, starts, scores.shape, region)
    if covered.size == 0:
        take_all(scores, maxima, region)
        return
    for z in range(max(start[0], 0), min(start[0] + extent[0], covered.shape[0])):
        for y in range(max(start[1], 0), min(start[1] + extent[1], covered.shape[1])):
            for x in range(max(start[2], 0), min(start[2] + extent[2], covered.shape[2])):
                covered[z, y, x] = 1
    take_covered(scores, maxima, region, starts, size, covered, allowed)
