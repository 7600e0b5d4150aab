from .cycles import run_cycles
from .status import status

__all__ = ["run_cycles", "status"]
