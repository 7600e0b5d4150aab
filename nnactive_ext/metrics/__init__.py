"""How good a segmentation is, how good a trajectory is, and which method is better; arrays and numbers only, no files.

A new metric is a function here. ``members/evaluation.py`` calls those of a segmentation, ``compare/summary.py`` those of a
trajectory.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
