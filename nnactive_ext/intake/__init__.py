"""A folder of images as people have them, found, named and checked."""
