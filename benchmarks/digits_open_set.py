"""Rounds of questions about digits of which a fifth is relevant: by texts, by a detector learned from verdicts, and by both.

The detector and the mixture are those of nnactive_ext.relevance. Nobody has texts for digits, so similarities are drawn: they
differ by hundredths, as cosines of vision-language models do, and are higher for the text of a digit's own class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.digits import Digits
from nnactive_ext.members.quantiles import quantiles
from nnactive_ext.metrics import auroc
from nnactive_ext.ood import histogram_scores
from nnactive_ext.relevance import detected, mixed, scheduled_delta, text_relevance
from nnactive_ext.relevance.detector import IRRELEVANT

RELEVANT, ROUNDS, ASKED = 2, 6, 40
COSINE, SPREAD, GAP = 0.25, 0.01, 0.0143


@dataclass(frozen=True)
class Round:
    """What is known of each digit, (N,): ``texts``: S_vlm, ``detector``: S_det, 0 before verdicts, ``strange``: the histogram's
    score; and how many rounds were ``asked``."""

    texts: np.ndarray
    detector: np.ndarray
    strange: np.ndarray
    asked: int
    rng: np.random.Generator


def _alone(r: Round) -> np.ndarray:
    return r.detector if r.asked else r.texts


def _without_files(r: Round) -> np.ndarray:
    return r.detector if r.detector.any() else -r.strange


WAYS: dict[str, Callable[[Round], np.ndarray]] = {
    "texts and detector, as published": lambda r: mixed(r.texts, r.detector, scheduled_delta(r.asked)),
    "texts and detector, standardised": lambda r: mixed(r.texts, r.detector, scheduled_delta(r.asked), standardise=True),
    "detector alone, texts first": _alone,
    "texts alone": lambda r: r.texts,
    "detector alone, no files": _without_files,
    "random": lambda r: r.rng.random(len(r.texts)),
}


def similarity(y: np.ndarray, relevant: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """S_vlm of each digit, (N,): one text for each class, of which some are relevant."""
    cosines = COSINE + SPREAD * rng.standard_normal((len(y), 10)) + GAP * (y[:, None] == np.arange(10))
    return text_relevance(cosines, np.isin(np.arange(10), relevant))


def rounds(seeds: int) -> tuple[dict[str, np.ndarray], float]:
    """Relevant digits found, way -> (seeds, rounds), and the mean AUROC of the similarity."""
    found, quality = {name: np.zeros((seeds, ROUNDS), int) for name in WAYS}, []
    for seed in range(seeds):
        digits, rng = Digits.split(seed), np.random.default_rng([seed, 9])
        x, y = np.concatenate([digits.x, digits.test_x]), np.concatenate([digits.y, digits.test_y])
        relevant = rng.permutation(10)[:RELEVANT]
        right = np.isin(y, relevant)
        classes = np.where(right, y, IRRELEVANT)
        texts = similarity(y, relevant, rng)
        quality.append(auroc(texts[right].tolist(), texts[~right].tolist()))
        strange = histogram_scores(quantiles(x)[:, None], np.ones(len(x), bool))
        for name, way in WAYS.items():
            asked, drawing = np.empty(0, int), np.random.default_rng([seed, 10])
            for number in range(ROUNDS):
                detector = detected(x, x[asked], classes[asked])
                score = way(Round(texts, detector, strange, number, drawing))
                score[asked] = -np.inf
                chosen = np.argsort(-score, kind="stable")[:ASKED]
                found[name][seed, number] = right[chosen].sum()
                asked = np.concatenate([asked, chosen])
    return found, float(np.mean(quality))
