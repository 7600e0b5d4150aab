"""Everything that knows nnU-Net's folders, files and classes.

A change of nnU-Net's formats, plans or interfaces should touch this room, ``trainers/`` and ``members/`` only.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
