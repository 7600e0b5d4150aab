"""The open steps of a cycle as text: commands to type anywhere, or a script that submits them to SLURM."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from nnactive_ext.cluster.steps import FINISH, GPU, TRAIN, Step
from nnactive_ext.experiment.commands import Commands, text
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.words import count

_INDEX, _VARIABLE = "INDEX", "${SLURM_ARRAY_TASK_ID}"


def as_commands(experiment: Experiment, steps: Sequence[Step], device: str = "cuda") -> str:
    """One command a line, under comments that say what they need and what comes first; a shell can run it as it is.

    Args:
        experiment: the steps are those of its current cycle.
        steps: :func:`nnactive_ext.cluster.steps.open_steps`.
        device: of the machines that carry them out, not of this one.
    """
    commands = Commands(experiment.plan, device)
    kinds, cycle = {step.kind for step in steps}, experiment.state["cycle"]
    lines = [f"# {experiment.name}, cycle {cycle}: {count(len(steps), 'open step')}"]
    for kind, found in groupby(steps, lambda step: step.kind):
        same = list(found)
        first = [before for before in same[0].after if before in kinds]
        after = f"after all steps {' and '.join(first)}" if first else "nothing comes first"
        lines.append(f"# {kind}: needs a {same[0].needs.upper()} each; {after}")
        lines += [commands.step(step.name, cycle) for step in same]
    return "\n".join(lines)


def for_slurm(
    experiment: Experiment, steps: Sequence[Step], device: str = "cuda", time: str = "", partition: str = "", cores: int = 0
) -> str:
    """A bash script that submits an array job for each kind of step, with ``--dependency=afterok`` between them.

    Args:
        experiment: the steps are those of its current cycle.
        steps: :func:`nnactive_ext.cluster.steps.open_steps`.
        device: of the nodes.
        time: limit of each job, as ``sbatch --time`` takes it; empty: the partition's.
        partition: as ``sbatch --partition`` takes it; empty: the cluster's default.
        cores: of each job but the last; 0: the cluster's default.
    """
    commands = Commands(experiment.plan, device)
    cycle, submitted = experiment.state["cycle"], set[str]()
    logs = experiment.results / f"cycle_{cycle:03d}" / "slurm"
    lines = [
        "#!/bin/bash",
        f"# Submits cycle {cycle} of {experiment.name} to SLURM: {count(len(steps), 'step')}. A step that is done already ends",
        "# at once, so the script can be submitted again after a failure.",
        "set -euo pipefail",
        text("mkdir", "-p", logs),
    ]
    for kind, found in groupby(steps, lambda step: step.kind):
        same = list(found)
        words: list[object] = ["sbatch", "--parsable", f"--job-name=nnactive_{experiment.number}_{kind}"]
        words += [f"--output={logs}/{kind}_%A_%a.log"]
        if kind != FINISH:
            words += [f"--array={','.join(str(step.index) for step in same)}", "--requeue", "--open-mode=append"]
        words += ["--gres=gpu:1"] if same[0].needs == GPU and device != "cpu" else []
        words += [f"--cpus-per-task={cores}"] if cores and kind != FINISH else []
        words += [f"--time={time}"] if time else []
        words += [f"--partition={partition}"] if partition else []
        first = [f"${before}" for before in same[0].after if before in submitted]
        after = f" --dependency=afterok:{':'.join(first)}" if first else ""
        command = commands.step(_numbered(same[0]), cycle).replace(_INDEX, _VARIABLE)
        lines.append(f"{kind}=$({text(*words)}{after} --wrap={text(command)})")
        submitted.add(kind)
    lines.append(f'echo "Submitted; the last job is ${FINISH}."')
    return "\n".join(lines)


def _numbered(step: Step) -> str:
    """The name of a step, with a placeholder for its number."""
    if step.kind == FINISH:
        return FINISH
    return f"{TRAIN}_{_INDEX}" if step.kind == TRAIN else f"{step.kind}_{_INDEX}_of_{step.parts}"
