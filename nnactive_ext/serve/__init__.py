"""The local server in which people annotate in their browser: the queue, the editor, drafts, points for the start.

It stands on ``exchange/``: crops are those of an export, and answers go through the code of ``nnactive_annotate import``.
State is files; only who has what open is kept in memory.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
