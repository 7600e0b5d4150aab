"""How unsure the ensemble of each cycle was about what was left in the pool, from the candidates of the queries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import loop_file, read_loop_content
from nnactive_ext.experiment.plan import method_words
from nnactive_ext.files import read_json
from nnactive_ext.querying.rankings import RankingFile


@dataclass(frozen=True)
class Disagreement:
    """What the members of ``cycle`` said about ``cases`` cases: the ``median`` and the 90th percentile (``high``) of the
    score of each case's best candidate patch that nobody had annotated. ``query``: method and options; scores of different
    ones do not compare."""

    cycle: int
    query: str
    cases: int
    median: float
    high: float


def disagreement(experiment: Experiment) -> list[Disagreement] | None:
    """Of every cycle whose members have scored the pool, in order; None where no query did.

    Methods keep candidates with noise on their scores, so a case's best candidate need not be its best patch. Damaged
    files, files of an earlier query and cases no longer in the pool do not count.
    """
    found = []
    for cycle in range(experiment.last_loop + 1):
        method, options = _query(experiment, cycle + 1)
        files = options.get("features", "").startswith("file:")
        scores = _best(experiment, experiment.results / f"cycle_{cycle:03d}" / "candidates", files)
        if scores:
            median, high = (float(value) for value in np.quantile(scores, (0.5, 0.9)))
            found.append(Disagreement(cycle, method_words(method, options), len(scores), median, high))
    return found or None


def _best(experiment: Experiment, folder: Path, each_its_own: bool) -> list[float]:
    """The highest score of each case that has a candidate."""
    cases = [case for case in experiment.plan.pool if case not in experiment.plan.dropped]
    contents = list(_read(folder / f"{case}.json" for case in cases))
    # All files of one query are for the same members, method and request; others are left over from an earlier one. With
    # descriptors in files, each is also for the file of its case.
    if not each_its_own:
        made_for = Counter(what for what, _ in contents).most_common(1)
        contents = [one for one in contents if one[0] == made_for[0][0]]
    best = [max(scores) for _, scores in contents if scores]
    return [score for score in best if np.isfinite(score)]


def _read(files: Iterable[Path]) -> Iterable[tuple[str, list[float]]]:
    """What each file was made for and the scores of its candidates; files that are not what they should be are passed over."""
    for file in files:
        try:
            content = read_json(file, RankingFile)
            yield str(content["for"]), [float(score) for _, _, _, score, _ in content["candidates"]]
        except (NnActiveError, KeyError):
            continue


def _query(experiment: Experiment, cycle: int) -> tuple[str, dict[str, str]]:
    """Method and options of the loop file that the candidates became; the planned ones where it is not written yet."""
    file = loop_file(experiment.raw, cycle)
    content = read_loop_content(file) if file.is_file() else {}
    method = content.get("method", experiment.plan.method)
    options = content.get("options", experiment.plan.method_options) or {}
    return str(method), {key: str(value) for key, value in sorted(options.items())}
