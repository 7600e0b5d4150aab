"""Ranks the patches of the pool and writes the query of a cycle.

This room gives query methods the pool and writes what they choose. How patches are scored and chosen belongs to
``query_methods/`` and ``engine/``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
