"""The galleries of section 3: a picture of each queried patch, and why it was asked for."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from nnactive_ext.experiment.plan import ALL_LABELS
from nnactive_ext.geometry.axes import Canonical
from nnactive_ext.labelling.tasks import Task
from nnactive_ext.members.reasons import reason
from nnactive_ext.pages.planes import planes_of
from nnactive_ext.report.facts import Facts
from nnactive_ext.report.gallery import MEDIA_TYPE, dimensions
from nnactive_ext.words import folded

if TYPE_CHECKING:
    from nnactive_ext.report.crop import Crop

Draw = Callable[["Crop"], bytes]
"""The picture of a crop, a WebP."""


@dataclass(frozen=True)
class Figure:
    """A picture with its caption. ``source``: the picture as a data URL; ``width`` and ``height`` in pixels; ``overlap``: the
    share (0 to 1) of the patch that was asked before; ``planes``: what its columns are, from left to right."""

    id: str
    source: str
    width: int
    height: int
    case: str
    cycle: int
    place: str
    reason: str
    overlap: float
    planes: str


@dataclass(frozen=True)
class Gallery:
    """The figures of one cycle, which asked for ``patches``; ``fewer``: how many it did not find. ``unpredicted``: why some
    figures show no prediction."""

    cycle: int
    patches: int
    fewer: int
    warnings: Sequence[str]
    unpredicted: Sequence[str]
    figures: Sequence[Figure]


@dataclass(frozen=True)
class Spread:
    """Means over ``patches`` of a cycle and the image around them: the ``entropy`` of the mean prediction of the members that
    chose them and their ``bald``, in nat, and their ``disagreement``, 0 to 1 (None: of a single member)."""

    cycle: int
    patches: int
    entropy: float
    bald: float
    disagreement: float | None


def galleries(facts: Facts, draw: Draw, most: int) -> dict[str, Any]:
    """What ``gallery.html`` says; of every cycle at most ``most`` pictures, the newest cycle first."""
    shown = most and facts.plan.purpose != ALL_LABELS and any(facts.crops.values())
    cycles = sorted(facts.crops, reverse=True) if shown else []
    return {
        "galleries": [_gallery(facts, cycle, facts.crops[cycle][:most], draw) for cycle in cycles],
        "newest": max((cycle for cycle in cycles if facts.crops[cycle]), default=None),
        "open_cycle": facts.open_cycle,
        "spreads": [spread for cycle in reversed(cycles) if (spread := spread_of(cycle, facts.crops[cycle]))],
        "pretrained": bool(facts.plan.pretrained),
    }


def spread_of(cycle: int, crops: Sequence[Crop]) -> Spread | None:
    """How far the members that chose the patches of a cycle were apart; None where no prediction tells."""
    told = [(crop.apart, float(crop.uncertainty.mean())) for crop in crops if crop.apart and crop.uncertainty is not None]
    if not told:
        return None
    differ = fmean(apart.disagreement for apart, _ in told)
    means = fmean(entropy for _, entropy in told), fmean(apart.bald for apart, _ in told)
    return Spread(cycle, len(told), *means, None if math.isnan(differ) else differ)


def _gallery(facts: Facts, cycle: int, crops: Sequence[Crop], draw: Draw) -> Gallery:
    loop = facts.loops[cycle]
    tasks = {(task.patch.case, task.patch.start): task for task in loop.tasks}
    return Gallery(
        cycle,
        len(loop.tasks),
        loop.content.get("missing") or 0,
        folded(loop.content.get("warnings", ())),
        sorted({crop.missing for crop in crops if crop.missing}),
        [figure(crop, draw, tasks.get((crop.patch.case, crop.patch.start))) for crop in crops],
    )


def figure(crop: Crop, draw: Draw, task: Task | None) -> Figure:
    """A crop with its caption."""
    data = draw(crop)
    width, height = dimensions(data)
    source = f"data:{MEDIA_TYPE};base64,{base64.b64encode(data).decode()}"
    planes = "; ".join(plane.title for plane in planes_of(crop.space, crop.box, 1))
    words = reason(task) if task else crop.stratum or "no reason is recorded"
    return Figure(anchor(crop), source, width, height, crop.patch.case, crop.cycle, place(crop), words, crop.overlap, planes)


def anchor(crop: Crop) -> str:
    """The id of a patch's figure."""
    return re.sub(r"[^\w-]", ".", "-".join(map(str, ("box", crop.cycle, crop.patch.case, *crop.patch.start))))


def place(crop: Crop) -> str:
    """Where the middle of the patch is, in mm from the origin of the scanner's coordinates: ``R 12, A 30, H 4 mm``."""
    sides = Canonical.of(crop.space).position(crop.box)
    digits = ".0f" if max(crop.space.spacing) > 0.1 else ".4g"
    return ", ".join(f"{side} {away:{digits}}" for away, side in reversed(sides)) + " mm"
