"""How long the training of one member takes on this machine, from a few iterations on made-up images of the pool's shape."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from nnactive_ext.errors import brief
from nnactive_ext.files import write_json
from nnactive_ext.nnunet.environment import FOLDERS
from nnactive_ext.nnunet.splits import SPLITS
from nnactive_ext.parallel import busy
from nnactive_ext.words import count, duration

_NAME = "Dataset001_Pace"
_CASES = 3
_WARM_UP, _LEAST, _MOST, _SECONDS = 2, 4, 20, 6.0
"""Iterations before the clock runs, then the least and the most that are timed, and the seconds after which no more are."""
_PATIENCE = 300.0
"""Seconds for all of it, after which it is given up."""


@dataclass(frozen=True)
class Training:
    """What is to be trained, as nnU-Net's planner and trainer need to know it.

    ``shapes`` and ``spacings`` (mm) along (z, y, x), one for each case of the pool; ``dataset_json`` without its cases;
    ``planning``: options of nnU-Net's planner, as its function calls them; ``preset``: "cpu" or None. ``taken``: what its
    plans take over from pretrained weights (:func:`nnactive_ext.nnunet.pretrained.plans_with`); empty where it plans.
    ``members``: see :func:`nnactive_ext.nnunet.member_plans.plan_members`.
    """

    shapes: Sequence[Sequence[int]]
    spacings: Sequence[Sequence[float]]
    dataset_json: Mapping[str, Any]
    configuration: str
    trainer: str
    planner: str
    device: str
    preset: str | None = None
    planning: Mapping[str, Any] = field(default_factory=dict)
    taken: Mapping[str, Any] = field(default_factory=dict)
    members: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Pace:
    """Measured seconds: of an iteration of training and of validation, and until the first one. ``plans``: the parts of
    nnU-Net's plans that say what was trained; empty where that does not matter."""

    iteration: float
    validation: float
    start: float
    epochs: int
    iterations: int
    validation_iterations: int
    plans: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Of the training of one member."""
        epoch = self.iterations * self.iteration + self.validation_iterations * self.validation
        return self.start + self.epochs * epoch

    @property
    def why(self) -> str:
        """What the estimate rests on."""
        each = f"{1000 * self.iteration:.0f} ms" if self.iteration < 10 else duration(self.iteration)
        return f"{count(self.epochs, 'epoch')} x {count(self.iterations, 'iteration')} of {each}, timed here"


def timed(progress: bool = True) -> Callable[[Training], Pace | str]:
    """:func:`measure` that tells the user about it, if ``progress`` is shown."""

    def told(training: Training) -> Pace | str:
        with busy("Timing a few iterations of the training", progress):
            return measure(training)

    return told


def measure(training: Training) -> Pace | str:
    """Time a few iterations in a process of its own, with nnU-Net's folders in a temporary place.

    Args:
        training: what is to be trained.

    Returns:
        The pace; or why there is none, in a few words. It is an estimate, and nothing depends on it.
    """
    with TemporaryDirectory(prefix="nnactive_pace_", ignore_cleanup_errors=True) as folder:
        places = {name: str(Path(folder) / name) for name in FOLDERS}
        environment = {**os.environ, **places}
        if training.device == "cpu":  # as members are trained there
            environment |= {"nnUNet_n_proc_DA": "0", "OMP_WAIT_POLICY": "PASSIVE"}
        try:
            status, printed, errors = _asked(json.dumps(asdict(training)), environment)
        except (OSError, subprocess.TimeoutExpired) as error:
            return brief(error)
    try:
        return Pace(**json.loads(printed.splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        return (errors.strip().splitlines() or [f"it ended with status {status}"])[-1]


def _asked(job: str, environment: Mapping[str, str]) -> tuple[int, str, str]:
    """Status, output and errors of the process. Its loader processes are killed with it, however this one ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(environment),
        start_new_session=os.name == "posix",
    )
    try:
        printed, errors = process.communicate(job, timeout=_PATIENCE)
    finally:
        if os.name == "posix":
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
    return process.returncode, printed, errors


