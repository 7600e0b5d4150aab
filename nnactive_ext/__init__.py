"""Active learning for 3D biomedical segmentation around an unmodified nnU-Net."""

from nnactive_ext._moved import keep_old_addresses

__version__ = "0.2.0"

keep_old_addresses()
