"""Leaves patches that are nearly all air out of a roll-out's random starts and queries."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnactive_ext.engine.body import LEAST_BODY, Body, windows_along
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.plan import KEEP_AIR
from nnactive_ext.geometry.grid import Grid
from nnactive_ext.geometry.patch import Triple, clipped_size
from nnactive_ext.images.air import body_of, outside
from nnactive_ext.labelling.given import given_labels
from nnactive_ext.query_methods.base import Ranking
from nnactive_ext.query_methods.described import only
from nnactive_ext.words import listed

_LOOKED_AT = 64
"""Patch positions along each axis that tell how many are air."""
MOST_OUTSIDE = 0.1
"""If more of a class's annotated voxels lie in what looks like air, it is no air."""
_MICROSCOPE = 0.05
"""mm between voxels, at most: scanners of patients resolve less."""


class Bodies:
    """The bodies in the images of an experiment, each found when it is asked for; what was left out, for people to read.

    ``shares``: for each case that was asked for, the share of its patch positions that are air. ``kept``: the cases with air
    of which all positions are kept, because no patch would hold enough of the body. ``without``: the cases in which no body
    in air was found.
    """

    def __init__(self, experiment: Experiment):
        self.skip = experiment.plan.air != KEEP_AIR
        self.shares: dict[str, float] = {}
        self.kept: list[str] = []
        self.without: set[str] = set()
        self._experiment = experiment
        self._found: dict[str, Body | None] = {}

    def of(self, case: str) -> Body | None:
        """The body in the image of a case; None where all of its patches may be queried."""
        if case not in self._found:
            self._found[case] = self._find(case) if self.skip else None
        return self._found[case]

    @property
    def facts(self) -> dict[str, Any]:
        """For the loop file: in how many cases there is air, and the share of all patch positions that were left out."""
        if not self.skip:
            return {}
        shares = [self.shares[case] for case in sorted(self.shares)]
        mean = round(float(np.mean(shares)), 3) if shares else 0.0
        return {"air": {"cases": sum(share > 0 for share in shares), "of": len(shares), "positions_left_out": mean}}

    @property
    def warnings(self) -> tuple[str, ...]:
        found = []
        if self.kept:
            found.append(
                f"No patch holds {LEAST_BODY:.0%} of what looks like the body in {listed(sorted(self.kept))}, so no patch of "
                "these cases is left out as air."
            )
        # Where most have none, they are images of a microscope, or cut to an organ.
        if 0 < len(self.without) < len(self.shares) / 2:
            found.append(
                f"Most images show a body with air around it, but these do not: {listed(sorted(self.without))}. If there is "
                "air in them, patches of it are not left out: look at these images."
            )
        return tuple(found)

    def _find(self, case: str) -> Body | None:
        experiment = self._experiment
        self.shares[case] = 0.0
        geometry = experiment.plan.pool[case]
        body = body_of(experiment.dataset.image(case)[0]) if max(geometry.spacing) > _MICROSCOPE else None
        if body is None:
            self.without.add(case)
        if body is None or _contradicted(experiment, case, body):
            return None
        shape = geometry.shape
        size = clipped_size(experiment.plan.patch_size(case), shape)
        enough = body.enough([windows_along(n, s, _LOOKED_AT) for n, s in zip(shape, size, strict=True)])
        if not enough.any():
            self.kept.append(case)
            return None
        self.shares[case] = 1 - float(enough.mean())
        return body


def _contradicted(experiment: Experiment, case: str, body: Body) -> bool:
    """Whether people have annotated a class where the image looks like air."""
    if experiment.dataset.entries[case].label.is_file():
        labels = experiment.dataset.label_map(case)
    elif (given := given_labels(experiment, case)) is not None:  # while planning, the first label map is not written yet
        labels = given
    else:
        return False
    values = set(np.unique(labels).tolist()) & set(experiment.dataset.labels.foreground)
    return any(outside(body, labels == value) > MOST_OUTSIDE for value in values)


def open_windows(body: Body | None, grid: Grid, size: Triple) -> np.ndarray | None:
    """Which windows of the network's grid may be chosen: bool, one per start; None where all may."""
    if body is None:
        return None
    found = body.enough(grid.image_windows(size), grid.transpose)
    return found if found.any() else None


def in_body(ranking: Ranking, open: np.ndarray | None) -> Ranking:
    """Without the candidates in windows of air, which methods of other people may propose; patches of the network's grid."""
    if open is None:
        return ranking
    good = [bool(open[tuple(map(min, c.patch.start, np.subtract(open.shape, 1)))]) for c in ranking.candidates]
    return ranking if all(good) else only(ranking, np.array(good))
