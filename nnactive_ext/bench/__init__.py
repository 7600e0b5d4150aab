"""Benchmarks: one small file of datasets, label regimes, patch sizes, methods and seeds, run as many experiments."""
