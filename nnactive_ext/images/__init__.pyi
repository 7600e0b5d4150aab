from .label_files import read_label_file
from .label_images import read_image
from .volumes import open_volume

__all__ = ["open_volume", "read_image", "read_label_file"]
