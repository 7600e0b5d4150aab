"""What cases of the pool are relevant: similarity to the user's texts, a detector learned from verdicts, and their mixture.

The functions on arrays follow LaSeR (Eq 1-5). The higher the relevance of a case, the more it belongs to what is looked for. It
decides which cases a query leaves out (``-screen``) and the order of ``--method laser``. It enters no other method's score.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
