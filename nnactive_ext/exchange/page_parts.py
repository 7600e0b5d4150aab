"""The parts of the index page that show one thing each, as escaped HTML."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import numpy as np

from nnactive_ext.exchange.page_template import FIGURE
from nnactive_ext.exchange.view import View
from nnactive_ext.geometry.axes import Canonical
from nnactive_ext.pages.parts import text
from nnactive_ext.pages.slices import Colour, grey_window, three_slices
from nnactive_ext.words import share

IGNORE = "ignore"


def _colours(names: Mapping[str, int]) -> Mapping[str, Colour]:
    from nnactive_ext.pages.colours import colours

    return colours(names)


def _swatch(colour: Colour | None) -> str:
    if colour is None:
        return '<i class="swatch none"></i>'
    red, green, blue = (int(part) for part in colour)
    return f'<i class="swatch" style="background:rgb({red},{green},{blue})"></i>'


def legend(names: Mapping[str, int]) -> str:
    """The classes with their colours and values, as items of a list."""
    colours = _colours(names)
    remarks = {0: " (unpainted)", names.get(IGNORE): " (unsure)"}
    rows = []
    for name, value in sorted(names.items(), key=lambda item: item[1]):
        swatch = _swatch(None if value == 0 else colours.get(name))
        rows.append(f'<li>{swatch}{text(name)}{remarks.get(value, "")} <span class="value">{value}</span></li>')
    return "".join(rows)


def pictures(view: View, image: np.ndarray, classes: Sequence[str]) -> str:
    """The three slices with their captions, as figures; ``image`` is one channel, ``classes`` are named to the blind."""
    by_value = {view.names[name]: colour for name, colour in _colours(view.names).items() if name in view.names}
    turn = Canonical.of(view.space)
    size = turn.box(view.box).size
    sides = [n * mm for n, mm in zip(size, turn.spacing, strict=True)]
    described = f"slice of {view.task.patch.case} through the middle of the box"
    if classes:
        described += f"; outlined in the box: {', '.join(classes)}"
    figures = []
    drawn = three_slices(image, view.labels, view.space, view.box, by_value, view.names[IGNORE])
    for axis, (plane, png) in enumerate(drawn):
        away, side = turn.position(view.box)[axis]
        rows, columns = (other for other in range(3) if other != axis)
        figures.append(
            FIGURE.substitute(
                plane=plane,
                name=plane.capitalize(),
                data=base64.b64encode(png).decode(),
                width=int.from_bytes(png[16:20], "big"),
                height=int.from_bytes(png[20:24], "big"),
                alt=text(f"{plane.capitalize()} {described}"),
                at=f"{side} {_lengths([away], view)}",
                extent=_lengths([sides[columns], sides[rows]], view),
            )
        )
    return "".join(figures)


def content(view: View, found: Mapping[str, float], answered: bool) -> str:
    """What the box holds, as HTML: ``found`` are the shares of its classes, which a person has ``answered`` or a model."""
    if not view.predicted and not answered:
        return "no prediction: nothing trained yet"
    colours = _colours(view.names)
    chips = (f"<span>{_swatch(colours.get(name))}{text(name)} {share(part)}</span>" for name, part in found.items())
    return ", ".join(chips) or "background only"


def box(view: View) -> str:
    """The size of the box in voxels and in mm."""
    turn = Canonical.of(view.space)
    order = (2, 1, 0)  # as people say it: across, front to back, head to foot
    size = [turn.box(view.box).size[axis] for axis in order]
    lengths = _lengths([n * turn.spacing[axis] for n, axis in zip(size, order, strict=True)], view)
    return f"{' × '.join(map(str, size))} voxels, {lengths} (right–left × front–back × head–foot)"


def image_facts(view: View, image: np.ndarray) -> str:
    """What is drawn and how: the channel (``image``), its window, the size of a voxel, an oblique lattice."""
    turn = Canonical.of(view.space)
    low, high = grey_window(image, view.box)
    channel = f"{text(view.channels[0])}, " if view.channels else ""
    tilt = f"; tilted by {turn.tilt:.0f}° against the patient's axes" if turn.tilt >= 1 else ""
    more = f"; {len(view.images) - 1} more in the folder" if len(view.images) > 1 else ""
    return f"{channel}grey from {low:.4g} to {high:.4g}{more}; voxels {_lengths(turn.spacing[::-1], view)}{tilt}"


def _lengths(values: Sequence[float], view: View) -> str:
    """Millimetres as text, ``57.6 × 120 mm``; in µm where all sides of the voxels are below a hundredth of one."""
    micro = max(view.space.spacing) < 0.01
    scaled = [1000 * value if micro else value for value in values]
    numbers = [f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}".rstrip("0").rstrip(".") for value in scaled]
    return f"{' × '.join(numbers)} {'µm' if micro else 'mm'}"
