"""The one way in which a command comes to its experiment."""

from __future__ import annotations

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.labelling.finishing import finish_change


def open_experiment(identifier: str | int) -> Experiment:
    """Find an experiment and make sure that a command can rely on it: a change that was interrupted is finished.

    Args:
        identifier: the number or the name of its dataset.

    Returns:
        The experiment.

    Raises:
        NnActiveError: there is no such experiment, or another process is changing it.
    """
    experiment = Experiment.find(identifier)
    return Experiment(experiment.name) if finish_change(experiment) else experiment
