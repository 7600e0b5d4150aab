from .find import find_cases
from .groups import read_groups
from .inspect import inspect
from .repeats import repeated
from .volumes import find_blocks

__all__ = ["find_blocks", "find_cases", "inspect", "read_groups", "repeated"]
