"""Decides what an experiment takes over from pretrained weights (``nnactive_plan -pretrained``): network, spacing, plans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.plan import Plan
from nnactive_ext.nnunet.planners import DEFAULT
from nnactive_ext.nnunet.presets import cpu_schedule
from nnactive_ext.nnunet.pretrained import KEY, Pretrained, digest, read_pretrained
from nnactive_ext.nnunet.trainers import starts_pretrained
from nnactive_ext.planning.decisions import Decisions
from nnactive_ext.planning.settings import Settings
from nnactive_ext.words import count

PLANS = "nnUNetPretrainedPlans"
"""The name of nnU-Net's plans that are taken over, unless ``-overwrite_plans_name`` gives another."""
UNKNOWN = "unknown"
"""Whether weights were trained on images of the experiment, where nobody says so."""
_CPU_BATCH = 2


def start_of(settings: Settings) -> Pretrained | None:
    """The weights that ``-pretrained`` names, read once; None where it is not given.

    Raises:
        NnActiveError: they cannot be read, or are not those of the network that their plans build.
    """
    if not settings.pretrained:
        return None
    file = Path(settings.pretrained)
    plans = Path(settings.pretrained_plans) if settings.pretrained_plans else None
    for one, flag in ((file, "-pretrained"), (plans, "-pretrained_plans")):
        if one is not None and not one.exists():
            raise NnActiveError(f"{flag} {one}: no such file.")
    stamp = (file.stat().st_mtime_ns, file.stat().st_size, plans and plans.stat().st_mtime_ns)
    return _read(file, settings.configuration, plans, settings.trust, stamp)


@lru_cache(maxsize=1)
def _read(file: Path, configuration: str, plans: Path | None, trust: bool, stamp: Any) -> Pretrained:
    return read_pretrained(file, configuration, plans, trust)


def check_start(settings: Settings, trainer: str) -> None:
    """Settings that do not go with pretrained weights, or not without, are an error; the weights are read."""
    if not settings.pretrained:
        given = {"-pretrained_plans": settings.pretrained_plans, "-pretrained_seen": settings.pretrained_seen}
        alone = [flag for flag, value in {**given, "--trust": settings.trust}.items() if value]
        if alone:
            raise NnActiveError(f"{alone[0]} says something about pretrained weights. Give these with -pretrained FILE.")
        if starts_pretrained(trainer):
            raise NnActiveError(f"-tr {trainer} starts from pretrained weights. Give these with -pretrained FILE.")
        return
    if not starts_pretrained(trainer):
        raise NnActiveError(
            f"-tr {trainer} does not load the weights of -pretrained. Leave out -tr, or use nnActiveTrainer_Finetune (also "
            "nnActiveTrainer_Finetune_<N>epochs) or a class that derives from it."
        )
    for flag, value in (("-pl", settings.planner != DEFAULT), ("-gpu_memory_target", settings.gpu_memory_target)):
        if value:
            raise NnActiveError(
                f"{flag} plans a network, and with -pretrained the network is that of the weights. Leave it out."
            )
    start_of(settings)


