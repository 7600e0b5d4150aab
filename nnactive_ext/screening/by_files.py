"""Scores of the pool by files of the user: ``relevance`` by texts, and ``tanl`` by texts and many words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.ood import tanl
from nnactive_ext.querying.relevant import FOLDER, similarity_of
from nnactive_ext.relevance.deciding import by_texts
from nnactive_ext.relevance.options import options_of
from nnactive_ext.relevance.reading import read_words
from nnactive_ext.screening import names
from nnactive_ext.screening.measuring import Measured


def with_files(experiment: Experiment, measured: Sequence[Measured], scores: Sequence[str]) -> list[Measured]:
    """``measured``, cases of the pool, with those of ``scores`` that come from the folder of ``-relevance``: - S_vlm and - S.

    Raises:
        NnActiveError: there is no such folder, or see :func:`nnactive_ext.relevance.read_similarity` and ``read_words``.
    """
    chosen = [score for score in scores if score in names.FILES]
    if not chosen:
        return list(measured)
    plan, cases = experiment.plan, [one.name for one in measured]
    folder = options_of(plan.settings.get(FOLDER, ())).folder
    if folder is None:
        raise NnActiveError(
            f"-scores {' '.join(chosen)}: these need texts and similarities. Name their folder: "
            f"{experiment.commands.change('-relevance', 'FOLDER')} (docs/open_set.md)."
        )
    values: dict[str, dict[str, float]] = {}
    if names.RELEVANCE in chosen:
        similarity = similarity_of(experiment)
        if similarity is None:
            raise NnActiveError(f"{folder}: there is no similarity of images to texts yet (docs/open_set.md).")
        values[names.RELEVANCE] = {case: -one for case, one in by_texts(cases, similarity).texts.items()}
    if names.TANL in chosen:
        words = read_words(folder, {*plan.pool, *plan.dropped, *plan.test}, experiment.dataset.labels.classes)
        if missing := sorted(set(cases) - set(words.cases)):
            raise NnActiveError(f"{folder}: there is no embedding of {', '.join(missing[:5])}. Add these cases.")
        rows = [words.cases.index(case) for case in cases]
        found = tanl(words.relevant[rows], words.corpus[rows], scale=words.scale)
        values[names.TANL] = dict(zip(cases, found.score.tolist(), strict=True))
    return [replace(one, values={**one.values, **{name: of[one.name] for name, of in values.items()}}) for one in measured]
