"""The one way in which a command comes to its experiment."""

from __future__ import annotations

from nnactive_ext.experiment.experiment import Experiment


def open_experiment(identifier: str | int) -> Experiment:
    """Find an experiment and make sure that a command can rely on it.

    Args:
        identifier: the number or the name of its dataset.

    Returns:
        The experiment.

    Raises:
        NnActiveError: there is no such experiment.
    """
    return Experiment.find(identifier)
