"""The query of one cycle: rank every pool case (each into a file of its own), merge, write the loop file."""

from __future__ import annotations

import hashlib
import json
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from nnactive_ext.engine.body import Body
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.environment import Environment, distinct, observe
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import MEMBER_KIND, PREDICTED, entry, loop_file, write_loop
from nnactive_ext.experiment.marks import ENVIRONMENTS, Fold
from nnactive_ext.experiment.member_kinds import FOLDS
from nnactive_ext.experiment.timing import Stopwatch, Timing
from nnactive_ext.files import read_made_for, write_json
from nnactive_ext.geometry.grid import Grid
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.labelling.repeats import draw_repeats
from nnactive_ext.labelling.tasks import LABEL_VERSION, REPEATS
from nnactive_ext.members.asking import statistics_of
from nnactive_ext.members.describing import network_size, undescribed
from nnactive_ext.members.ensemble import Ensemble, check_folds, check_members, device_of, start_weights
from nnactive_ext.members.samples import free_here
from nnactive_ext.members.statistics import RunningStatistics
from nnactive_ext.parallel import one_ahead
from nnactive_ext.query_methods import methods
from nnactive_ext.query_methods.base import (
    Description,
    PoolCase,
    Query,
    RankedMethod,
    Ranking,
    Request,
    ScoredCase,
    ScoredPatch,
    Statistics,
    needs_of,
)
from nnactive_ext.query_methods.described import check_vectors, with_vectors
from nnactive_ext.query_methods.disagreement import check_members_needed
from nnactive_ext.query_methods.identity import code_digest, identity
from nnactive_ext.query_methods.selection import Floors, LeftOut, stratum_keys
from nnactive_ext.querying.air import Bodies, in_body, open_windows
from nnactive_ext.querying.descriptor_files import of_folder
from nnactive_ext.querying.earned import EarnedShares
from nnactive_ext.querying.pipeline import one_behind
from nnactive_ext.querying.pool import pool_cases, request_for
from nnactive_ext.querying.rankings import LEFT_OUT, RankingFile, Rankings, ranking_from_json, ranking_to_json
from nnactive_ext.querying.relevant import FOLDER as RELEVANCE
from nnactive_ext.querying.relevant import RelevantCases, screened
from nnactive_ext.querying.screen import checked_screen, planned_screen
from nnactive_ext.querying.stored import content_of, read_described, write_described
from nnactive_ext.words import listed

OpenEnsemble = Callable[[Experiment, Sequence[Fold]], Ensemble]
"""Opens the members of these folds; called only when a case has to be predicted."""


