"""Shares of the blocks of a whole volume, as tasks that workers carry out side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnactive_ext.cluster.dask_runner import SHARES
from nnactive_ext.cluster.steps import GPU, log_of
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.members.whole import Asked

_LEAST = 4
"""Blocks of a share, where there are enough."""


@dataclass(frozen=True, eq=False)
class BlockShare:
    """Part ``index`` of ``parts`` of the blocks; several processes predict different parts of one store."""

    asked: Asked
    index: int
    parts: int

    @property
    def name(self) -> str:
        return f"predict_blocks_{self.index}_of_{self.parts}"

    @property
    def words(self) -> str:
        """As messages name it."""
        return f"predicting blocks, part {self.index} of {self.parts}"

    @property
    def needs(self) -> str:
        return GPU

    def log(self, experiment: Experiment) -> Path:
        """The file that gets the output of its process: beside those of the cycle's steps."""
        return log_of(experiment, f"{self.name}.log")

    def is_done(self, experiment: Experiment) -> bool:
        """Whether nothing of it is left to predict."""
        return self.asked.lacking((self.index, self.parts)) == 0

    is_visible = is_done


def block_shares(asked: Asked, parts: int) -> Sequence[BlockShare]:
    """The shares that have blocks left; none where all is predicted.

    Args:
        asked: what is predicted.
        parts: :data:`SHARES` for each worker. There are fewer where a share would have few blocks: its process opens the
            members, which costs seconds, and imports much.
    """
    lacking = asked.lacking()
    number = min(lacking, max(parts // SHARES, min(parts, lacking // _LEAST)))
    shares = (BlockShare(asked, index, number) for index in range(number))
    return [share for share in shares if not share.is_done(asked.experiment)]
