"""How strange an image is: scores from logits, distances, intensities, geometry and words; arrays only, no files.

Every score is the higher the stranger. Arrays go in, float64 arrays come out, in the order of what was given. The *reference* R
is the cases that a pool's other cases are compared with; a case of R is compared with the others of R (leave-one-out). A score
that cannot be computed is NaN, or :class:`TooFew` where the whole score has no reference. Flags come from :func:`judge` and are
for a person to decide on: nothing here enters a query's score.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
