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
MEANING = {
    GEOMETRY: "spacing, extent and number of channels, from the header",
    HISTOGRAM: "distribution of the intensities, wherever they lie in the image",
    KNN: "content, as a member describes windows of the image: distance to the most similar windows of the reference",
    DISAGREEMENT: "how far the members' foregrounds differ",
    MAHALANOBIS: "content, as for knn: distance to the mean of the reference's windows",
    SISOM: "content of the strangest window: its distance to annotated patches of its class over that to other classes",
    SISOME: "as sisom, together with the energy",
    MSP: "how unsure the members are: 1 - largest probability",
    MAX_LOGIT: "how weak the members' evidence is: negative largest logit",
    ENTROPY: "how unsure the members are: entropy of the mean prediction",
    ENERGY: "how weak the members' evidence is: free energy",
    ABET: "how weak the members' evidence is, scaled by the temperature that they learned",
    RELEVANCE: "how little the image is like the relevant texts",
    TANL: "how little the image is like the relevant texts, compared with many words",
}
"""What each score compares, in words for those who look at the page."""
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
