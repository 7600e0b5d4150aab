from .label_files import read_label_file
from .label_images import read_image

__all__ = ["read_image", "read_label_file"]
