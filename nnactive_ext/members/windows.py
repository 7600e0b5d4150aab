"""Where nnU-Net's sliding windows lie in a whole volume, and which of them a part of it needs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nnactive_ext.geometry.patch import Patch, Triple, triple

STEP = 0.5
"""Of the windows, in network patches, as nnU-Net predicts images."""


@dataclass(frozen=True)
class Part:
    """A part of a volume and what its prediction needs, all along the network's axes: the ``core`` that is labelled; the
    ``context``, the voxels of the volume in its windows; ``padding`` before and after the context, where the volume is
    thinner than a network patch; ``windows``, nnU-Net's slicers of the padded context; ``inside``, where in it the core is."""

    core: Patch
    context: Patch
    padding: tuple[tuple[int, int], ...]
    windows: tuple[tuple, ...]
    inside: tuple[slice, ...]


@dataclass(frozen=True)
class Windows:
    """nnU-Net's windows in a volume of ``shape`` voxels: those of its own prediction of the whole, if memory were endless.

    So the labels of a voxel do not depend on the part in which it is predicted. ``patch``: the network patch, of two axes for
    a 2D configuration, whose windows are slices along the first axis. ``step``: of the windows, in network patches.
    """

    shape: Triple
    patch: tuple[int, ...]
    step: float = STEP

    @property
    def size(self) -> Triple:
        """Of a window along all three axes."""
        return triple((1, *self.patch)[-3:])

    @property
    def _low(self) -> Triple:
        """The padding before the first voxel, as nnU-Net pads images that are smaller than a network patch."""
        return triple([max(0, p - n) // 2 for p, n in zip(self.size, self.shape, strict=True)])

    def starts(self) -> list[list[int]]:
        """The first voxels of the windows along each axis of the padded volume."""
        from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window

        padded = [max(n, p) for n, p in zip(self.shape, self.size, strict=True)]
        axes = len(self.patch)
        steps = compute_steps_for_sliding_window(tuple(padded[-axes:]), self.patch, self.step)
        return [list(range(padded[0])), *steps] if axes == 2 else steps

    def part(self, core: Patch) -> Part:
        """What the prediction of ``core`` needs."""
        size, low = self.size, self._low
        chosen, first, last = [], [], []
        for axis, starts in enumerate(self.starts()):
            begin, end = core.start[axis] + low[axis], core.stop[axis] + low[axis]
            here = [start for start in starts if start < end and start + size[axis] > begin]
            chosen.append(here)
            first.append(here[0])
            last.append(here[-1] + size[axis])
        context_start = [max(0, a - p) for a, p in zip(first, low, strict=True)]
        context_stop = [min(n, b - p) for b, p, n in zip(last, low, self.shape, strict=True)]
        context = Patch("", triple(context_start), triple([b - a for a, b in zip(context_start, context_stop, strict=True)]))
        pads = zip(first, last, context_start, context_stop, low, strict=True)
        padding = tuple((a + p - begin, end - (b + p)) for begin, end, a, b, p in pads)
        windows = tuple(
            self._slicer([s - f for s, f in zip(start, first, strict=True)]) for start in itertools.product(*chosen)
        )
        inside = tuple(slice(a + p - f, b + p - f) for a, b, p, f in zip(core.start, core.stop, low, first, strict=True))
        return Part(core, context, padding, windows, inside)

    def _slicer(self, start: Sequence[int]) -> tuple:
        whole = tuple(slice(a, a + n) for a, n in zip(start, self.size, strict=True))
        return (slice(None), start[0], *whole[1:]) if len(self.patch) == 2 else (slice(None), *whole)


def cores(shape: Sequence[int], size: Sequence[int]) -> Iterator[Patch]:
    """Boxes of ``size`` voxels that cover a volume without overlap, from its first voxel on; the last ones are cut."""
    for start in itertools.product(*(range(0, n, s) for n, s in zip(shape, size, strict=True))):
        extent = [min(s, n - a) for a, s, n in zip(start, size, shape, strict=True)]
        yield Patch("", triple(start), triple(extent))
