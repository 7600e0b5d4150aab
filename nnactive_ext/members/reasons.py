"""Why a task was chosen, in words for whoever annotates it; nothing is claimed of methods whose strata we do not know."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from nnactive_ext.labelling.tasks import MARKED, POINTS, Task
from nnactive_ext.query_methods.comparison import Comparison
from nnactive_ext.query_methods.laser import Laser
from nnactive_ext.query_methods.methods import METHODS
from nnactive_ext.query_methods.precomputed import Precomputed
from nnactive_ext.query_methods.random_patches import RandomPatches
from nnactive_ext.query_methods.selection import REST
from nnactive_ext.query_methods.uncertainty import Uncertainty

GIVEN, START = "given", "starting_budget"


class Reason(Enum):
    """Why a patch was chosen: the words for it, in which ``{about}`` is a class."""

    RANDOM = "drawn at random"
    FOREGROUND = "drawn at random around a structure"
    BORDER = "drawn at random around the border of a structure"
    UNCERTAIN = "among the most uncertain, all classes together"
    UNCERTAIN_CLASS = "among the most uncertain about {about}"
    COMPARED = "chosen by comparing it with other patches"
    RELEVANT = "the most uncertain of one of the most relevant cases"
    GIVEN = "given by hand"
    START = "for the start, around {about}"
    POINT = "around a marked point"
    POINT_CLASS = "around a point marked as {about}"
    REPLAYED = "chosen by another experiment's query"
    STRATUM = "chosen in the stratum {about}"
    CHOSEN = "chosen by the query method"
    UNKNOWN = "no reason is recorded"


_SCORED = (Reason.UNCERTAIN, Reason.UNCERTAIN_CLASS, Reason.RELEVANT, Reason.STRATUM, Reason.CHOSEN)
"""Reasons beside which the score says something: what was drawn has none."""
_DRAWN = {"random": Reason.RANDOM, "foreground": Reason.FOREGROUND, "border": Reason.BORDER}


def reason(task: Task) -> str:
    """Why ``task`` was chosen, the method, and the score where there is one. The score has no unit: an option of the method
    may have changed it.

    "Among" the most uncertain, because most methods add noise or spread their choice.

    >>> from nnactive_ext.geometry.patch import Patch
    >>> reason(Task("t", 1, 3, Patch("liver_12", (0, 0, 0), (8, 8, 8)), "tumour", 0.3149, "clasp_pe"))
    'among the most uncertain about tumour (clasp_pe, score 0.315)'
    """
    found, about = reason_of(task)
    named = task.method and (found, task.method) != (Reason.RANDOM, "random")  # which would say it twice
    details = [task.method.replace("_", " ") if task.method == START else task.method] if named else []
    if found in _SCORED and task.score is not None:
        details.append(f"score {task.score:.3g}")
    words = found.value.format(about=about)
    return f"{words} ({', '.join(details)})" if details else words


def reason_of(task: Task) -> tuple[Reason, str]:
    """The reason of a task, and the class (or the stratum) that it is about; "" for none.

    A stratum alone says little: a class may be called ``border``, and a method of somebody's own may call its strata what it
    likes. So the method decides what its strata mean.
    """
    stratum = task.stratum
    if task.method in (POINTS, "") and (stratum == "marked" or stratum.startswith(MARKED)):
        about = stratum.removeprefix(MARKED) if stratum.startswith(MARKED) else ""
        return (Reason.POINT_CLASS if about else Reason.POINT), about
    if task.method == GIVEN or (task.method == START and stratum == GIVEN):  # nnactive_plan -start_from
        return Reason.GIVEN, ""
    if task.method == START and stratum:
        return (Reason.RANDOM, "") if stratum == "random" else (Reason.START, stratum)
    kind = next((type(method) for method in METHODS if method.name == task.method), None)
    if kind in _MEANING:
        return _MEANING[kind](task)
    if stratum:
        return Reason.STRATUM, stratum
    return (Reason.CHOSEN if task.method or task.score is not None else Reason.UNKNOWN), ""


def _drawn(task: Task) -> tuple[Reason, str]:
    return _DRAWN.get(task.stratum, Reason.RANDOM), ""


def _ranked(task: Task) -> tuple[Reason, str]:
    if task.stratum == "random" and not task.score:  # what is left when candidates run out is drawn
        return Reason.RANDOM, ""
    return (Reason.UNCERTAIN, "") if task.stratum in (REST, "") else (Reason.UNCERTAIN_CLASS, task.stratum)


def _compared(task: Task) -> tuple[Reason, str]:
    return (Reason.RANDOM if task.stratum == "random" else Reason.COMPARED), ""


def _relevant(task: Task) -> tuple[Reason, str]:
    return (Reason.RANDOM if task.stratum == "random" else Reason.RELEVANT), ""


def _replayed(task: Task) -> tuple[Reason, str]:
    return Reason.REPLAYED, ""


_MEANING: dict[type, Callable[[Task], tuple[Reason, str]]] = {
    RandomPatches: _drawn,
    Uncertainty: _ranked,
    Comparison: _compared,
    Laser: _relevant,
    Precomputed: _replayed,
}
"""What the strata of our methods mean, by the kind of method."""
