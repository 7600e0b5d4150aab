"""Query methods: how patches are chosen; each is one composed value in :mod:`nnactive_ext.query_methods.methods`."""
