from .ambiguity import ged_squared, ncc
from .calibration import ace, fit_platt
from .economics import patches_saved
from .efficiency import foreground_efficiency
from .failures import aurc, auroc, excess_aurc, fpr95
from .overlap import dice_per_case
from .pairwise import pairwise_penalties
from .ranking import mean_ranks
from .surface import surface_per_case
from .trajectory import aubc, budget_to_target, final

__all__ = [
    "ace",
    "aubc",
    "aurc",
    "auroc",
    "budget_to_target",
    "dice_per_case",
    "excess_aurc",
    "final",
    "fit_platt",
    "foreground_efficiency",
    "fpr95",
    "ged_squared",
    "mean_ranks",
    "ncc",
    "pairwise_penalties",
    "patches_saved",
    "surface_per_case",
]