def query_cycle(
    experiment: Experiment,
    open_ensemble: OpenEnsemble,
    folds: Sequence[Fold],
    method: str | None = None,
    options: Mapping[str, str] | None = None,
    n: int | None = None,
    parts: tuple[int, int] = (0, 1),
    progress: bool = True,
    accumulators: str = "single",
    screen: float | None = None,
    overlapped: bool = True,
) -> Query | None:
    """Choose the patches of the next cycle and write its loop file.

    Args:
        experiment: the labels of its current cycle are in place.
        open_ensemble: opens the members of some folds; it is called only when a case must be predicted.
        folds: the members that are asked.
        method: the query method (default: the plan's).
        options: options of the method as text (default: the plan's).
        n: how many patches (default: the plan's query size).
        parts: (part id, number of parts). With more than one part, only this share of the cases is ranked; a later call
            without parts finds their files and merges them.
        progress: show progress bars.
        accumulators: "single" or "half", see :class:`RunningStatistics`.
        screen: share of the cases that give no patches this time, those of the least relevance (default: the plan's).
        overlapped: rank a case while the next is predicted, where memory allows; the query is the same without.

    Returns:
        The query, or None with more than one part. It may have fewer patches than asked for; ``missing`` says how many fewer. A
        query without any patch is not written.

    Raises:
        NnActiveError: a member is missing or of another cycle, a case cannot be predicted, or the method does not fit.
    """
    cycle, plan = experiment.state["cycle"], experiment.plan
    name = method or plan.method
    options = dict(options or {}) if method else dict(plan.method_options)
    name, options = methods.lasting(name, options)
    chosen = (methods.get if method else methods.get_confirmed)(name, **options)
    request = request_for(experiment, plan.query_size if n is None else n, cycle)
    if request.n < 1:
        raise NnActiveError(f"A query of {request.n} patches is not possible; ask for at least 1 patch.")
    bodies = Bodies(experiment)
    pool = pool_cases(experiment, chosen.needs_reference, bodies)
    members: list[Fold] = []
    predicted: list[str] | None = None
    environments: list[Environment | None] = []
    timing = Timing(experiment, cycle)
    opened = cache(lambda: open_ensemble(experiment, folds))
    left_out = planned_screen(experiment.plan, chosen) if screen is None else checked_screen(screen, chosen)
    relevant = None
    if left_out or getattr(chosen, "needs_relevance", False):
        relevant = RelevantCases(experiment, request, pool, opened, folds, progress)
    part, number = parts
    if isinstance(chosen, RankedMethod):
        check_folds(experiment, folds)
        those = f"the folds of {experiment.name} are {listed(experiment.folds(), 20)}; -members mirror makes several of each"
        check_members_needed(chosen, plan.member_kind.members(len(folds)), request, experiment.source.labels.regions, those)
        ranker = _Ranker(experiment, chosen, request, pool, bodies, opened, folds, timing, accumulators, overlapped)
        if number > 1:
            mine = list(pool)[part::number]
            if relevant:
                relevant.describe(mine)
            ranker.rank(mine, progress)
            return None
    elif number > 1:
        return None  # nothing to score: the call without parts draws
    if relevant:
        with timing.of("describe"):
            pool = {name: replace(case, relevance=relevant.decided.cases[name]) for name, case in pool.items()}
    ranked: dict[str, None] = {}  # a dict keeps their order
    earned = EarnedShares(experiment, chosen, request, partial(open_ensemble, experiment), folds, progress)

    def choose(cases: Sequence[str]) -> Query:
        """The query among some cases, of which those are ranked that were not ranked before."""
        some = {case: pool[case] for case in cases}
        if not isinstance(chosen, RankedMethod):
            with timing.of("score"):
                return chosen.draw(some, request)
        ranker.rank([case for case in cases if case not in ranked], progress)
        ranked.update(dict.fromkeys(cases))
        try:
            with timing.of("score"):
                return chosen.merge(Rankings(cases, ranker.stored), some, earned.request)
        except LeftOut as needed:  # rare: the query needs more candidates than are worth keeping
            ranker.complete(cases, needed.strata, progress)
        with timing.of("score"):
            return chosen.merge(Rankings(cases, ranker.stored), some, earned.request)

    query, out = screened(choose, relevant.decided, list(pool), left_out) if relevant else (choose(list(pool)), [])
    if isinstance(chosen, RankedMethod):
        members, environments = list(folds), [ranker.environments[case] for case in ranked]
        found = frozenset().union(*(ranker.predicted[case] for case in ranked))
        predicted = [name for channel, name in request.classes.items() if channel in found]
    query = replace(query, warnings=(*query.warnings, *_hardly_told(experiment, chosen), *bodies.warnings))
    if query.patches:
        with experiment.lock(wait=True):
            more = bodies.facts if predicted is None else {**bodies.facts, PREDICTED: list(predicted)}
            more |= {RELEVANCE: {**relevant.facts, "screen": left_out, "left_out": out}} if relevant else {}
            more |= earned.facts
            _write(experiment, query, name, options, request, members, environments, more)
    return query


def _hardly_told(experiment: Experiment, method: methods.Method) -> tuple[str, ...]:
    """A warning where the query patch takes most of the network patch, over which InstanceNorm fixes mean activations."""
    description: Description | None = getattr(method, "describe", None)
    if description is None or description.features not in ("encoder", "decoder", "pretrained"):
        return ()
    plans, configuration = experiment.preprocessed.manager()
    patch = network_size(experiment.plan.patch_size_mm, plans.transpose_forward, configuration.spacing)
    window = list(configuration.patch_size)
    covered = math.prod(min(n, w) / w for n, w in zip(patch[-len(window) :], window, strict=True))
    if covered <= _MOST_COVERED:
        return ()
    return (
        f"A query patch covers {covered:.0%} of the network patch. Normalisation gives activations nearly the same mean there "
        "in all images, so descriptors differ little. Plan smaller query patches, or give descriptors in files "
        "(features=file:FOLDER).",
    )


_MOST_COVERED = 0.5
CANDIDATES = "candidates"
"""The folder of the cases' rankings, in the results of a cycle."""
_ENVIRONMENT, _AIR, _NO_BODY = "environment", "air", "no_body"


_STATISTICS = 16
"""Bytes a voxel and channel that must be free to predict a case while another is ranked: more than means and logits take."""


