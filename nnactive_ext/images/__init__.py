"""Image files that others wrote, read with suspicion; image files that we write, whole or not at all.

A file format, a way in which a file can be damaged, and the names that a label map carries go here.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
