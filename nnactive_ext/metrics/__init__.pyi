from .efficiency import foreground_efficiency
from .overlap import dice_per_case
from .pairwise import pairwise_penalties
from .ranking import mean_ranks
from .surface import surface_per_case
from .trajectory import aubc, budget_to_target, final

__all__ = [
    "aubc",
    "budget_to_target",
    "dice_per_case",
    "final",
    "foreground_efficiency",
    "mean_ranks",
    "pairwise_penalties",
    "surface_per_case",
]
