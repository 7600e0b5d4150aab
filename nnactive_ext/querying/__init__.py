"""Ranks the patches of the pool and writes the query of a cycle."""
