"""Goes round the cycles of an experiment, and says where it stands.

The order of the steps and the decision which step is missing go here; what a step does belongs to the rooms below.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
