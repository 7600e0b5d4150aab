"""The index page of exported tasks: one HTML file that needs nothing else, to choose from and to be led by."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnactive_ext.exchange.view import View, shares
from nnactive_ext.experiment.commands import hand_in
from nnactive_ext.files import write_text
from nnactive_ext.geometry.axes import Canonical
from nnactive_ext.members.reasons import reason
from nnactive_ext.pages.colours import IGNORE, Colour, colours
from nnactive_ext.pages.planes import planes_of
from nnactive_ext.pages.slices import grey_window, three_slices
from nnactive_ext.pages.templates import render

SIZE = 300
"""Pixels along the longest side of a crop; the page shows them up to half as large again."""
BADGES = {"open": "○ open", "partial": "◐ partly done", "done": "● done"}
"""What each status looks like; with a sign and a word, as colour alone says nothing to some."""


@dataclass(frozen=True)
class Picture:
    """One slice: the nearest plane of the patient and what it is called, its PNG in base64, ``width`` and ``height`` in pixels,
    where it lies and how large the patch in it is."""

    plane: str
    title: str
    data: str
    width: int
    height: int
    at: str
    extent: str


@dataclass(frozen=True)
class Card:
    """What the page shows of one task, as plain values; ``templates/card.html`` says it."""

    anchor: str
    status: str
    badge: str
    id: str
    case: str
    classes: Sequence[str]
    """The classes in the patch, without background and ``ignore``."""
    pictures: Sequence[Picture]
    note: str
    why: str
    answered: bool
    """Whether a person labelled what the patch holds."""
    predicted: bool
    """Whether a model did."""
    content: Sequence[tuple[str, Colour | None, float]]
    """Each label in the patch with its colour and its share of the patch, 0 to 1."""
    voxels: Sequence[int]
    """The size of the patch across, from front to back and from head to foot."""
    size: str
    """The same in mm or µm."""
    channel: str
    """The channel that is drawn; empty without names of channels."""
    window: tuple[float, float]
    """The values drawn black and white."""
    more_images: int
    voxel: str
    """The size of a voxel in mm or µm."""
    tilt: int
    """Degrees between the image's axes and the patient's."""
    folder: str
    label: str
    """Names of the task's folder and of the label map in it."""
    annotate: bool = False
    """Whether the folder holds a page that the task can be annotated in."""


def card(view: View, image: np.ndarray, status: str = "open", note: str = "") -> Card:
    """The card of one task, to be given to :func:`write_page`.

    ``image`` (channels, z, y, x) is the crop; its first channel is drawn. ``status`` is one of :data:`BADGES`; ``note`` is
    shown above the facts, as what is left to do.
    """
    task, turn = view.task, Canonical.of(view.space)
    found, shown, why = shares(view), colours(view.names), reason(task)
    order = (2, 1, 0)  # as people say it: across, front to back, head to foot
    voxels = [turn.box(view.box).size[axis] for axis in order]
    return Card(
        anchor=f"task-{task.cycle}-{task.number}",
        status=status,
        badge=BADGES.get(status, status),
        id=task.id,
        case=task.patch.case,
        classes=[name for name in found if name != IGNORE],
        pictures=_pictures(view, image[0], turn),
        note=note,
        why=why[:1].upper() + why[1:],
        answered=not view.predicted and (status != "open" or bool(found)),
        predicted=view.predicted,
        content=[(name, shown.get(name), part) for name, part in found.items()],
        voxels=voxels,
        size=_lengths([n * turn.spacing[axis] for n, axis in zip(voxels, order, strict=True)], view),
        channel=view.channels[0] if view.channels else "",
        window=grey_window(image[0], view.box),
        more_images=max(0, len(view.images) - 1),
        voxel=_lengths(turn.spacing[::-1], view),
        tilt=round(turn.tilt) if turn.tilt >= 1 else 0,
        folder=view.folder.name,
        label=view.label.name,
    )


def write_page(
    file: Path,
    cards: Sequence[Card],
    title: str,
    facts: Sequence[tuple[str, str]],
    names: Mapping[str, int],
    number: int,
    blank: str = "",
) -> None:
    """Write the page of ``cards`` to ``file``, which lies beside the folders of the tasks, whole or not at all.

    ``facts`` are shown under the title, ``names`` (label -> value) make the legend, ``number`` is the dataset's;
    ``blank`` says which classes start blank although a model predicts, and why.
    """
    states = [card.status for card in cards]
    remarks, shown = {0: "unpainted", names.get(IGNORE): "unsure"}, colours(names)
    page = render(
        "exchange",
        "index.html",
        title=title,
        counts=[(badge.split(" ", 1)[1], states.count(status)) for status, badge in BADGES.items()],
        facts=facts,
        noted=[card for card in cards if card.note],
        following=next((card.anchor for card in cards if card.status != "done"), None),
        annotate=next((card.folder for card in cards if card.status != "done" and card.annotate), None),
        folder=file.absolute().parent.name or ".",
        hand_in=hand_in(int(number), file.absolute().parent.name or ".", "YOUR_NAME"),
        hand_in_files=hand_in(int(number), "FILES", "YOUR_NAME"),
        classes=[
            (name, shown[name] if value else None, remarks.get(value, ""), value)
            for name, value in sorted(names.items(), key=lambda item: item[1])
        ],
        cards=cards,
        blank=blank,
    )
    write_text(file, page)


def _pictures(view: View, image: np.ndarray, turn: Canonical) -> list[Picture]:
    """The three slices through the middle of the patch, of one channel."""
    planes = planes_of(view.space, view.box, SIZE)
    by_value = {view.names[name]: colour for name, colour in colours(view.names).items()}
    sides = [n * mm for n, mm in zip(turn.box(view.box).size, turn.spacing, strict=True)]
    drawn = three_slices(image, view.labels, view.space, view.box, by_value, view.names[IGNORE], SIZE)
    pictures = []
    for plane, (_, png) in zip(planes, drawn, strict=True):
        # In an oblique plane a place along one of the patient's axes says little: the first picture gives all three.
        position = turn.position(view.box)
        where = position[plane.axis : plane.axis + 1] if not plane.oblique else position[::-1] if plane is planes[0] else ()
        rows, columns = (other for other in range(3) if other != plane.axis)
        pictures.append(
            Picture(
                plane=plane.name,
                title=plane.title[:1].upper() + plane.title[1:],
                data=base64.b64encode(png).decode(),
                width=int.from_bytes(png[16:20], "big"),
                height=int.from_bytes(png[20:24], "big"),
                at=", ".join(f"{side} {_lengths([away], view)}" for away, side in where),
                extent=_lengths([sides[columns], sides[rows]], view),
            )
        )
    return pictures


def _lengths(values: Sequence[float], view: View) -> str:
    """Millimetres as text, ``57.6 × 120 mm``; in µm where all sides of the voxels are below a hundredth of one."""
    micro = max(view.space.spacing) < 0.01
    scaled = [1000 * value if micro else value for value in values]
    numbers = [f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}".rstrip("0").rstrip(".") for value in scaled]
    return f"{' × '.join(numbers)} {'µm' if micro else 'mm'}"
