"""A benchmark: one file of datasets, label regimes, patch sizes, methods and seeds, run as many experiments.

What plans, runs, counts and ends such a set of experiments goes here. What one experiment does belongs to the rooms below,
and what compares finished experiments to ``compare/``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
