"""The ensemble: its members are trained, asked for predictions, and evaluated.

What needs a trained network goes here, such as a statistic over members. What ranks patches by such a statistic belongs to
``query_methods/``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
