from .export import export
from .marking import add_points
from .receive import receive

__all__ = ["add_points", "export", "receive"]
