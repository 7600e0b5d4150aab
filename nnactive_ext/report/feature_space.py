"""Where the patches of the last query that compared descriptors lie in feature space: two principal components."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import loop_file, read_loop, read_loop_content
from nnactive_ext.files import read_json
from nnactive_ext.geometry.patch import Patch, triple
from nnactive_ext.labelling.given import given_patches
from nnactive_ext.labelling.tasks import Task, tasks_of
from nnactive_ext.query_methods import methods
from nnactive_ext.querying.query import CANDIDATES
from nnactive_ext.querying.rankings import RankingFile
from nnactive_ext.querying.stored import content_of, read_described
from nnactive_ext.selection import normalised

MOST = 1000
"""Dots of the figure, about 170 bytes each: all chosen patches, then annotated ones, then candidates."""
GIVEN = -1
"""The cycle of a patch that came annotated, with the given label maps."""


@dataclass(frozen=True)
class Point:
    """A patch at (``x``, ``y``): its first two principal components, in units of the descriptors. ``cycle``: the one it was
    chosen for, :data:`GIVEN`, or None where that is not known. ``label``: the name of its class by its annotation; empty for
    candidates and where nothing is annotated."""

    case: str
    x: float
    y: float
    cycle: int | None = None
    label: str = ""


@dataclass(frozen=True)
class FeatureSpace:
    """The query for ``cycle``: its ``candidates`` that were not chosen, the patches ``annotated`` before and those ``chosen``,
    thinned to :data:`MOST`; ``found`` counts them before that. ``shares``: of the variance of all of them along either
    component, 0 to 1. ``undescribed``: chosen patches without a stored descriptor. ``normalise``: how descriptors were
    scaled."""

    cycle: int
    method: str
    normalise: str
    candidates: Sequence[Point]
    annotated: Sequence[Point]
    chosen: Sequence[Point]
    found: tuple[int, int, int]
    undescribed: int
    shares: tuple[float, float]


@dataclass(frozen=True)
class _Stored:
    """A case's candidates and annotated patches; ``vectors``: float32 (N, D) and (M, D); ``labelled``: (M,), class numbers."""

    made_for: str
    patches: Sequence[Patch]
    vectors: tuple[np.ndarray, np.ndarray]
    labelled: Sequence[int]


def feature_space(experiment: Experiment) -> FeatureSpace | None:
    """Of the last query with descriptors of its candidates; None where no query has them.

    Damaged files, files of an earlier query and cases no longer in the pool do not count. Classes are read from the partial
    labels only.
    """
    for cycle in range(experiment.last_loop - 1, -1, -1):
        content = read_loop_content(loop_file(experiment.raw, cycle + 1))
        options = content.get("options") or {}
        stored = _stored(experiment, cycle, each_its_own=str(options.get("features", "")).startswith("file:"))
        tasks = tasks_of(experiment, cycle + 1)
        described = {patch for one in stored.values() for patch in one.patches}
        if any(task.patch in described for task in tasks):
            name = str(content.get("method", ""))
            if found := _gathered(experiment, cycle, name, _normalise(name, options), stored, tasks):
                return found
    return None


def principal(vectors: np.ndarray) -> tuple[np.ndarray, tuple[float, float]] | None:
    """The first two principal components of descriptors.

    Args:
        vectors: (N, D).

    Returns:
        float64 (N, 2), of which the largest weight of each component is positive (0 where D is 1), and the share of the
        variance along each; None if N is below 3 or all vectors are equal.
    """
    if len(vectors) < 3 or not np.ptp(vectors, axis=0).any():
        return None
    from sklearn.decomposition import PCA

    found = PCA(min(2, vectors.shape[1]), random_state=0)
    places = found.fit_transform(vectors.astype(np.float64))
    weights = found.components_
    places *= np.sign(weights[range(len(weights)), np.abs(weights).argmax(axis=1)])
    first, second = (*found.explained_variance_ratio_.tolist(), 0.0)[:2]
    return np.pad(places, ((0, 0), (0, 2 - places.shape[1]))), (first, second)


def _stored(experiment: Experiment, cycle: int, each_its_own: bool) -> dict[str, _Stored]:
    """By case. ``each_its_own``: descriptors come from files, so that each case's candidates are good for its own file."""
    folder = experiment.results / f"cycle_{cycle:03d}" / CANDIDATES
    found = {}
    for case in sorted(set(experiment.plan.pool) - set(experiment.plan.dropped)):
        try:
            content = read_json(folder / f"{case}.json", RankingFile)
            made_for = str(content["for"])
            patches = [Patch(case, triple(start), triple(size)) for _, start, size, _, _ in content["candidates"]]
        except (NnActiveError, KeyError):
            continue
        known = read_described(folder / f"{case}.npz", made_for)
        if known is None or known.vectors is None or not _whole(known.vectors, len(patches), len(known.labelled)):
            continue
        found[case] = _Stored(made_for, patches, known.vectors, known.labelled.tolist())
    if each_its_own:
        return _alike(found, {case: one.vectors[0].shape[1] for case, one in found.items()})
    return _alike(found, {case: (one.made_for, one.vectors[0].shape[1]) for case, one in found.items()})


