"""The pool as query methods see it."""

from __future__ import annotations

from functools import partial

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.inputs import Inputs
from nnactive_ext.experiment.loops import by_case
from nnactive_ext.labelling.given import given_patches
from nnactive_ext.labelling.verdicts import irrelevant_cases
from nnactive_ext.nnunet.dataset import Dataset
from nnactive_ext.query_methods.base import PoolCase, Request
from nnactive_ext.querying.air import Bodies


def pool_cases(experiment: Experiment, references: bool, bodies: Bodies | None = None) -> dict[str, PoolCase]:
    """Every pool case on its image grid with the patches chosen so far, but for cases that count as irrelevant.

    Args:
        experiment: planned, or being planned.
        references: give access to the reference labels; only for methods that simulate a person looking for structures.
        bodies: to learn afterwards what was left out as air.
    """
    plan = experiment.plan
    if references and plan.human:
        raise NnActiveError(
            f"{experiment.name} has no reference labels: choose a method that does not need them, such as random."
        )
    bodies = bodies or Bodies(experiment)
    inputs = Inputs.read(experiment.raw) if references else None
    strangers = irrelevant_cases(experiment)  # which leave the pool when nobody trains on it any more
    chosen = by_case([*given_patches(experiment), *experiment.annotated_patches()])
    return {
        name: PoolCase(
            name,
            geometry.shape,
            plan.patch_size(name),
            tuple(chosen.get(name, ())),
            partial(_reference, experiment.source, inputs, name) if references else None,
            partial(bodies.of, name) if bodies.skip else None,
        )
        for name, geometry in plan.pool.items()
        if name not in strangers
    }


def _reference(source: Dataset, inputs: Inputs | None, name: str) -> np.ndarray:
    if inputs:
        inputs.verify(name, source.cases[name].label)
    return source.label_map(name).astype(np.int16)


def request_for(experiment: Experiment, n: int, cycle: int) -> Request:
    """A request for ``n`` patches in ``cycle`` (the cycle whose members score; -1 for the starting budget)."""
    labels, plan = experiment.source.labels, experiment.plan
    return Request(
        n=n,
        classes=labels.channels,
        seed=plan.seed,
        cycle=cycle,
        queries=plan.queries,
        labels=labels.foreground,
        cases=len(plan.pool),
    )
