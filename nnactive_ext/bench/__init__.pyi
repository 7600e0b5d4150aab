from .definition import Benchmark, read_benchmark
from .running import run_all

__all__ = ["Benchmark", "read_benchmark", "run_all"]
