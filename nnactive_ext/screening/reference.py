"""The reference in a file, for deployments without the experiment: measurements of its cases, no images and no names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.marks import Fold
from nnactive_ext.files import read_arrays, replacing
from nnactive_ext.geometry.space import Space
from nnactive_ext.nnunet.plans_files import read_plans
from nnactive_ext.ood import Gaussian
from nnactive_ext.ood.flags import NORMAL
from nnactive_ext.schemas import Count, Spacing, of_text
from nnactive_ext.screening import names
from nnactive_ext.screening.measuring import Measured
from nnactive_ext.screening.new_images import Reading
from nnactive_ext.screening.scoring import Options, Screening
from nnactive_ext.screening.screen import schemes_of
from nnactive_ext.words import listed

VERSION = 1


class _Version(TypedDict):
    version: int


class _Facts(TypedDict):
    experiment: str
    cycle: Count
    kind: str
    folds: list[Count | str]
    patch_mm: Spacing
    seed: Count
    configuration: str
    plans: str
    weights: str
    schemes: list[str]
    pool: list[tuple[Spacing, tuple[float, float, float, float, float, float, float, float, float]]] | None
    series: list[str]
    spacing: Spacing | None
    scores: list[str]
    options: Options


@dataclass(frozen=True)
class Reference:
    """What :func:`export_reference` wrote: measurements of the cases, and ``facts``, plain values about the members that made
    them (kind, folds, patch_mm, seed, configuration, plans, weights), about how images are read (``pool``: spacing and axes of
    the pool's images; series, spacing), ``scores``, ``schemes`` and ``options``."""

    measured: Sequence[Measured]
    facts: dict[str, Any]

    @property
    def options(self) -> Options:
        return self.facts["options"]

    def reading(self, dataset_json: dict[str, Any]) -> Reading:
        """How the pool's images were read; nnU-Net's reader and plans are those of the model folder."""
        pool = self.facts["pool"]
        like = None if pool is None else [Space((1, 1, 1), tuple(mm), (0.0, 0.0, 0.0), tuple(axes)) for mm, axes in pool]
        return Reading(dataset_json, None, None, like, self.facts["series"], self.facts["spacing"])


def export_reference(screening: Screening, experiment: Experiment, folds: Sequence[Fold], weights: str, file: Path) -> int:
    """Write the reference of a screening, whole or not at all.

    The file holds, for each case: spacing, extent and number of channels, quantiles of its intensities, descriptors of its
    windows (float16 where that can hold them) and its voxel scores; besides these how the pool's images lie, the descriptors'
    mean, principal components and variances, and the value of each score above which an image is flagged. Descriptors derive
    from patients' images.

    Args:
        screening: of the pool of the experiment, with members where a score needs them.
        experiment: its members are those that were asked.
        folds: those members.
        weights: the digest of the members' parameters; empty where none was asked.
        file: a ``.npz``.

    Returns:
        The number of cases.

    Raises:
        NnActiveError: the file has another ending, or the reference has fewer than three cases.
    """
    chosen = [one for one, there in zip(screening.measured, screening.reference, strict=True) if there]
    if file.suffix != ".npz":
        raise NnActiveError(f"--export_reference {file}: give a name that ends with .npz.")
    if len(chosen) < 3:
        raise NnActiveError(f"--export_reference: the reference has {len(chosen)} cases; at least 3 are needed. Annotate more.")
    if left := [one.name for one in screening.scores if one.name in names.HERE]:
        raise NnActiveError(f"--export_reference: {' and '.join(left)} need the experiment. Leave them out of -scores.")
    plan, reading = experiment.plan, Reading.of(experiment)
    pool = reading.pool
    facts = {
        "version": VERSION,
        "experiment": screening.title,
        "cycle": experiment.state["cycle"],
        "kind": str(plan.member_kind),
        "folds": list(folds),
        "patch_mm": list(plan.patch_size_mm),
        "seed": plan.seed,
        "configuration": plan.configuration,
        "plans": plans_digest(experiment.preprocessed.plans, plan.configuration),
        "weights": weights,
        "schemes": schemes_of(experiment),
        "pool": None if pool is None else [[space.spacing, space.direction] for space in pool],
        "series": list(reading.series),
        "spacing": reading.spacing and list(reading.spacing),
        "scores": [one.name for one in screening.scores],
        "options": {**asdict(screening.options), "scores": None, "everything": False},
        "thresholds": {
            one.name: _threshold(one.values[screening.reference], screening.options.limit) for one in screening.scores
        },
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary, open(temporary, "wb") as handle:
        np.savez_compressed(handle, facts=np.array(json.dumps(facts)), **_arrays(chosen))  # type: ignore[arg-type]
    return len(chosen)


def read_reference(file: Path) -> Reference:
    """Read what :func:`export_reference` wrote.

    Raises:
        NnActiveError: there is no such file, or it is another one.
    """
    if not file.is_file():
        raise NnActiveError(f"-reference {file}: no such file.")
    remedy = "It is not a reference that nnactive_screen --export_reference wrote, or it is damaged. Export it anew."
    arrays = read_arrays(file, remedy)
    try:
        if of_text(_Version, str(arrays["facts"]))["version"] != VERSION:
            raise NnActiveError(f"-reference {file}: written by another version. Export it anew with --export_reference.")
        return Reference(_measured(arrays), of_text(_Facts, str(arrays["facts"])))
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise NnActiveError(f"-reference {file}: {type(error).__name__}: {error}. {remedy}") from None


def plans_digest(plans: dict[str, Any], configuration: str) -> str:
    """The checksum of what decides how images are brought to the network's grid and normalised."""
    kept = [plans["configurations"][configuration], plans["transpose_forward"], plans["image_reader_writer"]]
    kept.append(plans["foreground_intensity_properties_per_channel"])
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def check_model(reference: Reference, folder: Path) -> None:
    """A model folder with other plans than those of the reference is an error."""
    plans, configuration = read_plans(folder / "plans.json"), reference.facts["configuration"]
    if configuration not in plans["configurations"] or plans_digest(plans, configuration) != reference.facts["plans"]:
        raise NnActiveError(
            f"-m {folder}: plans.json is not that of the members with which the reference was made. Give their model folder, "
            "or export the reference anew with these members."
        )


def check_weights(reference: Reference, weights: str, folder: Path) -> None:
    """Members that did not make the reference's descriptors are an error: their feature spaces are not the same."""
    if reference.facts["weights"] and weights != reference.facts["weights"]:
        raise NnActiveError(
            f"-m {folder}: the members of the folds {listed(reference.facts['folds'])} are not those with which the reference "
            "was made. Give the folder of these members, or export the reference anew."
        )


def _arrays(chosen: Sequence[Measured]) -> dict[str, np.ndarray]:
    arrays = {
        "spacing": np.array([one.spacing for one in chosen]),
        "extent": np.array([one.extent for one in chosen]),
        "channels": np.array([one.channels for one in chosen]),
    }
    if all(one.quantiles is not None for one in chosen):
        arrays["quantiles"] = np.stack([one.quantiles for one in chosen if one.quantiles is not None])
    windows = [one.windows for one in chosen if one.windows is not None]
    if len(windows) == len(chosen):
        every = np.concatenate(windows)
        half = every.astype(np.float16)
        arrays["windows"] = half if np.isfinite(half).all() else every
        arrays["windows_of"] = np.array([len(one) for one in windows])
        gaussian = Gaussian.fitted(every)
        arrays |= {f"gaussian_{part}": getattr(gaussian, part) for part in ("mean", "components", "variances")}
    for score in sorted({score for one in chosen for score in one.values}):
        arrays[f"value_{score}"] = np.array([one.values.get(score, np.nan) for one in chosen])
    return arrays


def _measured(arrays: dict[str, np.ndarray]) -> list[Measured]:
    number = len(arrays["channels"])
    windows: list[np.ndarray | None] = [None] * number
    if "windows" in arrays:
        ends = np.cumsum(arrays["windows_of"])
        windows = list(np.split(arrays["windows"].astype(np.float32), ends[:-1]))
    values = {name.removeprefix("value_"): array for name, array in arrays.items() if name.startswith("value_")}
    return [
        Measured(
            f"reference {i + 1}",
            tuple(arrays["spacing"][i].tolist()),
            tuple(arrays["extent"][i].tolist()),
            int(arrays["channels"][i]),
            arrays["quantiles"][i] if "quantiles" in arrays else None,
            windows[i],
            values={name: float(array[i]) for name, array in values.items()},
        )
        for i in range(number)
    ]


def _threshold(values: np.ndarray, limit: float) -> float | None:
    """The score above which an image is flagged; None where the reference has no spread."""
    known = values[~np.isnan(values)]
    median = float(np.median(known))
    spread = float(np.median(np.abs(known - median)))
    return median + limit * NORMAL * spread if spread and np.isfinite(median) else None


def wanted_scores(reference: Reference, scores: Sequence[str] | None) -> Sequence[str]:
    """The scores of the reference, or those of them that were named; one that it does not hold is an error."""
    there = reference.facts["scores"]
    if scores and (missing := [score for score in scores if score not in there]):
        possible = [score for score in missing if score in names.SCORES and score not in names.HERE]
        remedy = f"Export it anew with -scores {' '.join([*there, *possible])}." if possible else "Choose from these."
        raise NnActiveError(
            f"-scores {' '.join(missing)}: the reference was exported without. It holds {', '.join(there)}. {remedy}"
        )
    return scores or there
