from .find import find_cases
from .inspect import inspect

__all__ = ["find_cases", "inspect"]
