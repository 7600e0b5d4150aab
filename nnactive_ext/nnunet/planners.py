"""Looks an experiment planner of nnU-Net up by its name, before any case is read."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from functools import cache
from typing import Any

from nnactive_ext.errors import NnActiveError, brief
from nnactive_ext.words import near

DEFAULT = "ExperimentPlanner"
CONFIGURATIONS = ("2d", "3d_fullres", "3d_lowres")
"""What nnU-Net's planners plan, the cascade aside; 3d_lowres only for large images."""


def check_planner(name: str, configuration: str) -> None:
    """Make sure that nnU-Net has a planner, and that it may plan a configuration.

    Args:
        name: the planner, as after ``-pl``. nnU-Net's default needs no look-up; others import nnU-Net, which takes seconds.
        configuration: as after ``-c``.

    Raises:
        NnActiveError: there is no such planner (with similar names), or it plans no such configuration.
    """
    if (name == DEFAULT or _found(name)) and configuration not in CONFIGURATIONS:
        similar = near(configuration, CONFIGURATIONS)
        meant = f"Did you mean {similar[0]}? " if similar else ""
        raise NnActiveError(
            f"-c {configuration}: {name} plans no such configuration. {meant}There are {', '.join(CONFIGURATIONS)}."
        )


def asked_for(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The options of nnU-Net's planner among the settings of a plan, as nnU-Net's function calls them."""
    names = {
        "gpu_memory_target": "gpu_memory_target_in_gb",
        "overwrite_target_spacing": "overwrite_target_spacing",
        "overwrite_plans_name": "overwrite_plans_name",
    }
    return {theirs: settings[ours] for ours, theirs in names.items() if settings.get(ours) is not None}


@cache
def _found(name: str) -> bool:
    """Whether ``name`` plans nnU-Net's configurations and no others, as far as is known; no planner at all is an error."""
    import nnunetv2
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    folder = os.path.join(nnunetv2.__path__[0], "experiment_planning")
    try:
        with redirect_stdout(io.StringIO()):
            found: Any = recursive_find_python_class(folder, name, "nnunetv2.experiment_planning")
            recursive_find_python_class(folder, "", "nnunetv2.experiment_planning")  # nothing is called so: imports them all
    except Exception as error:
        what = f"{type(error).__name__}: {brief(error)}"
        raise NnActiveError(f"Planner {name}: nnU-Net's planners in {folder} cannot be imported ({what}).") from error
    planners = [DEFAULT, *sorted(set(_names(ExperimentPlanner)))]
    if not (isinstance(found, type) and issubclass(found, ExperimentPlanner)):
        why = "nnU-Net has no such planner" if found is None else "it is no experiment planner"
        similar = near(name, planners)
        meant = f"Did you mean {' or '.join(similar)}? " if similar else ""
        raise NnActiveError(f"Planner {name}: {why}. {meant}Its planners are {', '.join(planners)}.")
    return getattr(found, "plan_experiment", None) is ExperimentPlanner.plan_experiment


def _names(planner: type[Any]) -> Iterator[str]:
    derived: type[Any]
    for derived in planner.__subclasses__():
        yield derived.__name__
        yield from _names(derived)
