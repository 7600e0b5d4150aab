from .answers import compare_answers, read_answers, second_looks, write_answers
from .scoring import Options, Screening
from .screen import screen_new, screen_pool
from .views import export_views

__all__ = [
    "Options",
    "Screening",
    "compare_answers",
    "export_views",
    "read_answers",
    "screen_new",
    "screen_pool",
    "second_looks",
    "write_answers",
]
