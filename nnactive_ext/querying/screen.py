"""``-screen SHARE``: the share of the cases that give no patches to a query, and which methods it can be used with."""

from __future__ import annotations

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.plan import Plan
from nnactive_ext.query_methods.methods import Method
from nnactive_ext.query_methods.precomputed import Precomputed

SCREEN = "screen"
"""In :attr:`Plan.settings`."""


def check_share(share: float) -> None:
    """A share that is not at least 0 and below 1 is an NnActiveError."""
    if not 0 <= share < 1:
        raise NnActiveError(
            f"-screen {share:g}: give the share of the cases to leave out, at least 0 and below 1, such as 0.5."
        )


def checked_screen(share: float, method: Method) -> float:
    """``share``, if a query by ``method`` can leave out cases.

    Raises:
        NnActiveError: it cannot, or there is no such share.
    """
    check_share(share)
    if share and isinstance(method, Precomputed):
        raise NnActiveError(f"-screen {share:g}: {method.name} replays patches as they are. Leave out -screen, or set it to 0.")
    return share


def planned_screen(plan: Plan, method: Method) -> float:
    """The share that the plan says, 0 where it says nothing; errors as :func:`checked_screen`."""
    return checked_screen(float(plan.settings.get(SCREEN) or 0), method)
