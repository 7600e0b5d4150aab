from .annotators import HumanAnnotator, SimulatedAnnotator
from .closing import close_cycle
from .ledger import Ledger
from .relabel import annotate_cycle
from .tasks import Task

__all__ = ["HumanAnnotator", "Ledger", "SimulatedAnnotator", "Task", "annotate_cycle", "close_cycle"]
