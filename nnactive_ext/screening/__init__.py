"""What does not belong: scores of cases, and answers that members differ from; people decide what becomes of them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
