"""Why a task was chosen and what is predicted in it, in words for whoever annotates it."""

from __future__ import annotations

from nnactive_ext.labelling.tasks import Task

_STRATA = {
    "random": "drawn at random",
    "foreground": "drawn at random around a structure",
    "border": "drawn at random around the border of a structure",
    "all": "among the most uncertain, all classes together",
    "given": "given by hand",
    "marked": "around a marked point",
}
_MARKED = "marked: "
_START = "starting_budget"


def reason(task: Task) -> str:
    """Why ``task`` was chosen: words for its stratum, and the method and the score where there are any.

    "Among" the most uncertain, because most methods add noise or spread their choice. The score has no unit: an option
    of the method may have changed it. What was drawn has no score that says anything.

    >>> from nnactive_ext.geometry.patch import Patch
    >>> reason(Task("t", 1, 3, Patch("liver_12", (0, 0, 0), (8, 8, 8)), "tumour", 0.3149, "clasp_pe"))
    'among the most uncertain about tumour (clasp_pe, score 0.315)'
    """
    stratum = task.stratum or ("given" if task.method == "given" else "")
    uncertain = False
    if stratum.startswith(_MARKED):
        words = f"around a point marked as {stratum.removeprefix(_MARKED)}"
    elif stratum in _STRATA:
        words, uncertain = _STRATA[stratum], stratum == "all"
    elif not stratum:
        words, uncertain = ("chosen by its score" if task.score is not None else "no reason is recorded"), True
    elif task.method == _START:
        words = f"for the start, around {stratum}"
    else:
        words, uncertain = f"among the most uncertain about {stratum}", True
    details = [task.method.replace("_", " ") if task.method == _START else task.method] if task.method else []
    if uncertain and task.score is not None:
        details.append(f"score {task.score:.3g}")
    return f"{words} ({', '.join(details)})" if details else words
