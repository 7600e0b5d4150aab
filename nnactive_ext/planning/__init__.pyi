from .changes import change_settings
from .create import create, create_rollout
from .division import divide
from .relabelling import change_labels
from .rollout import decide_rollout
from .settings import Settings, command_of
from .simulation import decide
from .turned_copies import turned_like_pool

__all__ = [
    "Settings",
    "change_labels",
    "change_settings",
    "command_of",
    "create",
    "create_rollout",
    "decide",
    "decide_rollout",
    "divide",
    "turned_like_pool",
]
