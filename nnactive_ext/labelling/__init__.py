"""From chosen patches and answers to labels in place, whoever annotates.

Annotators, tasks, the ledger of answers, the rules for which answer counts, and the partial labels go here. How answers
leave for a viewer and come back belongs to ``exchange/``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
