"""Which cases of the pool are relevant to a query, by the user's files, verdicts and the first member; and who is left out."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import by_case, loop_file, read_loop, read_loop_content
from nnactive_ext.experiment.marks import Fold
from nnactive_ext.files import read_arrays, replacing
from nnactive_ext.geometry.grid import Grid
from nnactive_ext.geometry.patch import Patch, clipped_size
from nnactive_ext.geometry.windows import windows
from nnactive_ext.labelling.dropping import left_as_irrelevant
from nnactive_ext.labelling.verdicts import irrelevant_cases, relevant_cases, verdicts
from nnactive_ext.members.describing import network_size, undescribed
from nnactive_ext.members.ensemble import Ensemble, check_members
from nnactive_ext.members.quantiles import quantiles_of_case
from nnactive_ext.nnunet.preprocessing import preprocess_image
from nnactive_ext.query_methods.base import Description, PoolCase, Query, Request
from nnactive_ext.query_methods.identity import code_digest
from nnactive_ext.querying.stored import content_of
from nnactive_ext.relevance.deciding import Decided, by_intensities, by_texts, by_verdicts
from nnactive_ext.relevance.detector import can_learn, detected
from nnactive_ext.relevance.examples import Described, examples
from nnactive_ext.relevance.mixing import delta_by_precision, precision_above_median, scheduled_delta
from nnactive_ext.relevance.options import options_of
from nnactive_ext.relevance.reading import Similarity, read_similarity
from nnactive_ext.words import count, listed

FOLDER = "relevance"
"""Of the descriptors of windows, in the results of a cycle; in its loop file, what was decided."""
DESCRIPTION = Description("encoder")


def similarity_of(experiment: Experiment) -> Similarity | None:
    """What the user's folder says about the pool; None without a folder, and before it holds similarities.

    Raises:
        NnActiveError: see :func:`nnactive_ext.relevance.read_similarity`.
    """
    plan = experiment.plan
    folder = options_of(plan.settings.get(FOLDER, ())).folder
    if folder is None:
        return None
    shapes = {case: geometry.shape for case, geometry in plan.pool.items()}
    return read_similarity(folder, shapes, {*plan.dropped, *plan.test}, experiment.dataset.labels.classes)


class RelevantCases:
    """The relevance of the cases of a pool in one query.

    ``opened`` gives the members; it is called only if a case has to be described.
    """

    def __init__(
        self,
        experiment: Experiment,
        request: Request,
        pool: Mapping[str, PoolCase],
        opened: Callable[[], Ensemble],
        folds: Sequence[Fold],
        progress: bool = True,
    ):
        self._experiment, self._request, self._pool = experiment, request, pool
        self._opened, self._folds, self._progress = opened, folds, progress
        self.options = options_of(experiment.plan.settings.get(FOLDER, ()))
        self.similarity = similarity_of(experiment)
        self._verdicts = verdicts(experiment)
        self._left = left_as_irrelevant(experiment)
        there = {*experiment.plan.pool, *self._left.entries}  # some are about to leave the pool
        self._irrelevant = sorted(irrelevant_cases(experiment) & there - set(pool))

    @cached_property
    def asks_members(self) -> bool:
        """Whether a detector can be learned: somebody called something irrelevant, and something relevant is annotated."""
        return self._request.cycle >= 0 and any(one.irrelevant for one in self._verdicts)

    @cached_property
    def _belonging(self) -> frozenset[str]:
        """The cases with annotated voxels, and those that somebody called relevant."""
        annotated = {case for case, voxels in self._experiment.state["annotated"].items() if sum(voxels.values())}
        return frozenset(annotated | relevant_cases(self._experiment))

    def describe(self, cases: Sequence[str]) -> dict[str, Described]:
        """Descriptors of these cases, from files where they are there already; none if no member is asked."""
        if not self.asks_members:
            return {}
        found = {case: self._stored(case) for case in cases}
        missing = [case for case, known in found.items() if known is None]
        for case in tqdm(missing, desc="Describing the pool", disable=not self._progress or not missing):
            found[case] = self._describe(case)
        return {case: self._with_classes(case, *known) for case, known in found.items() if known is not None}

    @cached_property
    def decided(self) -> Decided:
        """The relevance of each case of the pool."""
        cases = sorted(self._pool)
        described = self.describe([*cases, *self._irrelevant])
        margins = None
        if described:
            vectors, classes = examples(described, self._verdicts, self._belonging)
            if can_learn(classes):
                margins = detected(np.array([described[case].mean for case in cases]), vectors, classes)
        if self.similarity:
            return by_texts(cases, self.similarity, margins, self._delta(), self.options.standardise)
        if margins is not None:
            return by_verdicts(cases, margins)
        entries, target = self._experiment.dataset.entries, self._experiment.preprocessed
        quantiles = [quantiles_of_case(entries[case], target) for case in cases]
        return by_intensities(cases, np.array(quantiles), np.array([case in self._belonging for case in cases], bool))

    @property
    def facts(self) -> dict[str, Any]:
        """For the loop file: how relevance was decided, and S, S_vlm and S_det of each case."""
        found = self.decided
        numbers = {
            case: [_plain(number) for number in (one.score, found.texts.get(case), found.detector.get(case))]
            for case, one in found.cases.items()
        }
        return {"by": found.by, "delta": found.delta, "scores": numbers}

    def _delta(self) -> float:
        """The detector's weight: by schedule, or by how precise both were in the last query."""
        scheduled = scheduled_delta(self._request.cycle)
        file = loop_file(self._experiment.raw, self._request.cycle)
        if not self.options.by_precision or not file.is_file():
            return scheduled
        scores = read_loop_content(file).get(FOLDER, {}).get("scores", {})
        answered = self._answered(read_loop(file, self._experiment.dataset.file_ending))
        known = {case: scores[case] for case in answered if None not in scores.get(case, [None])}
        relevant = np.array([answered[case] for case in known], bool)
        _, texts, detector = np.array([known[case] for case in known]).reshape(len(known), 3).T
        weight = delta_by_precision(precision_above_median(detector, relevant), precision_above_median(texts, relevant))
        return scheduled if weight is None else weight

    def _answered(self, patches: Sequence[Patch]) -> dict[str, bool]:
        """The cases of a query that were answered -> whether they are relevant: neither the case nor all its patches are
        irrelevant."""
        cases = {one.case for one in self._verdicts if one.patch is None and one.irrelevant}
        boxes = {one.patch for one in self._verdicts if one.irrelevant}
        found = {}
        for case, asked in by_case(patches).items():
            irrelevant = case in cases or boxes.issuperset(asked)
            if irrelevant or case in self._experiment.state["annotated"]:
                found[case] = not irrelevant
        return found

    def _load(self, case: str) -> tuple[np.ndarray, Grid]:
        """The preprocessed image; cases that left the pool while the experiment was planned have none in a file."""
        target = self._experiment.preprocessed
        if case in self._left.entries and not (target.data_folder / f"{case}.b2nd").is_file():
            return preprocess_image(*self._left.image(case), target, self._experiment.dataset.json)
        return target.load(case)

    def _asked(self, case: str) -> list[Patch]:
        return list(self._pool[case].annotated) if case in self._pool else []

    def _file(self, case: str) -> Path:
        return self._experiment.results / f"cycle_{self._request.cycle:03d}" / FOLDER / f"{case}.npz"

    @cached_property
    def _facts(self) -> dict[str, Any]:
        plan = self._experiment.plan
        facts = {"trainings": check_members(self._experiment, self._folds), "members": str(plan.member_kind)}
        return facts | {"code": code_digest(), "patch": plan.patch_size_mm}

    def _good_for(self, case: str) -> str:
        facts = {**self._facts, "asked": [[patch.start, patch.size] for patch in self._asked(case)]}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _stored(self, case: str) -> tuple[np.ndarray, np.ndarray] | None:
        good_for = self._good_for(case)
        try:
            content = read_arrays(self._file(case))
            return (content["windows"], content["patches"]) if str(content["for"]) == good_for else None
        except (NnActiveError, KeyError):
            return None

    def _describe(self, case: str) -> tuple[np.ndarray, np.ndarray]:
        """The descriptors of the windows of a case and of the patches that were asked for; those cropped away are NaN."""
        experiment = self._experiment
        plans, configuration = experiment.preprocessed.manager()
        image, grid = self._load(case)
        size = network_size(experiment.plan.patch_size_mm, plans.transpose_forward, configuration.spacing)
        boxes = windows(case, image.shape[1:], clipped_size(size, image.shape[1:]))
        number = len(boxes)
        places = [grid.to_network(patch) for patch in self._asked(case)]
        boxes += [place for place in places if place is not None]
        try:
            vectors = self._opened().describe(image, boxes, DESCRIPTION)[0]
        except (RuntimeError, MemoryError) as error:
            raise undescribed(case, DESCRIPTION, error) from error
        if not np.isfinite(vectors).all():
            raise NnActiveError(
                f"{case}: a descriptor holds NaN or infinite values. Look for a diverged training (NaN loss) or for NaN in "
                "the image."
            )
        patches = np.full((len(places), vectors.shape[1]), np.nan, np.float32)
        patches[[place is not None for place in places]] = vectors[number:]
        file = self._file(case)
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary, open(temporary, "wb") as handle:
            arrays = {"for": np.array(self._good_for(case)), "windows": vectors[:number], "patches": patches}
            np.savez(handle, **arrays)  # type: ignore[arg-type]
        return vectors[:number], patches

    def _with_classes(self, case: str, over_windows: np.ndarray, of_patches: np.ndarray) -> Described:
        asked, known = self._asked(case), self._experiment.dataset
        there = np.isfinite(of_patches).all(axis=1)
        patches = [patch for patch, good in zip(asked, there.tolist(), strict=True) if good]
        labels = content_of(known.label_map(case), patches, known.labels) if patches else []
        classes = np.array([content.label() for content in labels], int)
        return Described(over_windows, tuple(patches), of_patches[there], classes)


