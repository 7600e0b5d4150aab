from .scoring import Options, Screening
from .screen import screen_new, screen_pool
from .views import export_views

__all__ = ["Options", "Screening", "export_views", "screen_new", "screen_pool"]
