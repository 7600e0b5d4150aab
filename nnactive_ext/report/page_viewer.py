"""Section 4 of the report: a few crops in an interactive 3D viewer, with pictures of them where it cannot run."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnactive_ext.experiment.plan import ALL_LABELS
from nnactive_ext.pages.colours import UNSURE
from nnactive_ext.pages.parts import Html, element, joined, legend, paragraph, section, swatch, within_script
from nnactive_ext.pages.slices import grey_window
from nnactive_ext.report.page_facts import Facts
from nnactive_ext.report.page_gallery import anchor, place

if TYPE_CHECKING:
    from nnactive_ext.report.crop import Crop

NIIVUE = Path(__file__).parent / "vendor" / "niivue.umd.js"
Volumes = Callable[["Crop"], Mapping[str, bytes]]
"""The layers of a crop as .nii.gz."""
_LAYERS = {"prediction": 50, "uncertainty": 0, "annotation": 0}
"""Their opacity at first, in per cent."""


def chosen(facts: Facts, most: int, pictures: int) -> list[Crop]:
    """The crops worth turning around: those with a prediction first, of the last queries, of each reason they were asked
    for in turn. Only the first ``pictures`` of each cycle count, as the others are not in the gallery."""
    found: list[Crop] = []
    for cycle in sorted(facts.crops, reverse=True):
        seen: Counter[str] = Counter()
        turns = []
        for crop in facts.crops[cycle][:pictures]:
            turns.append((seen[crop.stratum], crop))
            seen[crop.stratum] += 1
        found += [crop for _, crop in sorted(turns, key=lambda turn: turn[0])]  # stable, as is the next one
    return sorted(found, key=lambda crop: crop.prediction is None)[:most]


def viewer(facts: Facts, crops: Sequence[Crop], volumes: Volumes) -> Html:
    """The section; without crops it says so and brings no viewer."""
    title = "4. A closer look, in 3D"
    if not crops:
        queried = facts.plan.purpose != ALL_LABELS
        why = "none were asked for, or they did not fit into the page" if queried else "nothing was queried"
        return section("viewer", title, paragraph(f"No volumes: {why}."))
    colours = facts.colours
    names = [name for name in facts.names if name not in ("background", "ignore")]
    data = (_data(number, crop, volumes) for number, crop in enumerate(crops))
    return section(
        "viewer",
        title,
        paragraph(_HOW, class_="hint screen"),
        element(
            "p",
            _UNABLE,
            class_="unable",
            hidden="",
        ),
        legend({name: swatch(colours[name]) for name in names}),
        element("ul", joined((_choice(n, crop) for n, crop in enumerate(crops)), "\n"), class_="choices"),
        _stage(),
        paragraph(_LICENCE, class_="hint"),
        element("script", within_script(json.dumps(_settings(facts))), type="application/json", id="viewer-settings"),
        *data,
    )


_HOW = (
    "Choose a box. Click into a slice to move the cross, then scroll to leaf through; turn the model by dragging it. The "
    "yellow frame is the box; the patient's right (R) is on the left, S is towards the head. The sliders set how much is seen "
    "of each layer."
)
_UNABLE = "This browser offers no WebGL2, which the viewer needs; the pictures in section 3 show these boxes too."
_LICENCE = (
    "The viewer is niivue 0.69.0, copyright 2021 Niivue, under the BSD 2-Clause licence, whose text comes with nnactive-ext."
)


def scripts() -> list[tuple[str, str]]:
    """What the page has to bring for the viewer to start: (id, source)."""
    return [("niivue-source", NIIVUE.read_text(encoding="utf-8"))]


def _stage() -> Html:
    sliders = [
        element(
            "label",
            name,
            element("input", type="range", name=name, min=0, max=100, value=value, aria_label=f"opacity of the {name}"),
        )
        for name, value in _LAYERS.items()
    ]
    canvas = element("div", element("canvas", tabindex=0, aria_label="3D viewer of the chosen box"), class_="canvas")
    bar = element("form", joined(sliders), element("output", aria_live="polite"), class_="layers")
    return element("div", bar, canvas, class_="viewer", hidden="")


def _choice(number: int, crop: Crop) -> Html:
    title = f"{crop.patch.case}, cycle {crop.cycle}{f', {crop.stratum}' if crop.stratum else ''}"
    button = element(
        "button",
        title,
        type="button",
        hidden="",
        data_crop=f"crop-{number}",
        data_title=title,
        aria_pressed="false",
        aria_label=f"Show in 3D: {title}, {place(crop)}",
    )
    words = element("span", f"{title} ", class_="instead")
    return element("li", button, words, element("a", "picture", href=f"#{anchor(crop)}", aria_label=f"Picture of {title}"))


def _data(number: int, crop: Crop, volumes: Volumes) -> Html:
    layers = {name: base64.b64encode(content).decode() for name, content in volumes(crop).items()}
    ordered = {name: layers[name] for name in ("image", *_LAYERS) if name in layers}
    content = {
        "volumes": ordered,
        "window": [float(edge) for edge in grey_window(crop.image, crop.box)],
        "frame": frame(crop),
        "middle": _ras(crop, [a + (n - 1) / 2 for a, n in zip(crop.box.start, crop.box.size, strict=True)]),
    }
    return element("script", within_script(json.dumps(content)), type="application/json", id=f"crop-{number}")


def _settings(facts: Facts) -> dict[str, Any]:
    """The table of colours: background, ignore and what has no colour are not drawn."""
    values = {value: (*colour, 255) for value, colour in facts.by_value.items()}
    rows = [values.get(value, (0, 0, 0, 0)) for value in range(facts.labels.ignore + 1)]
    red, green, blue, alpha = (list(column) for column in zip(*rows, strict=True))
    labels = {"R": red, "G": green, "B": blue, "A": alpha, "I": list(range(len(rows))), "labels": [""] * len(rows)}
    return {"labels": labels, "unsure": UNSURE}


def frame(crop: Crop) -> dict[str, Any]:
    """The edges of the query box in RAS mm, as niivue takes nodes and edges."""
    corners = list(product((0, 1), repeat=3))
    ends = [
        [start - 0.5 + side * size for start, size, side in zip(crop.box.start, crop.box.size, corner, strict=True)]
        for corner in corners
    ]
    nodes = [
        {"name": "", "x": x, "y": y, "z": z, "colorValue": 1, "sizeValue": 0.01}
        for x, y, z in (_ras(crop, end) for end in ends)
    ]
    edges = [
        {"first": i, "second": j, "colorValue": 1}
        for i, one in enumerate(corners)
        for j, other in enumerate(corners)
        if i < j and sum(a != b for a, b in zip(one, other, strict=True)) == 1
    ]
    thin = 0.006 * max(n * mm for n, mm in zip(crop.space.shape, crop.space.spacing_zyx, strict=True))
    return {
        "name": "box",
        "nodeColormap": "warm",
        "nodeColormapNegative": "winter",
        "nodeMinColor": 0,
        "nodeMaxColor": 1,
        "nodeScale": thin,
        "edgeColormap": "warm",
        "edgeColormapNegative": "winter",
        "edgeMin": 0,
        "edgeMax": 1,
        "edgeScale": thin,
        "legendLineThickness": 0,
        "showLegend": False,
        "nodes": nodes,
        "edges": edges,
    }


def _ras(crop: Crop, index: Sequence[float]) -> list[float]:
    """An index (z, y, x) of the crop in RAS mm."""
    x, y, z = crop.space.to_world(index)
    return [-float(x), -float(y), float(z)]
