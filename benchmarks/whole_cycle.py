"""A whole cycle with real networks, on the device at hand: the seconds of its trainings, evaluation, query and labels.

``python -m benchmarks.cycle FOLDER -device DEVICE`` starts it. Everything is planned and run as by the commands; the seconds
are those that the experiment keeps of itself (:mod:`nnactive_ext.experiment.timing`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

NUMBER = 872
REST = ("load", "statistics", "score")
TEXTS = {
    "train": "trainings",
    "evaluate": "evaluation of the test set",
    "predict": "query: networks",
    "statistics": "query: logits to means over members",
    "score": "query: waiting for the ranking, and the choice",
    "load": "query: waiting for images",
    "annotate": "annotation (simulated)",
    "preprocess": "labels for the next training",
}


def measure(source: int, words: Sequence[str], device: str) -> dict[str, Any]:
    """Plan an experiment of the dataset ``source`` and run its first cycle.

    Args:
        source: number of a dataset in nnUNet_raw.
        words: options of nnactive_plan.
        device: cpu, cuda or mps.

    Returns:
        seconds of all, of each step (summed over folds and cases), numbers of members, pool cases and test cases, trainer.
    """
    from nnactive_ext.cli import plan
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.experiment.timing import seconds_per_step
    from nnactive_ext.loop.cycles import run_cycles
    from nnactive_ext.members.tools import Tools
    from nnactive_ext.nnunet.environment import check_torchvision, extend_environment, prepare_device

    plan.main([*f"-d {source} -o {NUMBER} -name Whole --disable_progress_bar".split(), *words])
    extend_environment()
    check_torchvision()
    experiment = Experiment.find(NUMBER)
    begin = time.perf_counter()
    run_cycles(experiment, Tools.of_nnunet(device, lambda: prepare_device(device)), progress=False, once=True)
    seconds = time.perf_counter() - begin
    experiment = experiment.anew()
    counts = {"pool": len(experiment.plan.pool), "test": len(experiment.plan.test), "members": len(experiment.folds())}
    spent = seconds_per_step(experiment)
    del spent["plan"]
    return {"seconds": seconds, "steps": spent, **counts, "trainer": experiment.plan.trainer, "device": device}


def added(found: dict[str, Any]) -> float:
    """What everything else adds to the seconds of a query's networks."""
    return float(sum(found["steps"][step] for step in REST) / found["steps"]["predict"])


def lines(found: dict[str, Any]) -> list[list[str]]:
    """A head, a line for each step, and one for what belongs to none: imports, opening members, files."""
    steps, every = found["steps"], found["seconds"]
    rows = [(text, steps[step]) for step, text in TEXTS.items()]
    rows.append(("everything else", every - sum(seconds for _, seconds in rows)))
    return [["step", "s", "share"], *([text, f"{s:.1f}", f"{s / every:.1%}"] for text, s in rows), ["all", f"{every:.1f}", ""]]


def sentence(found: dict[str, Any]) -> str:
    """What was measured, and what a query adds to its networks."""
    return (
        f"One cycle on the device {found['device']}: {found['members']} members ({found['trainer']}), {found['pool']} cases in "
        f"the pool, {found['test']} test cases. In the query, everything else adds {added(found):.1%} to the seconds of the "
        "networks."
    )
