"""The scores that a screening may be asked for, what they need, and which are chosen where nobody chooses."""

from __future__ import annotations

from collections.abc import Sequence

from nnactive_ext.errors import NnActiveError
from nnactive_ext.words import listed

GEOMETRY, HISTOGRAM = "geometry", "histogram"
KNN, MAHALANOBIS = "knn", "mahalanobis"
DISAGREEMENT = "disagreement"
SISOM, SISOME = "sisom", "sisome"
MSP, MAX_LOGIT, ENTROPY, ENERGY, ABET = "msp", "maxlogit", "entropy", "energy", "abet"
WINDOWS = (KNN, MAHALANOBIS)
"""Scores that compare descriptors of windows."""
RATIOS = (SISOM, SISOME)
"""Scores that compare windows with annotated patches."""
VOXELS = (MSP, MAX_LOGIT, ENTROPY, ENERGY, ABET)
"""Scores that are aggregated from a voxel map."""
RELEVANCE, TANL = "relevance", "tanl"
FILES = (RELEVANCE, TANL)
"""Scores by files of the user, of cases of the pool only."""
HERE = (*RATIOS, *FILES)
"""Scores that need the experiment, and are not exported."""
PLAIN = (GEOMETRY, HISTOGRAM)
"""Scores that need nothing but images."""
SCORES = (*PLAIN, KNN, DISAGREEMENT, MAHALANOBIS, *RATIOS, *VOXELS, *FILES)
DEFAULT = (*PLAIN, KNN, DISAGREEMENT)
AGGREGATIONS = ("mean", "max", "threshold")


def needs_members(scores: Sequence[str]) -> bool:
    return any(score not in (*PLAIN, *FILES) for score in scores)


def check_scores(scores: Sequence[str], trainer: str) -> None:
    """A score that does not exist, that is named twice, or that this trainer's members do not have is an error."""
    if unknown := [score for score in scores if score not in SCORES]:
        raise NnActiveError(f"-scores {listed(unknown)}: there is no such score. Choose from {', '.join(SCORES)}.")
    if len(set(scores)) < len(scores):
        raise NnActiveError(f"-scores {' '.join(scores)}: a score is named twice. Name each once.")
    if ABET in scores and "AbeT" not in trainer:
        raise NnActiveError(
            f"-scores {ABET}: this is the energy of members of nnActiveTrainer_AbeT, and these were trained by {trainer}. "
            f"Choose {ENERGY}."
        )
