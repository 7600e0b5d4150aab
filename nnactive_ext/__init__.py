"""Active learning for 3D biomedical segmentation around an unmodified nnU-Net."""

__version__ = "0.1.0"
