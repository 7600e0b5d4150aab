from .screen import screen_new, screen_pool
from .scoring import Options, Screening

__all__ = ["Options", "Screening", "screen_new", "screen_pool"]
