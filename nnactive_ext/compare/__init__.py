"""Comparison of query methods over experiments, from their results folders alone.

Reading trajectories, refusing what is not comparable, tables, figures and the comparison page go here. A metric that needs
numbers only belongs to ``metrics/``; this room decides which numbers it is given.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
