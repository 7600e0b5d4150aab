from .experiment import Experiment
from .locks import locked
from .loops import read_loop
from .plan import Plan
from .result import CycleResult, read_results

__all__ = ["CycleResult", "Experiment", "Plan", "locked", "read_loop", "read_results"]
