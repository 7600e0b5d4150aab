"""A folder of images as people have it: its cases are found, named, read and checked.

A naming habit or a fault of a whole folder goes here. A fault of one file format belongs to ``images/``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