def screened(
    choose: Callable[[Sequence[str]], Query], decided: Decided, cases: Sequence[str], left_out: float
) -> tuple[Query, list[str]]:
    """The query among the more relevant cases.

    Args:
        choose: makes the query of some cases.
        decided: the relevance of all.
        cases: the pool, in its order.
        left_out: the share of cases that give no patches, the least relevant ones; cases as relevant as the threshold stay.

    Returns:
        The query, and the cases that were left out. If the others have room for fewer patches than asked for, the threshold
        falls case by case, with a warning.
    """
    ranked = sorted(cases, key=lambda case: (decided.cases[case].score, case))
    threshold = decided.cases[ranked[min(math.floor(left_out * len(ranked) + 1e-9), len(ranked) - 1)]].score
    out = [case for case in ranked if decided.cases[case].score < threshold]
    kept, wanted = set(cases) - set(out), len(out)
    query = choose([case for case in cases if case in kept])
    while query.missing and out:
        kept.add(out.pop())
        query = choose([case for case in cases if case in kept])
    if wanted > len(out):
        back = sorted(set(ranked[len(out) : wanted]))
        told = (
            f"-screen {left_out:g} leaves out {count(wanted, 'case')} of {len(ranked)}, but the others have no room for the "
            f"patches asked for. So {listed(back)} may give patches, too."
        )
        query = Query(query.patches, query.missing, (*query.warnings, told))
    return query, sorted(out)


def _plain(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
