from .distances import TooFew, knn_distances, mahalanobis_squared, window_scores
from .flags import Judgement, conformal_p, judge, robust_z
from .gaussian import Gaussian
from .geometry import geometry_scores, geometry_z
from .intensities import histogram_distances, histogram_scores, wasserstein
from .logits import energy, entropy, max_logit, msp
from .masks import disagreement
from .negative_labels import Activated, activated_share, tanl, threshold

__all__ = [
    "Activated",
    "Gaussian",
    "Judgement",
    "TooFew",
    "activated_share",
    "conformal_p",
    "disagreement",
    "energy",
    "entropy",
    "geometry_scores",
    "geometry_z",
    "histogram_distances",
    "histogram_scores",
    "judge",
    "knn_distances",
    "mahalanobis_squared",
    "max_logit",
    "msp",
    "robust_z",
    "tanl",
    "threshold",
    "wasserstein",
    "window_scores",
]
