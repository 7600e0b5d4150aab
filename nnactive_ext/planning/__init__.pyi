from .changes import change_settings
from .create import create, create_rollout
from .rollout import decide_rollout
from .simulation import decide

__all__ = ["change_settings", "create", "create_rollout", "decide", "decide_rollout"]
