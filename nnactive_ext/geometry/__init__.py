"""Patches, grids, spaces and axes: arithmetic on coordinates, without files and without nnU-Net.

Conventions of coordinates live here: array axes are z, y, x, patches are half open, millimetres are the patient's.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
