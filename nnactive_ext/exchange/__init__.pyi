from .export import export
from .marking import add_points
from .receive import receive
from .whole_labels import export_labels

__all__ = ["add_points", "export", "export_labels", "receive"]
