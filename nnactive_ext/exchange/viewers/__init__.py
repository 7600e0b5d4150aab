"""What each viewer opens: one file per viewer.

A new viewer is a module here with ``write(view)``, called from ``all.py``.
"""
