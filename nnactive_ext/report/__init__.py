"""The report of one experiment: one HTML file that says how good it is, how it got there, and what to do next.

What the report says is computed here as plain values; its templates say how. It changes nothing of the experiment.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
