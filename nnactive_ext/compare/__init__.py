"""Comparison of query methods over experiments: trajectories, checks, tables, figures."""
