"""How good a segmentation, an uncertainty or a trajectory is, and which method is better; arrays and numbers only, no files.

A new metric is a function here. ``members/evaluation.py`` calls those of a segmentation, ``compare/validation.py`` those of
uncertainty, ``compare/summary.py`` and ``compare/economics.py`` those of a trajectory.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
