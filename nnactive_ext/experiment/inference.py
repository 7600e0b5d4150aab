"""How test cases are predicted, and in which cycles: as nnU-Net does, unless something cheaper was planned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from nnactive_ext.errors import NnActiveError

ALL, LAST, EVERY = "all", "last", "every"
MIRRORING, STEP, WHEN = "evaluate_mirroring", "evaluate_step", "evaluate"
"""Settings of a plan."""


@dataclass(frozen=True)
class Inference:
    """How one image is predicted: ``mirroring`` along the axes with which the members were trained, and the ``step`` of the
    sliding window as a share of the network patch. The defaults are those of ``nnUNetv2_predict``.

    >>> str(Inference()), str(Inference(False, 0.75))
    ('with mirroring, step 0.5', 'without mirroring, step 0.75')
    """

    mirroring: bool = True
    step: Annotated[float, (0, 1)] = 0.5

    def __str__(self) -> str:
        return f"{'with' if self.mirroring else 'without'} mirroring, step {self.step:g}"


NNUNET = Inference()
"""That of ``nnUNetv2_predict``."""


@dataclass(frozen=True)
class Evaluation:
    """``inference`` is that of the cycles before the last one, of which every ``every``-th is evaluated; 0: none of them."""

    inference: Inference = NNUNET
    every: int = 1

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Evaluation:
        """From the settings of a plan; missing ones are nnU-Net's, in all cycles.

        Raises:
            NnActiveError: a setting is not possible, or they contradict each other.
        """
        mirroring, step, when = (settings.get(name) for name in (MIRRORING, STEP, WHEN))
        step = NNUNET.step if step is None else step
        if not (math.isfinite(step) and 0 < step <= 1):
            raise NnActiveError(f"-{STEP} {step:g}: give the step as a share of the network patch, above 0 and at most 1.")
        found = cls(Inference(mirroring != "no", float(step)), _every(when or ALL))
        if not found.every and found.inference != NNUNET:
            raise NnActiveError(
                f"-{WHEN} {LAST} evaluates the last cycle only, and always as nnU-Net does: leave out -{MIRRORING} and "
                f"-{STEP}, or, where they are planned already, set -{MIRRORING} yes -{STEP} {NNUNET.step:g}."
            )
        return found

    def inferences(self, cycle: int, last: bool) -> tuple[Inference, ...]:
        """With what a cycle is evaluated; empty: not at all.

        The ``last`` cycle is always evaluated as nnU-Net does, and also as the cycles before it, with which it is compared.
        """
        if last:
            return tuple(dict.fromkeys([NNUNET, self.inference]))
        return (self.inference,) if self.every and cycle % self.every == 0 else ()

    @property
    def when(self) -> str:
        """As after ``-evaluate``."""
        return {0: LAST, 1: ALL}.get(self.every, f"{EVERY} {self.every}")


def _every(words: str) -> int:
    name, _, number = words.partition(" ")
    if name == EVERY and number.isdecimal() and int(number) > 0:
        return int(number)
    if words in (ALL, LAST):
        return int(words == ALL)
    raise NnActiveError(f"-{WHEN} {words}: give {ALL}, {LAST}, or {EVERY} N with N of 1 or more.")
