from .compare import compare
from .trajectories import read_trajectories

__all__ = ["compare", "read_trajectories"]
