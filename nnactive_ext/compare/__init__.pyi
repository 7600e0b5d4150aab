from .compare import compare
from .sample_size import noise_of
from .trajectories import read_trajectories
from .validation import worth

__all__ = ["compare", "noise_of", "read_trajectories", "worth"]
