"""The members as a screening asks them: opened when first needed, with what measurements by them are good for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment, with_members
from nnactive_ext.experiment.marks import CHECKPOINTS, Fold
from nnactive_ext.experiment.member_kinds import MIRROR
from nnactive_ext.geometry.patch import Patch, Triple
from nnactive_ext.members.describing import network_size, undescribed
from nnactive_ext.members.ensemble import Ensemble, check_members, fold_folder
from nnactive_ext.nnunet.checkpoints import read_checkpoint
from nnactive_ext.query_methods.base import Description

if TYPE_CHECKING:
    import torch

OpenEnsemble = Callable[[Experiment, Sequence[Fold]], Ensemble]
DESCRIPTION = Description("encoder")
_MIRRORINGS = 4
"""Of a single member: as it is, and mirrored along each of three axes; these come first (members/passes.py)."""


@dataclass(frozen=True)
class Network:
    """``size``: the query patch in network voxels. ``regions_order``: nnU-Net's, None without regions. ``facts``: plain values
    that change with the members. ``opened``: the members; ``compared``: those whose foreground is compared, which of a
    ``single`` member are its mirrorings."""

    size: Triple
    regions_order: Sequence[int] | None
    facts: dict[str, Any]
    opened: Callable[[], Ensemble]
    compared: Callable[[], Ensemble]
    single: bool

    @classmethod
    def of(cls, experiment: Experiment, open_ensemble: OpenEnsemble, folds: Sequence[Fold]) -> Network:
        """The members of some folds.

        Raises:
            NnActiveError: a member is missing or of another cycle.
        """
        plan, trainings = experiment.plan, check_members(experiment, folds)
        plans, configuration = experiment.preprocessed.manager()
        size = network_size(plan.patch_size_mm, plans.transpose_forward, configuration.spacing)
        single = plan.member_kind.members(len(folds)) < 2
        several = with_members(experiment, MIRROR) if single else experiment
        opened = cache(lambda: open_ensemble(experiment, folds))
        facts = {"trainings": trainings, "members": str(plan.member_kind), "plans": plan.plans_identifier}
        return cls(
            size,
            experiment.dataset.labels.order,
            facts,
            opened,
            cache(lambda: open_ensemble(several, folds)) if single else opened,
            single,
        )

    @staticmethod
    def mirrors(experiment: Experiment, fold: Fold) -> bool:
        """Whether the member of a fold was trained on mirrored images, so that its mirrorings can be compared."""
        try:
            content = read_checkpoint(fold_folder(experiment, fold) / CHECKPOINTS[0])
        except NnActiveError:  # opening the members says what is wrong with it
            return False
        return bool(content.get("inference_allowed_mirroring_axes"))

    def logits(self, image: np.ndarray, case: str) -> Iterator[tuple[str, torch.Tensor]]:
        """Of each member."""
        return self.opened().logits(np.ascontiguousarray(image), case)

    def compared_logits(self, image: np.ndarray, case: str) -> Iterator[tuple[str, torch.Tensor]]:
        """Of each member whose foreground is compared."""
        found = self.compared().logits(np.ascontiguousarray(image), case)
        return islice(found, _MIRRORINGS) if self.single else found

    def described(
        self, image: np.ndarray, boxes: Sequence[Patch], case: str, description: Description = DESCRIPTION
    ) -> tuple[np.ndarray, tuple[int, ...]]:
        """The descriptors of boxes, float32 (boxes, D), by the first member, and how many of the D belong to each layer."""
        try:
            return self.opened().describe(image, boxes, description)
        except (RuntimeError, MemoryError) as error:
            raise undescribed(case, description, error) from error
