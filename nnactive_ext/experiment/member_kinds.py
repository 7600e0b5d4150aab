"""What the members of an ensemble are (``-members``): the networks of the folds, or several predictions of each network."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from nnactive_ext.errors import NnActiveError

FOLDS, SEEDS, MIRROR, DROPOUT, SNAPSHOTS = "folds", "seeds", "mirror", "dropout", "snapshots"
_NUMBER = {SEEDS: 5, DROPOUT: 10, SNAPSHOTS: 5}
"""Kinds that have a number, and the number that they have by default."""
_WORD = re.compile(r"(folds)|(mirror)(:noise)?|(seeds|snapshots)(?::(\d+))?|(dropout)(?::(\d+)(?::(0?\.\d+))?)?")
WORDS = "folds, mirror, mirror:noise, snapshots:5, seeds:5, dropout:10 and dropout:10:0.5"
P = 0.1
"""nnU-Net trains badly with much dropout; the thesis took 0.5."""


@dataclass(frozen=True)
class MemberKind:
    """``number``: networks (``seeds``), predictions (``dropout``) or checkpoints (``snapshots``) of each ensemble or training.
    ``noise``: mirrored predictions of the image with noise, too. ``p``: probability with which a channel is dropped.

    >>> kind = MemberKind.of("mirror")
    >>> kind.members(folds=1), kind.members(folds=5), kind.members(folds=1, axes=2)
    (8, 40, 4)
    """

    name: str = FOLDS
    number: int = 1
    noise: bool = False
    p: float = P

    @classmethod
    def of(cls, word: str) -> MemberKind:
        """The kind that ``-members`` names.

        Raises:
            NnActiveError: there is no such kind; the message lists them.
        """
        match = _WORD.fullmatch(word)
        if match is None:
            raise NnActiveError(f"-members {word}: there is no such kind of members. There are {WORDS}.")
        folds, mirror, noise, counted, number, dropout, passes, p = match.groups()
        name = folds or mirror or counted or dropout
        made = cls(name, int(number or passes or _NUMBER.get(name, 1)), bool(noise), float(p or P))
        if made.name in _NUMBER and made.number < 2:
            raise NnActiveError(f"-members {word}: the number must be at least 2, because a single member cannot disagree.")
        if not 0 < made.p < 1:
            raise NnActiveError(f"-members {word}: the probability of dropout must be above 0 and below 1.")
        return made

    def __str__(self) -> str:
        number = f":{self.number}" if self.name in _NUMBER else ""
        return f"{self.name}{number}{':noise' if self.noise else ''}{f':{self.p:g}' if self.p != P else ''}"

    def each(self, axes: int = 3) -> int:
        """Members of one training: how many times it predicts each image. ``axes``: how many the trainer mirrors."""
        if self.name == MIRROR:
            return 2**axes * (1 + self.noise)
        return self.number if self.name in (DROPOUT, SNAPSHOTS) else 1

    def members(self, folds: int, axes: int = 3) -> int:
        """Members of an ensemble of so many trainings, each of which predicts all tiles of an image."""
        return folds * self.each(axes)

    @property
    def in_plans(self) -> dict[str, float]:
        """What nnU-Net's plans have to say about it, see :func:`nnactive_ext.nnunet.member_plans.plan_members`."""
        if self.name == SNAPSHOTS:
            return {SNAPSHOTS: self.number}
        return {DROPOUT: self.p} if self.name == DROPOUT else {}


EACH: dict[str, Callable[[MemberKind], str]] = {
    FOLDS: lambda kind: "one for each fold of the cross-validation",
    SEEDS: lambda kind: "one for each training on all annotated cases; without out-of-fold cases there is no cross-validation",
    MIRROR: lambda kind: "each network once for each way to mirror the image" + (", without and with noise" * kind.noise),
    DROPOUT: lambda kind: f"{kind.number} predictions of each network with dropout (p = {kind.p:g})",
    SNAPSHOTS: lambda kind: f"{kind.number} checkpoints of each training, whose learning rate restarts after each",
}
"""What the members of each kind are, in words."""
