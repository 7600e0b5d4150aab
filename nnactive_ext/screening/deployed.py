"""Screens new images by a model folder and an exported reference, where the experiment is not at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.member_kinds import MIRROR, MemberKind
from nnactive_ext.members.describing import network_size
from nnactive_ext.members.ensemble import NnUNetEnsemble
from nnactive_ext.nnunet.dataset import read_description
from nnactive_ext.nnunet.preprocessing import Preprocessed
from nnactive_ext.screening import names
from nnactive_ext.screening.kept import Kept
from nnactive_ext.screening.measuring import Measuring
from nnactive_ext.screening.network import Network
from nnactive_ext.screening.new_images import new_images
from nnactive_ext.screening.reference import Reference, check_model, check_weights, read_reference, wanted_scores
from nnactive_ext.screening.scoring import Options, Screening
from nnactive_ext.screening.screen import of_new
from nnactive_ext.words import count


@dataclass(frozen=True)
class Model:
    """A model folder of nnU-Net's: plans.json, dataset.json and a folder for each fold that the reference was made with.
    ``prepare`` is called before the device is used."""

    folder: Path
    device: str = "cuda"
    prepare: Callable[[], None] = lambda: None


def screen_deployed(
    model: Model, file: Path, folder: Path, kept: Path, options: Options | None = None, progress: bool = True
) -> Screening:
    """Compare each image of a folder with an exported reference.

    Args:
        model: the members that made the reference.
        file: of :func:`nnactive_ext.screening.reference.export_reference`.
        folder: images, as :func:`nnactive_ext.screening.new_images.new_images` takes them.
        kept: where to keep what was measured of them.
        options: ``scores`` and ``limit`` count; the others are those of the reference.
        progress: show a progress bar.

    Raises:
        NnActiveError: reference and model do not fit, or no image can be screened.
    """
    reference = read_reference(file)
    wanted = wanted_scores(reference, options.scores if options else None)
    made = replace(reference.options, limit=options.limit if options else reference.options.limit)
    for name in ("plans.json", "dataset.json"):
        if not (model.folder / name).is_file():
            raise NnActiveError(f"-m {model.folder}: holds no {name}. Give a model folder of nnU-Net's.")
    check_model(reference, model.folder)
    target = Preprocessed(model.folder, "plans", reference.facts["configuration"])
    plans, _ = target.manager()
    dataset_json = read_description(model.folder / "dataset.json")
    reading = replace(reference.reading(dataset_json), reader=plans.image_reader_writer_class(), target=target)
    strange = new_images(folder, reading, progress)
    network = _network(model, reference, target, dataset_json) if names.needs_members(wanted) else None
    if network:
        network.opened()  # so that other members are refused, whatever was measured before
    measuring = Measuring(wanted, reference.facts["schemes"], Kept(kept), network, made.windows, made.aggregation)
    own = measuring.each(strange.images, strange.refused, progress)
    number = len(reference.measured)
    return of_new(
        strange,
        own,
        title=reference.facts["experiment"],
        measured=reference.measured,
        images=[None] * number,
        wanted=wanted,
        compared=f"the {count(number, 'case')} of {file.name}",
        options=made,
        notes=[],
        facts={"cycle": reference.facts["cycle"], "members": network.facts if network else None},
    )


def _network(model: Model, reference: Reference, target: Preprocessed, dataset_json: dict[str, Any]) -> Network:
    facts, folder = reference.facts, model.folder
    plans, configuration = target.manager()
    kind, patch = MemberKind.of(facts["kind"]), tuple(facts["patch_mm"])
    folds = facts["folds"]
    if missing := [fold for fold in folds if not (folder / f"fold_{fold}").is_dir()]:
        raise NnActiveError(f"-m {folder}: has no folder fold_{missing[0]}, which the reference was made with. Restore it.")

    @cache
    def opened(kind: MemberKind) -> NnUNetEnsemble:
        model.prepare()
        return NnUNetEnsemble.of_model(folder, folds, model.device, kind, patch, facts["seed"])  # type: ignore[arg-type]

    def checked() -> NnUNetEnsemble:
        made = opened(kind)
        check_weights(reference, made.weights, folder)
        return made

    single = kind.members(len(folds)) < 2
    labels = plans.get_label_manager(dataset_json)
    return Network(
        network_size(patch, plans.transpose_forward, configuration.spacing),
        labels.regions_class_order if labels.has_regions else None,
        {"weights": facts["weights"], "members": str(kind), "folds": folds, "plans": facts["plans"]},
        cache(checked),
        (lambda: opened(MemberKind.of(MIRROR))) if single else cache(checked),
        single,
    )