def _whole(vectors: tuple[np.ndarray, np.ndarray], candidates: int, annotated: int) -> bool:
    own, other = vectors
    return (
        (own.ndim, other.ndim) == (2, 2)
        and (len(own), len(other)) == (candidates, annotated)
        and own.shape[1] == other.shape[1]
        and bool(np.isfinite(own).all() and np.isfinite(other).all())
    )


def _alike(found: Mapping[str, _Stored], what: Mapping[str, Any]) -> dict[str, _Stored]:
    """Those that agree with most; others are left over from an earlier query."""
    most = Counter(what.values()).most_common(1)
    return {case: one for case, one in found.items() if what[case] == most[0][0]}


def _normalise(name: str, options: Mapping[str, str]) -> str:
    """How the method scales descriptors; ``none`` for one that does not say, or cannot be found any more."""
    try:
        return str(getattr(methods.get_confirmed(name, **options), "normalise", "none"))
    except NnActiveError:
        return "none"


def _gathered(
    experiment: Experiment, cycle: int, method: str, normalise: str, stored: Mapping[str, _Stored], tasks: Sequence[Task]
) -> FeatureSpace | None:
    chosen = {task.patch: task for task in tasks}
    labels = _labels_of(experiment, [patch for patch in chosen if patch.case in stored])
    names = dict(enumerate(["background", *experiment.dataset.labels.classes]))
    cycles = _cycles(experiment, cycle)
    patches = [patch for one in stored.values() for patch in one.patches]
    before = [
        Point(case, 0, 0, when, names.get(label, ""))
        for case, one in stored.items()
        for when, label in zip(_matched(cycles.get(case, []), len(one.labelled)), one.labelled, strict=True)
    ]
    own, other = (np.concatenate([one.vectors[i] for one in stored.values()]) for i in range(2))
    components = principal(np.concatenate(normalised(own, other, normalise)))  # type: ignore[arg-type]
    if components is None:
        return None
    places, shares = components[0].tolist(), components[1]
    points: tuple[list[Point], list[Point], list[Point]] = ([], [], [])
    for patch, (x, y) in zip(patches, places[: len(patches)], strict=True):
        if patch in chosen:
            points[2].append(Point(patch.case, x, y, cycle + 1, names.get(labels.get(patch, -1), "")))
        else:
            points[0].append(Point(patch.case, x, y))
    points[1].extend(replace(one, x=x, y=y) for one, (x, y) in zip(before, places[len(patches) :], strict=True))
    last = _thinned(points[2], MOST)
    middle = _thinned(points[1], (MOST - len(last)) // 2)
    return FeatureSpace(
        cycle=cycle + 1,
        method=method,
        normalise=normalise,
        candidates=_thinned(points[0], MOST - len(last) - len(middle)),
        annotated=middle,
        chosen=last,
        found=(len(points[0]), len(points[1]), len(points[2])),
        undescribed=len(tasks) - len(points[2]),
        shares=shares,
    )


def _thinned(points: Sequence[Point], most: int) -> list[Point]:
    """At most so many, evenly from their order, which is that of cases."""
    if len(points) <= most:
        return list(points)
    return [points[i * len(points) // most] for i in range(most)]


def _cycles(experiment: Experiment, upto: int) -> dict[str, list[int]]:
    """Case -> the cycle of each of its patches that were annotated before a query, in the order of their descriptors."""
    found: dict[str, list[int]] = {}
    for patch in given_patches(experiment):
        found.setdefault(patch.case, []).append(GIVEN)
    for cycle in range(upto + 1):
        for patch in read_loop(loop_file(experiment.raw, cycle), experiment.dataset.file_ending):
            found.setdefault(patch.case, []).append(cycle)
    return found


def _matched(cycles: Sequence[int], number: int) -> Sequence[int | None]:
    """Not known if some of the patches have no descriptor."""
    return cycles if len(cycles) == number else [None] * number


def _labels_of(experiment: Experiment, patches: Sequence[Patch]) -> dict[Patch, int]:
    """The class numbers of patches by the partial labels, -1 where nothing of a patch is annotated."""
    found: dict[Patch, int] = {}
    known = experiment.dataset
    for case in sorted({patch.case for patch in patches}):
        here = [patch for patch in patches if patch.case == case]
        try:
            contents = content_of(known.label_map(case), here, known.labels)
        except (NnActiveError, OSError, RuntimeError):  # the section on queries goes without; status says what is wrong
            continue
        found |= {patch: content.label() for patch, content in zip(here, contents, strict=True)}
    return found
