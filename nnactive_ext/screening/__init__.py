"""Finds what does not belong: scores, flags and pictures of the pool's cases and of new images, for a person to decide on.

Scores are a filter with a report. Nothing here takes a case out of the pool, and no score enters that of a query.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
