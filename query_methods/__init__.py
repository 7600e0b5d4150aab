"""Query methods: how patches are chosen; each is one composed value in :mod:`nnactive_ext.query_methods.methods`.

A new method is a line there, a new score of voxels a function in ``scores.py``, a new aggregation or perturbation a function
in the file of that name. Methods know no datasets, so they are tested without images, networks and GPUs.
"""
