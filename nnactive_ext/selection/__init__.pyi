from .badge import badge_gradient
from .degenerate import SelectionWarning
from .k_center import k_center
from .k_means import k_means_plus_plus
from .normalisation import normalised
from .pooling import pooled, pooling_weights
from .probcover import bank_subset, probcover, purity_radius
from .sisom import Ratios, largest, sisom_ood, sisom_ratio, sisom_ratios, sisome_score, uniform_divergence
from .steepness import automatic_steepness, searched_steepness, weighted_activations
from .typiclust import typicality, typiclust

__all__ = [
    "Ratios",
    "SelectionWarning",
    "automatic_steepness",
    "badge_gradient",
    "bank_subset",
    "k_center",
    "k_means_plus_plus",
    "largest",
    "normalised",
    "pooled",
    "pooling_weights",
    "probcover",
    "purity_radius",
    "searched_steepness",
    "sisom_ood",
    "sisom_ratio",
    "sisom_ratios",
    "sisome_score",
    "typicality",
    "typiclust",
    "uniform_divergence",
    "weighted_activations",
]
