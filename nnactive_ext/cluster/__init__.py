"""The steps of a cycle as data, and who carries them out: this process, or workers on this and other machines."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
