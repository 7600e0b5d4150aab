"""The galleries of section 3: a picture of each queried box, and why it was asked for."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from nnactive_ext.exchange.reasons import reason
from nnactive_ext.experiment.plan import ALL_LABELS
from nnactive_ext.geometry.axes import Canonical
from nnactive_ext.labelling.tasks import Task
from nnactive_ext.pages.parts import Html, details, element, joined, legend, paragraph, swatch
from nnactive_ext.report.gallery import MEDIA_TYPE, dimensions
from nnactive_ext.report.page_facts import Facts
from nnactive_ext.words import count

if TYPE_CHECKING:
    from nnactive_ext.report.crop import Crop

Draw = Callable[["Crop"], bytes]
"""The picture of a crop, a WebP."""


def galleries(facts: Facts, draw: Draw, most: int) -> Html:
    """Of every cycle at most ``most`` pictures, the newest cycle first."""
    if facts.plan.purpose == ALL_LABELS:
        return Html("")
    if not any(facts.crops.values()) or not most:
        return paragraph("No pictures: none were asked for, or they did not fit into the page.", class_="hint")
    parts: list[object] = [element("h3", "The boxes themselves", id="boxes"), paragraph(_HOW, class_="hint"), _legend(facts)]
    last = max(cycle for cycle, crops in facts.crops.items() if crops)
    for cycle in sorted(facts.crops, reverse=True):
        parts.append(_gallery(facts, cycle, facts.crops[cycle][:most], draw, cycle == last))
    return joined(parts, "\n")


_HOW = (
    "Slices through the middle of each box (white frame), with some of the image around it; the patient's right is on the "
    "left. From top to bottom: the image; what the members that chose the box predicted; how uncertain they were; what is "
    "annotated now. Click to enlarge."
)


def _legend(facts: Facts) -> Html:
    colours = facts.colours
    return legend({name: swatch(colours[name]) for name in facts.names if name not in ("background", "ignore")})


def _gallery(facts: Facts, cycle: int, crops: Sequence[Crop], draw: Draw, first: bool) -> Html:
    loop = facts.loops[cycle]
    boxes = count(len(loop.tasks), "box", "boxes")
    state = ", not all annotated yet" if cycle == facts.open_cycle else ""
    shown = f"; {len(crops)} of them shown" if len(crops) < len(loop.tasks) else ""
    title = f"Cycle {cycle}: {'the starting budget, ' if cycle == 0 else ''}{boxes}{state}{shown}"
    parts: list[object] = [paragraph(text, class_="note") for text in loop.content.get("warnings", ())]
    if missing := loop.content.get("missing"):
        parts.append(paragraph(f"{count(missing, 'box', 'boxes')} fewer than asked for: no more fitted.", class_="note"))
    why = sorted({crop.missing for crop in crops if crop.missing})
    parts += [paragraph(f"Without a prediction: {text}", class_="hint") for text in why]
    tasks = {(task.patch.case, task.patch.start): task for task in loop.tasks}
    shown_boxes = (
        element("li", figure(crop, draw, tasks.get((crop.patch.case, crop.patch.start))), id=anchor(crop)) for crop in crops
    )
    parts.append(element("ul", joined(shown_boxes, "\n"), class_="gallery"))
    return details(title, *parts, open=first)


def figure(crop: Crop, draw: Draw, task: Task | None) -> Html:
    """A crop with its caption."""
    data = draw(crop)
    width, height = dimensions(data)
    at = place(crop)
    title = f"{crop.patch.case}, cycle {crop.cycle}, {at}"
    image = element(
        "img",
        src=f"data:{MEDIA_TYPE};base64,{base64.b64encode(data).decode()}",
        width=width,
        height=height,
        alt=f"Slices through the box: {title}",
    )
    words = reason(task) if task else crop.stratum or "no reason is recorded"
    overlap = f"; {100 * crop.overlap:.0f} % of it asked before" if crop.overlap else ""
    caption = element("figcaption", element("b", crop.patch.case), f" at {at}", element("br"), words + overlap)
    return element("figure", element("button", image, type="button", class_="enlarge", aria_label=f"Enlarge {title}"), caption)


def anchor(crop: Crop) -> str:
    """The id of a box's figure."""
    return re.sub(r"[^\w-]", ".", "-".join(map(str, ("box", crop.cycle, crop.patch.case, *crop.patch.start))))


def place(crop: Crop) -> str:
    """Where the middle of the box is, in mm from the origin of the scanner's coordinates: ``R 12, A 30, H 4 mm``."""
    sides = Canonical.of(crop.space).position(crop.box)
    return ", ".join(f"{side} {away:.0f}" for away, side in reversed(sides)) + " mm"
