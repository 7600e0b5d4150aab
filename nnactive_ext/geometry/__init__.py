"""Boxes, lattices and axes; knows no files and no nnU-Net."""
