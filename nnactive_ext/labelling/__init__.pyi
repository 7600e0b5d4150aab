from .annotators import HumanAnnotator, SimulatedAnnotator
from .closing import close_cycle
from .ledger import Ledger
from .relabel import annotate_cycle
from .tasks import Task
from .verdicts import Verdict, irrelevant_cases, relevant_cases, verdicts

__all__ = [
    "HumanAnnotator",
    "Ledger",
    "SimulatedAnnotator",
    "Task",
    "Verdict",
    "annotate_cycle",
    "close_cycle",
    "irrelevant_cases",
    "relevant_cases",
    "verdicts",
]
