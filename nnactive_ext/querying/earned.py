"""What part of its equal share of a query each class has earned (``shares=earned``): what is known of its map by then."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.marks import Fold
from nnactive_ext.members.ensemble import Ensemble
from nnactive_ext.members.evaluation import cross_validated
from nnactive_ext.members.yields import yields_of
from nnactive_ext.query_methods.base import Request

YIELD, OVERLAP, UNKNOWN = "yield", "cross-validation", "unknown"
"""What an earned share rests on."""
FACT = "earned"
"""In a loop file: of each class the ``part`` that it had earned, and ``by`` what."""


@dataclass(frozen=True)
class Earned:
    """``part``: of its equal share that a class has earned, 0 to 1; None where nothing is known. ``by``: what it rests on."""

    part: float | None
    by: str


class EarnedShares:
    """What the classes of a query have earned, found out when cases are merged, and only for a method that needs it."""

    def __init__(
        self,
        experiment: Experiment,
        method: object,
        request: Request,
        open_ensemble: Callable[[Sequence[int]], Ensemble],
        folds: Sequence[Fold],
        progress: bool = True,
    ):
        self._experiment, self._request, self._needed = experiment, request, getattr(method, "needs_earned", False)
        self._open, self._folds, self._progress = open_ensemble, folds, progress

    @cached_property
    def _found(self) -> Mapping[int, Earned]:
        if not self._needed:
            return {}
        return earned_by_class(self._experiment, self._request, self._open, self._folds, self._progress)

    @property
    def request(self) -> Request:
        """The request with what the classes have earned; candidates are those of the request without it."""
        known = {channel: one.part for channel, one in self._found.items() if one.part is not None}
        return replace(self._request, earned=known)

    @property
    def facts(self) -> dict[str, Any]:
        """For the loop file; empty for methods that do not need it."""
        if not self._needed:
            return {}
        return {FACT: {self._request.classes[channel]: asdict(one) for channel, one in self._found.items()}}


def earned_by_class(
    experiment: Experiment,
    request: Request,
    open_ensemble: Callable[[Sequence[int]], Ensemble],
    folds: Sequence[Fold],
    progress: bool = True,
) -> dict[int, Earned]:
    """What each class of a request has earned, by the first of these that is known.

    * ``yield``: of the annotated patches that the last query chose for the class, the share that held it, as
      :mod:`nnactive_ext.members.yields` counts them. Patches of the starting budget and around marked points do not count,
      because no map chose them.
    * ``cross-validation``: the Dice of the current members on annotated voxels of cases that they were not trained on. It is
      also what a class earns that had no patches in the last query: an old yield of 0 would keep it out for ever.
    * ``unknown``: no member has cases that it was not trained on, or nobody annotated the class in them. A voxel that was taken
      for the class there is no evidence of how well it is found.

    Reference labels are not read, in simulations either. A cross-validation that is there already is not done again.

    Args:
        experiment: the labels of its current cycle are in place.
        request: names the classes.
        open_ensemble: gives the members of some folds; it is called only for a cross-validation.
        folds: the members that are asked for the query.
        progress: show a progress bar.

    Returns:
        Channel of the class -> what it has earned, for all classes of the request.
    """
    found = {name: Earned(part, YIELD) for name, part in _yields(experiment).items()}
    if not found.keys() >= set(request.classes.values()):
        numbered = [fold for fold in folds if isinstance(fold, int) and fold in experiment.folds()]
        held_out = cross_validated(experiment, open_ensemble, numbered, progress)[0]
        there = {name for name, voxels in held_out.voxels_per_class.items() if voxels}
        overlap = {name: dice for name, dice in held_out.dice_per_class.items() if dice is not None and name in there}
        found = {name: Earned(dice, OVERLAP) for name, dice in overlap.items()} | found
    return {channel: found.get(name, Earned(None, UNKNOWN)) for channel, name in request.classes.items()}


def _yields(experiment: Experiment) -> dict[str, float]:
    """Class -> of the annotated patches of its stratum in the last query, the share that held it."""
    cycle = experiment.state["cycle"]
    if cycle < 1:
        return {}
    strata = yields_of(experiment, cycle).items()
    return {name: one.held / one.annotated for name, one in strata if one.chosen_for == name and one.annotated}
