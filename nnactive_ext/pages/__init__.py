"""What HTML pages and terminals show in one way: templates, charts, slices, colours, tables of text.

What two pages share goes here. What one page says belongs to the room of that page (``report/``, ``exchange/``,
``compare/``).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
