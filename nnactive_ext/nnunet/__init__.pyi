from .dataset import Dataset, find_dataset
from .environment import require_nnunet_folders
from .preprocessing import preprocess

__all__ = ["Dataset", "find_dataset", "preprocess", "require_nnunet_folders"]
