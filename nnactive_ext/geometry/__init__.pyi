from .grid import Grid
from .patch import Patch
from .space import Space

__all__ = ["Grid", "Patch", "Space"]