@dataclass(frozen=True)
class _Loaded:
    """A case's image (channel, z, y, x) on its grid, the body in it, and the seconds spent on the case so far."""

    case: str
    image: np.ndarray
    grid: Grid
    body: Body | None
    watch: Stopwatch

    def without_image(self) -> _Loaded:
        """For what needs the image no more."""
        return replace(self, image=np.empty(0, np.float32))


@dataclass(frozen=True)
class _Predicted:
    """A predicted case; ``arrived`` waits until its statistics have come from the device. ``floors``: of the method's keys."""

    arrived: Callable[[], Statistics]
    loaded: _Loaded
    floors: Mapping[str, float]


@dataclass(frozen=True)
class _Ranked:
    """A ranked case; ``boxes``: its candidates and annotated patches on the network's grid, which lie ``here`` in the image."""

    case: str
    ranking: Ranking
    boxes: Sequence[Patch]
    here: Sequence[Patch]
    loaded: _Loaded


class _Ranker:
    """Ranks cases and keeps each ranking in a file that is good for exactly these members, this method and request."""

    def __init__(
        self,
        experiment: Experiment,
        method: RankedMethod,
        request: Request,
        pool: Mapping[str, PoolCase],
        bodies: Bodies,
        opened: Callable[[], Ensemble],
        folds: Sequence[Fold],
        timing: Timing,
        accumulators: str,
        overlapped: bool,
    ):
        self.overlapped = overlapped
        self.experiment, self.method, self.request, self.pool, self.timing = experiment, method, request, pool, timing
        self.bodies = bodies
        self.trainings = check_members(experiment, folds)
        self._open = opened
        self._ensemble: Ensemble | None = None
        self._environment: Environment
        self.environments: dict[str, Environment | None] = {}
        self.predicted: dict[str, frozenset[int]] = {}
        usable: Callable[[Request], Mapping[str, int] | None] | None = getattr(method, "usable", None)
        number = usable(request) if usable else None
        self.floors = Floors(number) if number is not None else None
        self._fresh: deque[Sequence[ScoredPatch]] = deque()  # of cases that are ranked, in order, and not yet added to floors
        self._asked = self._added = 0
        self.accumulators, self.regions = accumulators, experiment.source.labels.regions
        self.target = experiment.preprocessed
        self.data_folder = self.target.data_folder
        facts = {"method": identity(method), "request": repr(request), "trainings": self.trainings}
        facts |= {"accumulators": accumulators, "code": code_digest(), "air": experiment.plan.air}
        facts["members"] = str(experiment.plan.member_kind)
        self.description: Description | None = getattr(method, "describe", None)
        if self.description:
            facts["cases"] = str(request.cases)
            if self.description.features == "pretrained":
                start_weights(experiment)  # which says what is wrong before any case is predicted
        folder = self.description.folder if self.description else ""
        self.files = of_folder(folder, ((case, pool[case].shape) for case in pool))
        self.digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        self.folder = experiment.results / f"cycle_{request.cycle:03d}" / CANDIDATES

    def rank(self, cases: Sequence[str], progress: bool) -> None:
        """Rank those that have no ranking yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._rank_all([case for case in cases if not self._noted(case)], len(cases), progress)

    def complete(self, cases: Sequence[str], strata: frozenset[str], progress: bool) -> None:
        """Rank those again whose rankings lack candidates of these strata."""
        self.floors = None
        lacking = [case for case in cases if strata & set((self._content(case) or {}).get(LEFT_OUT, ()))]
        self._rank_all(lacking, len(lacking), progress)

    def _rank_all(self, left: Sequence[str], number: int, progress: bool) -> None:
        bar = tqdm(desc="Scoring the pool", total=number, initial=number - len(left), disable=not progress)
        with bar, closing(one_ahead(self._load, left)) as loaded:
            images = self._images(left, loaded)
            with closing(one_behind(images, self._predict, self._rank, self._has_room)) as ranked:
                for one, waited in ranked:
                    ranking = self._finish(one) if self._described_by_members else one.ranking
                    self.predicted[one.case] = ranking.predicted
                    self._fresh.append(ranking.candidates)
                    seconds = one.loaded.watch.seconds
                    self.timing.note({**seconds, "score": waited}, one.case, beside={"score": seconds["score"]})
                    bar.update()

    def stored(self, case: str) -> Ranking:
        """The ranking of a case that was ranked."""
        content = self._content(case)
        if content is None:
            raise NnActiveError(f"{self._file(case)}: something changed this file during the query. Run the query again.")
        described = read_described(self._file(case, ".npz"), self._good_for(case)) if self.description else None
        return replace(ranking_from_json(content, case), described=described)

    @property
    def _described_by_members(self) -> bool:
        """Whether patches are described by a network, which predicts only one thing at a time."""
        return self.description is not None and self.files is None

    def _write(self, case: str, ranking: Ranking) -> None:
        if ranking.described:
            write_described(self._file(case, ".npz"), ranking.described, self._good_for(case))
        content = ranking_to_json(ranking, self._good_for(case))
        if case in self.bodies.shares:
            content |= {_AIR: self.bodies.shares[case], _NO_BODY: case in self.bodies.without}
        write_json(self._file(case), {**content, _ENVIRONMENT: asdict(self._environment)})

    def _file(self, case: str, ending: str = ".json") -> Path:
        return self.folder / f"{case}{ending}"

    def _good_for(self, case: str) -> str:
        """What a stored ranking is good for; with descriptors in a file, for this file."""
        if self.files is None:
            return self.digest
        return hashlib.sha256(f"{self.digest} {self.files.digest(case)}".encode()).hexdigest()

    def _content(self, case: str) -> dict[str, Any] | None:
        """The file of a ranking; None if it is not there, or not good for this query."""
        remedy = "Delete it, and the query ranks the case again."
        return read_made_for(self._file(case), self._good_for(case), RankingFile, remedy)

    def _noted(self, case: str) -> bool:
        """Whether a case is ranked; what its file says beside candidates is noted."""
        content = self._content(case)
        if content is None:
            return False
        if self.description and read_described(self._file(case, ".npz"), self._good_for(case)) is None:
            return False
        self.environments[case] = Environment.of(content.get(_ENVIRONMENT))
        ranking = ranking_from_json(content, case)
        self.predicted[case] = ranking.predicted
        self._add(ranking.candidates)
        if _AIR in content:
            self.bodies.shares[case] = float(content[_AIR])
            if content.get(_NO_BODY):
                self.bodies.without.add(case)
        return True

    def _add(self, candidates: Sequence[ScoredPatch]) -> None:
        """Note what one more case offers."""
        keys: dict[str, list[float]] = {}
        for stratum, key in stratum_keys(candidates):
            keys.setdefault(stratum, []).append(key)
        for stratum, own in keys.items():
            if self.floors:
                self.floors.add(stratum, own)

    def _load(self, case: str) -> tuple[np.ndarray, Grid, Body | None]:
        try:
            return (*self.target.load(case, self.data_folder), self.bodies.of(case))
        except MemoryError as error:
            raise NnActiveError(f"{case}: not enough memory to load its preprocessed image.") from error

    def _images(self, cases: Sequence[str], loaded: Iterator[tuple[np.ndarray, Grid, Body | None]]) -> Iterator[_Loaded]:
        for case in cases:
            watch = Stopwatch()
            with watch.of("load"):
                image, grid, body = next(loaded)
            yield _Loaded(case, image, grid, body, watch)

    def _has_room(self, one: _Loaded) -> bool:
        """Whether a case may be predicted while the one before it is ranked: whether its statistics fit into memory, too."""
        free = free_here()
        channels = len(self.request.classes) + (not self.regions)
        return self.overlapped and (free is None or _STATISTICS * channels * math.prod(one.image.shape[1:]) < free)

    def _predict(self, one: _Loaded) -> _Predicted:
        if self._ensemble is None:
            self._ensemble = self._open()
            self._environment = observe(device_of(self._ensemble), self.accumulators)
        self.environments[one.case] = self._environment
        with self._naming(one.case):
            start = partial(RunningStatistics, self.regions, self.accumulators, needs_of(self.method))
            arrived = statistics_of(self._ensemble, one.image, one.case, start, one.watch)
        return _Predicted(arrived, one if self._described_by_members else one.without_image(), self._lowest())

    def _lowest(self) -> Mapping[str, float]:
        """The floors of the case that is predicted now.

        They rest on all before it but the last, which may be at work: so rankings do not depend on how steps overlap.
        """
        if self.floors is None:
            self._fresh.clear()
            return {}
        while self._added < self._asked - 1:
            self._add(self._fresh.popleft())
            self._added += 1
        self._asked += 1
        return dict(self.floors.lowest)

    @contextmanager
    def _naming(self, case: str) -> Iterator[None]:
        """Errors of the block name the ``case``."""
        try:
            yield
        except (NnActiveError, RuntimeError, MemoryError) as error:  # RuntimeError is torch's, mostly for want of memory
            short = isinstance(error, MemoryError) or "memory" in str(error).lower()
            less = " -precision half needs less." if short and self.accumulators != "half" else ""
            raise NnActiveError(f"{case}: {error or 'not enough memory for the statistics of this case.'}{less}") from error

    def _rank(self, predicted: _Predicted) -> _Ranked:
        """Rank a case, and write its ranking unless members are to describe it; called in a thread of its own."""
        one, case = predicted.loaded, predicted.loaded.case
        pool_case, grid, watch = self.pool[case], one.grid, one.watch
        with self._naming(case), watch.of("score"):
            statistics = predicted.arrived()
        both = [(patch, there) for patch in pool_case.annotated if (there := grid.to_network(patch))]
        annotated = [there for _, there in both]
        with watch.of("score"):
            size = grid.network_size(pool_case.patch_size)
            windows = open_windows(one.body, grid, size)
            scored = ScoredCase(case, statistics, size, annotated, windows, floors=predicted.floors)
            if self.description and annotated:
                known = self.experiment.dataset
                scored = replace(scored, labelled=content_of(known.label_map(case), [patch for patch, _ in both], known.labels))
            try:
                ranking = in_body(self.method.rank(scored, self.request), scored.open)
            except MemoryError as error:
                raise NnActiveError(f"{case}: not enough memory to score this case.") from error
        boxes = [*(c.patch for c in ranking.candidates), *annotated]
        moved = [replace(c, patch=grid.to_image(c.patch, pool_case.patch_size)) for c in ranking.candidates]
        ranking = replace(ranking, candidates=tuple(moved))
        ranked = _Ranked(case, ranking, boxes, [*(c.patch for c in moved), *(patch for patch, _ in both)], one)
        return ranked if self._described_by_members else replace(ranked, ranking=self._finish(ranked))

    def _finish(self, one: _Ranked) -> Ranking:
        """The ranking with descriptors, where the method compares patches, written to its file."""
        ranking, loaded = one.ranking, one.loaded
        if self.description:
            with loaded.watch.of("describe"):
                ranking = self._described(self.description, ranking, loaded.image, one.boxes, one.here, one.case)
        self._write(one.case, ranking)
        return ranking

    def _described(
        self,
        description: Description,
        ranking: Ranking,
        image: np.ndarray,
        boxes: Sequence[Patch],
        here: Sequence[Patch],
        case: str,
    ) -> Ranking:
        """``ranking`` with the descriptors of its candidates and of annotated patches: ``boxes`` on the network's grid, which
        lie ``here`` in the image."""
        if self.files is not None:
            return with_vectors(ranking, *self.files(case, here))
        assert self._ensemble is not None, "it has predicted the case"
        try:
            vectors, sections = self._ensemble.describe(image, boxes, description)
        except NnActiveError:
            raise
        except (RuntimeError, MemoryError) as error:
            raise undescribed(case, description, error) from error
        ranking = with_vectors(ranking, vectors, np.ones(len(boxes), bool), sections)
        check_vectors(case, ranking.described)
        return ranking


def _write(
    experiment: Experiment,
    query: Query,
    method: str,
    options: Mapping[str, str],
    request: Request,
    members: Sequence[Fold],
    environments: Sequence[Environment | None],
    more: Mapping[str, Any],
) -> None:
    """``environments``: those in which the cases were scored; ``more``: what else the loop file says."""
    ending = experiment.dataset.file_ending
    patches = [
        entry(
            p.patch,
            ending,
            score=float(p.score),
            key=float(p.key) if math.isfinite(p.key) else None,
            stratum=p.stratum,
        )
        for p in query.patches
    ]
    here = observe()
    known = [one.versions for one in environments if one]
    facts = {
        "method": method,
        "options": dict(options),
        "cycle": request.cycle + 1,
        "seed": request.seed,
        "members": list(members),
        "missing": query.missing,
        "warnings": list(query.warnings),
        "versions": here.versions,
        ENVIRONMENTS: distinct([*environments, *(() if here.versions in known else (here,))]),
    }
    facts |= more
    if members and (kind := str(experiment.plan.member_kind)) != FOLDS:
        facts[MEMBER_KIND] = kind
    if experiment.plan.label_version:
        facts[LABEL_VERSION] = experiment.plan.label_version
    if repeated := draw_repeats(experiment, len(patches)):
        facts[REPEATS] = repeated
    write_loop(loop_file(experiment.raw, request.cycle + 1), patches, facts)
