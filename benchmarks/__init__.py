"""Benchmarks of the query engine; run from the repository's root, with the package installed."""
