"""Asks the members about a case: a member at a time, a slab at a time where an image is too large for the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from nnactive_ext.experiment.timing import Stopwatch
from nnactive_ext.members.statistics import Gathered, RunningStatistics
from nnactive_ext.query_methods.base import Statistics

if TYPE_CHECKING:
    import torch

    from nnactive_ext.members.ensemble import Members


def statistics_of(
    members: Members, image: np.ndarray, case: str, start: Callable[[], RunningStatistics], watch: Stopwatch
) -> Callable[[], Statistics]:
    """What the members say about a case.

    Args:
        members: whom to ask; with a method ``parts`` (see :class:`nnactive_ext.members.ensemble.NnUNetEnsemble`) in slabs.
        image: preprocessed (channel, z, y, x).
        case: its name.
        start: makes empty statistics.
        watch: seconds of the networks go to "predict", all else to "statistics".

    Returns:
        What waits for the statistics to come from the device, in any thread.

    Raises:
        NnActiveError: a member's logits are no numbers, or it cannot predict.
    """
    parts = getattr(members, "parts", _whole(members))(image, case)
    gathered, (depth, *_) = Gathered(), image.shape[1:]
    for planes, each in parts:
        running = start()
        while True:
            with watch.of("predict"):
                member = next(each, None)
            if member is None:
                break
            with watch.of("statistics"):
                running.add(member[1], member[0])
            del member  # an image's logits are large: no member's are kept while the next one's are predicted
        if planes.start == 0 and planes.stop >= depth:
            return running.hand_over()
        gathered.add(running, planes, depth)
    return gathered.hand_over()


def _whole(members: Members) -> Callable[[np.ndarray, str], Iterator[tuple[slice, Iterator[tuple[str, torch.Tensor]]]]]:
    def parts(image: np.ndarray, case: str) -> Iterator[tuple[slice, Iterator[tuple[str, torch.Tensor]]]]:
        yield slice(0, image.shape[1]), members.logits(image, case)

    return parts
