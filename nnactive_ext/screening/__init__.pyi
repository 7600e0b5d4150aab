from .scoring import Options, Screening
from .screen import screen_new, screen_pool

__all__ = ["Options", "Screening", "screen_new", "screen_pool"]
