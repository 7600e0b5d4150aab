"""Which vectors to choose: coverage, clusters, k-means++ and ratios of distances, on descriptors; arrays only, no files.

An algorithm that chooses patches by comparing their descriptors goes here. What a descriptor is belongs to ``members/``, and
which candidates there are to ``query_methods/``.

*Candidates* are float32 arrays (N, D), *annotated* are float32 arrays (M, D); M may be 0. A selection returns int64 indices of
candidates in the order of choice, ``min(n, N)`` of them. Equal values go to the lowest index. What a user should know about
degenerate input is a :class:`SelectionWarning`. Results depend neither on the number of threads nor on the platform's BLAS,
up to ties in the last bits.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
