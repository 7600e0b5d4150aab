"""The estimated time of a training against a real one, on the CPU; how the timing fails."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.members.training import train_member
from nnactive_ext.nnunet.pace import Pace, Training, measure
from nnactive_ext.planning.cycle_cost import Network
from nnactive_ext.planning.hours import member_hours

TWO_CLASSES = {
    "channel_names": {"0": "MRI"},
    "labels": {"background": 0, "a": 1, "b": 2, "ignore": 3},
    "file_ending": ".nii.gz",
    "overwrite_image_reader_writer": "SimpleITKIO",
}


def training(**changes) -> Training:
    made = Training(
        [(20, 60, 60)] * 3,
        [(5.0, 1.5, 1.5)] * 3,
        TWO_CLASSES,
        "3d_fullres",
        "nnActiveTrainer_10epochs_NoMirroring",
        "ExperimentPlanner",
        "cpu",
        "cpu",
    )
    return replace(made, **changes)


def test_a_training_is_its_epochs():
    """3 s + 4 x (50 x 0.2 s + 5 x 0.1 s) = 45 s"""
    assert Pace(0.2, 0.1, 3.0, 4, 50, 5).seconds == pytest.approx(45)


@pytest.mark.slow
def test_the_estimate_is_that_of_a_real_training(planned, monkeypatch):
    """Epoch for epoch, with a wide margin for what else the machine does; benchmarks/pace.py compares whole trainings."""
    monkeypatch.setenv("nnactive_iterations_per_epoch", "12")
    plan = replace(planned.plan, trainer="nnActiveTrainer_3epochs_NoMirroring")
    experiment = Experiment(planned.name, planned=plan)
    content = {key: value for key, value in experiment.dataset.json.items() if key != "dataset"}
    paces: list[Pace] = []

    def timed(wanted: Training) -> Pace | str:
        found = measure(wanted)
        assert isinstance(found, Pace), found
        paces.append(found)
        return found

    hours = member_hours(plan, content, timed)
    train_member(experiment, 0, "cpu")
    log = (experiment.results / "cycle_000" / "train_fold_0.log").read_text()
    real = sum(float(seconds) for seconds in re.findall(r"Epoch time: ([0-9.]+) s", log))
    (pace,) = paces
    assert (pace.epochs, pace.iterations, pace.validation_iterations) == (3, 12, 5)
    estimated = 3600 * hours.value - pace.start
    assert real / 6 < estimated < 6 * real, "an estimate by epoch instead of by iteration would be off by 12"


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"planner": "nnUNetPlannerResEncM"}, {"configuration": "2d"}])
def test_other_networks_are_timed(changes):
    found = measure(training(**changes))
    assert isinstance(found, Pace), found
    assert found.iteration > 0
    network = Network.of(found.plans, changes.get("configuration", "3d_fullres"))
    assert (network.iterations, network.validation) == (found.iterations, found.validation_iterations)
    assert len(network.patch) == (2 if "configuration" in changes else 3)


@pytest.mark.slow
def test_what_cannot_be_timed_says_why():
    assert "nnActiveTrainr" in str(measure(training(trainer="nnActiveTrainr")))
