"""Sphinx: the pages of docs/ as a website, and the reference of what the folders re-export."""

from __future__ import annotations

from nnactive_ext import __version__

project = "nnactive_ext"
copyright = "nnactive_ext contributors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "Active learning for 3D biomedical segmentation, on stock nnU-Net", "page_width": "1100px"}

myst_heading_anchors = 3  # pages link to each other's headings, as on a repository's website

autodoc_member_order = "groupwise"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "imported-members": True}
napoleon_use_rtype = False
