"""What the members of an ensemble are (``-members``): the networks of the folds, or several predictions of each network."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from nnactive_ext.errors import NnActiveError

FOLDS, SEEDS, MIRROR, DROPOUT, SNAPSHOTS, SSN = "folds", "seeds", "mirror", "dropout", "snapshots", "ssn"
_NUMBER = {SEEDS: 5, DROPOUT: 10, SNAPSHOTS: 5, SSN: 10}
"""Kinds that have a number, and the number that they have by default."""
_WORD = re.compile(r"(folds)|(mirror)(:noise)?|(seeds|snapshots|ssn)(?::(\d+))?|(dropout)(?::(\d+)(?::(0?\.\d+))?)?")
WORDS = "folds, mirror, mirror:noise, snapshots:5, seeds:5, dropout:10, dropout:10:0.5 and ssn:10"
P = 0.1
"""nnU-Net trains badly with much dropout; the thesis took 0.5."""


@dataclass(frozen=True)
class MemberKind:
    """``number``: networks (``seeds``), predictions (``dropout``), checkpoints (``snapshots``) or samples (``ssn``) of each
    ensemble or training.
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
        """Members of one training. ``axes``: how many the trainer mirrors."""
        if self.name == MIRROR:
            return 2**axes * (1 + self.noise)
        return self.number if self.name in (DROPOUT, SNAPSHOTS, SSN) else 1

    def members(self, folds: int, axes: int = 3) -> int:
        """Members of an ensemble of so many trainings."""
        return folds * self.each(axes)

    def predictions(self, folds: int, axes: int = 3) -> int:
        """How many times all tiles of an image are predicted: for each member, but once for all samples of a network."""
        return folds if self.name == SSN else self.members(folds, axes)

    def measured(self, score: str) -> str:
        """The uncertainty that a voxel score measures with such members; empty for scores that stand for none.

        Members are networks that could have been trained, or samples of what could have been labelled; the disagreement of the
        latter is the ambiguity of the image (thesis, Eq. B.14 to B.16).

        >>> MemberKind.of("folds").measured("bald"), MemberKind.of("ssn").measured("bald")
        ('epistemic', 'aleatoric')
        """
        epistemic, aleatoric = ("expected_entropy", "bald") if self.name == SSN else ("bald", "expected_entropy")
        return {"predictive_entropy": "total", epistemic: "epistemic", aleatoric: "aleatoric"}.get(score, "")

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
    SSN: lambda kind: f"{kind.number} samples of the logits that each stochastic network predicts",
}
"""What the members of each kind are, in words."""
