"""Decides what an experiment will be, makes it, and changes it between cycles.

A new setting of an experiment, a default with its reason, and a check of what was asked for go here.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
