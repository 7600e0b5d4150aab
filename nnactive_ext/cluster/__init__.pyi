from .carrying_out import carry_out
from .steps import open_steps

__all__ = ["carry_out", "open_steps"]
