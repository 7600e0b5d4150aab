from .compare import compare
from .trajectories import read_trajectories
from .validation import worth

__all__ = ["compare", "read_trajectories", "worth"]
