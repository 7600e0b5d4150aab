"""nnactive_predict_blocks with a threshold for the network, as a worker starts it: ``python fake_blocks.py OPTIONS``."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from nnactive_ext.cli import predict_blocks
from nnactive_ext.members import ensemble

JOURNAL, PAUSE = "FAKE_JOURNAL", "FAKE_PAUSE"
"""Environment variables: a file that gets the number of each process that opens members; seconds that each block takes."""


class Threshold:
    """Labels that depend on the image and on how it is normalised."""

    def __init__(self, experiment, folds=(), device=""):
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        plans = PlansManager(experiment.preprocessed.plans)
        configuration = plans.get_configuration(experiment.plan.configuration)
        self.planned = plans, configuration, plans.get_label_manager(experiment.dataset.json)
        if journal := os.environ.get(JOURNAL):
            with open(journal, "a", encoding="utf-8") as file:
                file.write(f"{os.getpid()}\n")

    def segment_windows(self, image, windows, inside, mirroring):
        time.sleep(float(os.environ.get(PAUSE, "0")))
        return np.digitize(image[0][inside], (-0.2, 0.8)).astype(np.uint8)


def run(environment: dict[str, str], words: list[str]) -> None:
    """The command, in a process that the test may kill."""
    os.environ.update(environment)
    predict_blocks.prepare = lambda device: None
    ensemble.NnUNetEnsemble = Threshold
    predict_blocks.main(words)


if __name__ == "__main__":
    run({}, sys.argv[1:])