def with_start(plan: Plan, settings: Settings, channels: Sequence[str], decisions: Decisions) -> Plan:
    """``plan`` with what it takes over from the weights of ``-pretrained``, if there are any; rows are added to ``decisions``.

    Args:
        plan: an experiment whose pool is known.
        settings: what the user set.
        channels: the names of the images' channels.
        decisions: the table that planning prints.

    Returns:
        The plan; its ``pretrained`` holds nnU-Net's plans as far as they do not name the dataset.

    Raises:
        NnActiveError: the network takes another number of channels, or ``-overwrite_target_spacing`` is not its spacing.
    """
    start = start_for(settings, channels)
    if start is None:
        return plan
    configuration, why = _with_spacing(start, settings, plan)
    if settings.preset == "cpu":
        configuration["batch_size"] = min(_CPU_BATCH, configuration["batch_size"])
        configuration["nnactive"] = cpu_schedule()
    sha256 = digest(start.tensors)
    configuration["nnactive"] = {**configuration.get("nnactive", {}), KEY: sha256}
    seen = settings.pretrained_seen or UNKNOWN
    decisions.add("pretrained", f"{start.file.name} ({start.format}), sha256 {sha256[:12]}...", start.origin)
    _tell_seen(seen, decisions)
    patch = "x".join(map(str, configuration["patch_size"]))
    architecture = str(configuration["architecture"]["network_class_name"]).rpartition(".")[2]
    decisions.add("network", f"{architecture}, network patch {patch}", "that of the weights; nnU-Net plans none")
    decisions.add("", " x ".join(f"{mm:.4g}" for mm in configuration["spacing"]) + " mm", why)
    decisions.add(
        "", ", ".join(dict.fromkeys(configuration["normalization_schemes"])), "normalisation of the weights' training"
    )
    why = "members share it, so they disagree less: scores do not compare with those of members trained from scratch"
    decisions.add("start of members", f"the same in all {count(plan.cycles, 'cycle')}", why)
    if start.channel_names and list(start.channel_names) != list(channels):
        told = f"weights for {', '.join(start.channel_names)}, images of {', '.join(channels)}"
        decisions.warn("other channels", f"{told}; normalisation is that of the weights")
    taken = {
        "file": start.file.name,
        "format": start.format,
        "origin": start.origin,
        "sha256": sha256,
        "seen": seen,
        "trusted": settings.trust,
        "plans_file": Path(settings.pretrained_plans).name if settings.pretrained_plans else None,
        "plans": {**start.shared, "configuration": configuration},
    }
    return replace(plan, pretrained=taken, plans_identifier=settings.overwrite_plans_name or PLANS)


def start_for(settings: Settings, channels: Iterable[str]) -> Pretrained | None:
    """:func:`start_of` for images with these channels."""
    start = start_of(settings)
    return None if start is None else start.for_channels(tuple(channels))


def differing_start(plan: Plan, settings: Settings, channels: Iterable[str]) -> list[tuple[str, Any, Any]]:
    """In what an experiment's pretrained weights are not those of ``settings``: name, what was planned, what is asked for."""
    start = start_for(settings, channels)
    asked = {"pretrained": digest(start.tensors), "pretrained_seen": settings.pretrained_seen or UNKNOWN} if start else {}
    had = plan.pretrained
    planned = {"pretrained": had["sha256"], "pretrained_seen": had["seen"]} if had else {}
    return [(key, planned.get(key), asked.get(key)) for key in {**planned, **asked} if planned.get(key) != asked.get(key)]


def _tell_seen(seen: str, decisions: Decisions) -> None:
    why = "weights that were trained on cases of the pool or the test set make results too good; -pretrained_seen says so"
    (decisions.warn if seen == "yes" else lambda *row: decisions.add("", *row))(
        f"-pretrained: has it seen these images? {seen}", why
    )


def _with_spacing(start: Pretrained, settings: Settings, plan: Plan) -> tuple[dict[str, Any], str]:
    """The configuration with a spacing, and where that comes from."""
    found: dict[str, Any] = {key: value for key, value in start.configuration.items() if key != "data_identifier"}
    axes = list(start.shared["transpose_forward"])
    typed = settings.overwrite_target_spacing
    wanted = [float(typed[axis]) for axis in axes] if typed else None
    if found["spacing"] is None:
        median = np.median([geometry.spacing for geometry in plan.pool.values()], axis=0)
        why = "as asked for" if wanted else "the median of the pool, because the weights were trained without resampling"
        return {**found, "spacing": wanted or [float(median[axis]) for axis in axes]}, why
    if wanted and not np.allclose(wanted[-len(found["spacing"]) :], found["spacing"]):
        raise NnActiveError(
            f"{start.file}: was trained on images of {_mm(found['spacing'])} mm, and -overwrite_target_spacing asks for "
            f"{_mm(wanted)} mm (axes as its plans transpose them). Leave it out, or choose other weights."
        )
    return found, "spacing of the weights' training, to which images are resampled"


def _mm(spacing: Sequence[float]) -> str:
    return " x ".join(f"{mm:g}" for mm in spacing)
