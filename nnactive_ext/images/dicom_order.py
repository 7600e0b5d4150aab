"""The frames of one DICOM series in the order of their places, if they are one even, straight volume."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.images.dicom_frames import Frame
from nnactive_ext.images.nifti import numbers
from nnactive_ext.words import enumerated, listed

_TOLERANCE = 0.1
"""Of the distance between slices: how far a slice may be from where it should; headers hold rounded numbers."""
KEEP = "Keep each series in a folder of its own."


def in_order(where: Path, frames: Sequence[Frame]) -> list[Frame]:
    """The frames, first slice first along their normal; NnActiveError names what keeps them from being a volume."""
    _check_alike(where, frames)
    normal = np.cross(*frames[0].orientation)
    along = np.array([frame.position @ normal for frame in frames])
    order = np.argsort(along, kind="stable")
    frames, along = [frames[i] for i in order], along[order]
    places = np.array([frame.position for frame in frames])
    gaps = np.diff(along)
    spread = gaps[gaps > 1e-3]
    typical = float(np.median(spread)) if len(spread) else 0.0
    if gaps.min() < 1e-3 or gaps.min() < 0.01 * typical:
        _refuse_same_place(where, frames, along, max(1e-3, 0.01 * typical))
    if np.abs(along - np.linspace(along[0], along[-1], len(along))).max() > _TOLERANCE * typical:
        i = int(np.argmax(np.abs(gaps - typical)))
        raise NnActiveError(
            f"{where}: the slices are not evenly spaced: {gaps[i]:.4g} mm between {frames[i].name} at "
            f"{numbers(places[i])} mm and {frames[i + 1].name}, elsewhere {typical:.4g} mm. Is a slice missing? "
            "Export the series again, or resample it to even slices."
        )
    sideways = places - places[0] - np.outer(along - along[0], normal)
    # Half a voxel: the normal is known no better than to the four digits that some scanners write.
    if np.linalg.norm(sideways, axis=1).max() > 0.5 * min(frames[0].spacing):
        raise NnActiveError(
            f"{where}: its slices are shifted against each other (a tilted gantry): {numbers(sideways[-1])} mm from the first "
            "to the last. Straighten it first, for example with dcm2niix."
        )
    return list(frames)


def _check_alike(where: Path, frames: Sequence[Frame]) -> None:
    first = frames[0]
    for frame in frames[1:]:
        for what in ("size", "spacing", "orientation"):
            one, this = np.ravel(getattr(first, what)), np.ravel(getattr(frame, what))
            if not np.allclose(one, this, rtol=1e-3, atol=1e-3):
                what = {"orientation": "direction"}.get(what, what)
                values = f"{numbers(this)} instead of {numbers(one)} as in {first.name}"
                raise NnActiveError(
                    f"{where}: slices of different {what} in one series: {frame.name} has {values}. {KEEP} A localiser among "
                    "the slices has to be moved out."
                )
        if frame.rescaled != first.rescaled:
            fuller, other = sorted((first, frame), key=lambda one: -len(one.rescaled))
            raise NnActiveError(
                f"{where}: {fuller.name} states {enumerated(fuller.rescaled)}, {other.name} "
                f"{f'only {enumerated(other.rescaled)}' if other.rescaled else 'does not'}, so their grey values cannot be "
                "compared. Export the series again."
            )


def _refuse_same_place(where: Path, frames: Sequence[Frame], along: np.ndarray, least: float) -> None:
    """Say what lies at one place: the header's fields that differ between frames there."""
    i = int(np.argmin(np.diff(along)))
    there = [frame for frame, at in zip(frames, along, strict=True) if abs(at - along[i]) < least]
    names = enumerated([frame.name for frame in there[:3]]) if len(there) < 4 else listed([f.name for f in there], 3)
    fields = sorted({name for frame in there for name in frame.telling})
    values = {name: list(dict.fromkeys(frame.telling.get(name, "") for frame in there)) for name in fields}
    differing = [f"{name} {listed(found, 4)}" for name, found in values.items() if len(found) > 1]
    said = f" that differ in {enumerated(differing[:3])}" if differing else ""
    raise NnActiveError(
        f"{where}: slices lie at the same place, {names} at {numbers(frames[i].position)} mm{said}: several time points, "
        "echoes or copies in one series. Keep one slice for each place; dcm2niix, for example, writes a file for each of these."
    )
