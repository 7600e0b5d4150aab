from .commands import Commands
from .environment import Environment, observe
from .experiment import Experiment
from .locks import locked
from .loops import read_loop
from .plan import Plan
from .result import CycleResult, read_results

__all__ = ["Commands", "CycleResult", "Environment", "Experiment", "Plan", "locked", "observe", "read_loop", "read_results"]