def main() -> None:
    """The process: reads a :class:`Training` from standard input and prints a :class:`Pace`, both as JSON."""
    training = Training(**json.load(sys.stdin))
    answer, sys.stdout = sys.stdout, sys.stderr  # nnU-Net prints
    try:
        pace = _timed(training)
    except Exception as error:  # whatever nnU-Net, a trainer or the device says: there is no estimate then
        print(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", file=sys.stderr, flush=True)
        os._exit(1)
    print(json.dumps(asdict(pace)), file=answer, flush=True)
    os._exit(0)  # nnU-Net's loader processes are killed by the one that waits


def _timed(training: Training) -> Pace:
    import torch

    from nnactive_ext.nnunet.trainers import trainer_class

    target, dataset_json = _planned(training)
    _write_cases(target, dataset_json, training)
    made = trainer_class(training.trainer)
    began = perf_counter()
    trainer = made(target.plans, training.configuration, 0, dataset_json, torch.device(training.device))
    if training.taken:
        trainer.load_pretrained = lambda: None  # other values are as fast
    trainer.initialize()
    trainer.disable_checkpointing = True
    trainer.on_train_start()

    def step() -> None:
        trainer.train_step(next(trainer.dataloader_train))

    def validation() -> None:
        with torch.no_grad():
            trainer.validation_step(next(trainer.dataloader_val))

    trainer.network.train()
    for _ in range(_WARM_UP):
        step()
    start = perf_counter() - began
    iteration = _mean_seconds(step)
    trainer.network.eval()
    validation()
    numbers = (trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch)
    planned, name = target.plans, training.configuration
    configuration = {key: planned["configurations"][name][key] for key in ("patch_size", "spacing", "batch_size")}
    configuration["nnactive"] = {"iterations_per_epoch": numbers[1], "val_iterations_per_epoch": numbers[2]}
    plans = {"transpose_forward": planned["transpose_forward"], "configurations": {name: configuration}}
    return Pace(iteration, _mean_seconds(validation), start, *numbers, plans=plans)


def _mean_seconds(step: Any) -> float:
    began, done = perf_counter(), 0
    while done < _LEAST or (done < _MOST and perf_counter() - began < _SECONDS):
        step()
        done += 1
    return (perf_counter() - began) / done


def _planned(training: Training) -> tuple[Any, dict[str, Any]]:
    """nnU-Net's plans for the pool's shapes and spacings, made in the temporary folders as for an experiment."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import plan_experiments

    from nnactive_ext.nnunet.member_plans import plan_members
    from nnactive_ext.nnunet.preprocessing import Preprocessed
    from nnactive_ext.nnunet.presets import shrink_for_cpu
    from nnactive_ext.nnunet.pretrained import plans_with

    raw, folder = Path(os.environ["nnUNet_raw"]) / _NAME, Path(os.environ["nnUNet_preprocessed"]) / _NAME
    cases = {f"case_{n}": {"images": [], "label": ""} for n in range(_CASES)}
    for case, entry in cases.items():
        entry["images"] = [f"imagesTr/{case}_{c:04d}.nii.gz" for c in range(len(training.dataset_json["channel_names"]))]
        entry["label"] = f"labelsTr/{case}.nii.gz"
    dataset_json = {**training.dataset_json, "name": _NAME, "numTraining": _CASES, "dataset": cases}
    values = ("max", "mean", "median", "min", "percentile_00_5", "percentile_99_5", "std")
    fingerprint = {
        "spacings": [list(spacing) for spacing in training.spacings],
        "shapes_after_crop": [list(shape) for shape in training.shapes],
        "foreground_intensity_properties_per_channel": {c: dict.fromkeys(values, 1.0) for c in dataset_json["channel_names"]},
        "median_relative_size_after_cropping": 1.0,
    }
    for place in (raw, folder):
        place.mkdir(parents=True)
        write_json(place / "dataset.json", dataset_json)
    write_json(folder / "dataset_fingerprint.json", fingerprint)
    if training.taken:
        identifier = "nnUNetPlans"
        plans = plans_with(training.taken, _NAME, identifier, training.configuration, dataset_json, "SimpleITKIO")
        write_json(folder / f"{identifier}.json", plans)
        return Preprocessed(folder, identifier, training.configuration), dataset_json
    loaders = os.environ.pop("nnUNet_n_proc_DA", None)  # with 0 the planner dies
    identifier = plan_experiments([_NAME], experiment_planner_class_name=training.planner, **training.planning)
    os.environ |= {"nnUNet_n_proc_DA": loaders} if loaders is not None else {}
    target = Preprocessed(folder, identifier, training.configuration)
    if training.preset == "cpu":
        write_json(folder / f"{identifier}.json", shrink_for_cpu(target.plans, training.configuration))
    if training.members:
        write_json(folder / f"{identifier}.json", plan_members(target.plans, training.configuration, training.members))
    return target, dataset_json


def _write_cases(target: Any, dataset_json: Mapping[str, Any], training: Training) -> None:
    """Preprocessed cases of noise, annotated everywhere, at most twice as long as the network patch along each axis."""
    import numpy as np

    from nnactive_ext.nnunet.preprocessing import class_locations, save_case

    plans, configuration = target.manager()
    patch = configuration.patch_size
    median = (
        np.median(np.array(training.shapes), axis=0)[list(plans.transpose_forward)]
        * np.median(np.array(training.spacings), axis=0)[list(plans.transpose_forward)]
    )
    spacing = list(configuration.spacing) if len(configuration.spacing) == 3 else [1.0, *configuration.spacing]
    whole = [max(1, round(float(mm / s))) for mm, s in zip(median, spacing, strict=True)]
    twice = [2 * side for side in ([5, *patch] if len(patch) < 3 else patch)]  # 2D patches are drawn from slices
    shape = [min(n, side) for n, side in zip(whole, twice, strict=True)]
    labels = plans.get_label_manager(dataset_json)
    values = list(labels.all_labels)
    target.data_folder.mkdir(parents=True, exist_ok=True)
    preprocessor = configuration.preprocessor_class(verbose=False)
    for number, case in enumerate(dataset_json["dataset"]):
        rng = np.random.default_rng(number)
        image = rng.standard_normal((len(dataset_json["channel_names"]), *shape)).astype(np.float32)
        blocks = rng.choice(values, [-(-n // 8) for n in shape])
        segmentation = blocks.repeat(8, 0).repeat(8, 1).repeat(8, 2)[: shape[0], : shape[1], : shape[2]][None].astype(np.int16)
        locations = class_locations(segmentation, plans, dict(dataset_json), preprocessor)
        properties = {"spacing": spacing, "class_locations": locations}
        save_case(target, case, segmentation, properties, configuration, image)
    names = list(dataset_json["dataset"])
    write_json(target.folder / SPLITS, [{"train": names[:-1], "val": names[-1:]}])


if __name__ == "__main__":
    main()
