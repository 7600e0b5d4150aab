"""Decides what an experiment will be, and makes it."""
