"""Tasks out to people's viewers, answers back in.

Exported task folders, their index page, the matching and checking of returned files, and marked points go here. What one
viewer opens is one file in ``exchange/viewers/``. What an answer does to the labels belongs to ``labelling/``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
