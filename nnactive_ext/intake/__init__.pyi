from .find import find_cases
from .groups import read_groups
from .inspect import inspect
from .repeats import repeated

__all__ = ["find_cases", "inspect", "read_groups", "repeated"]
