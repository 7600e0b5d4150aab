"""From the labels of cycle 0 to what nnU-Net trains on: fingerprint, plans, preprocessed cases, splits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import replace

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.freezing import freeze_plans
from nnactive_ext.experiment.plan import Plan
from nnactive_ext.experiment.timing import Stopwatch, note_planning
from nnactive_ext.files import NOTHING_KEPT, Unpacked, copy_file, write_json
from nnactive_ext.labelling.relabel import settle
from nnactive_ext.nnunet.fingerprint import write_fingerprint
from nnactive_ext.nnunet.member_plans import plan_members
from nnactive_ext.nnunet.network import check_network
from nnactive_ext.nnunet.planners import asked_for
from nnactive_ext.nnunet.preprocessing import Preprocessed, preprocess
from nnactive_ext.nnunet.presets import shrink_for_cpu
from nnactive_ext.nnunet.pretrained import plans_with
from nnactive_ext.nnunet.trainers import builds_its_own_network, trains_abet, trains_stochastic
from nnactive_ext.parallel import busy, same_processes


def prepare(
    experiment: Experiment,
    counts: Mapping[str, Mapping[int, int]],
    progress: bool = True,
    copies: Unpacked = NOTHING_KEPT,
) -> tuple[Plan, tuple[str, ...]]:
    """Everything up to the first training; ``counts``: case -> label value -> annotated voxels; ``copies``: of the images, to
    read instead. Returns the plan, which now has the name of nnU-Net's plans, and warnings. A plan that is being made is
    written by the caller, once all else is there; that of an experiment, before its state says that there is something to train
    on."""
    plan, making, times = experiment.plan, experiment.planned is not None, Stopwatch()
    folder = experiment.preprocessed.folder
    folder.mkdir(parents=True, exist_ok=True)
    with times.of("plan"), same_processes():
        write_fingerprint(experiment.dataset, folder / "dataset_fingerprint.json", plan.processes, progress, copies)
        with busy("Planning the network with nnU-Net", progress):
            plan = replace(plan, plans_identifier=nnunet_plans(experiment))
            experiment = Experiment(plan.dataset, plan)
            planned = (trains_stochastic, trains_abet)  # another last layer does not change what can be trained
            if any(of(plan.trainer) for of in planned) or not builds_its_own_network(plan.trainer):
                check_network(experiment.preprocessed, experiment.dataset.json)
        preprocess(experiment.dataset, experiment.preprocessed, plan.processes, progress, copies=copies)
    freeze_plans(experiment)
    note_planning(experiment, times.seconds)
    if not making:
        plan.write(experiment.raw)
    return plan, settle(experiment, 0, counts)


def nnunet_plans(experiment: Experiment) -> str:
    """Let nnU-Net plan and return its plans' name; what it prints goes into a log file beside the plans. Where the network is
    that of pretrained weights, its plans are written instead."""
    if experiment.plan.pretrained:
        return _taken_over(experiment)
    from nnunetv2.experiment_planning.plan_and_preprocess_api import plan_experiments

    plan, folder = experiment.plan, experiment.preprocessed.folder
    # With 0 loader processes the planner calls torch.set_num_threads(0) and dies.
    loaders = os.environ.pop("nnUNet_n_proc_DA", None)
    try:
        with open(folder / "nnactive_planning.log", "w", encoding="utf-8") as log, redirect_stdout(log):
            identifier = plan_experiments(
                [experiment.name], experiment_planner_class_name=plan.planner, **asked_for(plan.settings)
            )
    finally:
        if loaders is not None:
            os.environ["nnUNet_n_proc_DA"] = loaders
    planned = Preprocessed(folder, identifier, plan.configuration)
    _check_used(plan, planned, identifier)
    planned.manager()  # an unknown configuration is an error here, before anything is preprocessed
    if plan.preset == "cpu":
        write_json(folder / f"{identifier}.json", shrink_for_cpu(planned.plans, planned.configuration))
    if members := plan.member_kind.in_plans:
        write_json(folder / f"{identifier}.json", plan_members(planned.plans, planned.configuration, members))
    return identifier


def _taken_over(experiment: Experiment) -> str:
    """nnU-Net's plans from those of the pretrained weights, and its copy of dataset.json."""
    plan, dataset, folder = experiment.plan, experiment.dataset, experiment.preprocessed.folder
    names = (plan.dataset, plan.plans_identifier, plan.configuration)
    plans = plans_with(plan.pretrained["plans"], *names, dataset.json, type(dataset.reader_writer).__name__)
    copy_file(experiment.raw / "dataset.json", folder / "dataset.json")
    write_json(folder / f"{plan.plans_identifier}.json", plans)
    return plan.plans_identifier


def _check_used(plan: Plan, planned: Preprocessed, identifier: str) -> None:
    """A planner may ignore what it is asked for; then its plans are not those that the experiment's plan tells of."""
    name, spacing = plan.settings.get("overwrite_plans_name"), plan.settings.get("overwrite_target_spacing")
    if name is not None and identifier != name:
        raise NnActiveError(
            f"-overwrite_plans_name {name}: the planner {plan.planner} calls its plans {identifier}. Leave it out."
        )
    made = planned.plans["configurations"].get("3d_fullres", {}).get("spacing")
    wanted = [spacing[axis] for axis in planned.plans["transpose_forward"]] if spacing else None
    if wanted and made and not np.allclose(made, wanted):
        raise NnActiveError(
            f"-overwrite_target_spacing: the planner {plan.planner} plans {made} mm instead of {wanted} (axes as it transposes "
            "them). Leave it out, or choose another planner with -pl."
        )
