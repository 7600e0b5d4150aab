"""CTs of a pool whose grey values are 1024 higher than those of the others, as after a rescale intercept was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nnactive_ext.images.hounsfield import HIGHER
from nnactive_ext.words import count, listed

CT = "ct"
"""What nnU-Net calls a channel of CT, in small letters."""
AIR = -500.0
"""Nothing but CT has such grey values."""


Greys = tuple[float, int | None]
"""Of one channel of a case: the lowest grey value, and :func:`nnactive_ext.images.hounsfield.hounsfield_offset`."""


def stored_higher(greys: Mapping[str, Sequence[Greys]], channels: Sequence[str]) -> list[tuple[str, str]]:
    """What is to be told about cases whose CT is stored higher than that of others, and why; empty if there are none.

    Args:
        greys: of each case, its channels in turn.
        channels: their names.
    """
    told = []
    for number, channel in enumerate(channels):
        found = {case: of[number] for case, of in greys.items() if number < len(of)}
        higher = [case for case, (_, offset) in found.items() if offset == HIGHER]
        right = [minimum for minimum, offset in found.values() if offset == 0]
        if higher and right and (channel.lower() == CT or min(right) <= AIR):
            where = f"{listed(higher, 5)}{f', channel {channel}' if len(channels) > 1 else ''}"
            why = (
                f"{where}: soft tissue lies near {HIGHER}, in {count(len(right), 'other')} near 0, as if the rescale intercept "
                f"was lost; nnU-Net normalises all alike. Subtract {HIGHER} from these images and plan again, or leave them out"
            )
            told.append((f"{count(len(higher), 'CT')} of {len(found)} stored {HIGHER} higher", why))
    return told
