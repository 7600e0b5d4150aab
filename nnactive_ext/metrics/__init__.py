"""How good a segmentation is, how good a trajectory is, and which method is better; arrays and numbers only, no files."""
