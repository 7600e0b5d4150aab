"""An experiment as its files: plan, loop files, results, members' marks, times.

One value per file, with its reader and its writer, goes here: no other room spells the keys of these files. This room
computes nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
