"""Freezes what an experiment depends on: when it is planned, when nnU-Net has planned, and what was added since."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.input_checks import Compared, cases_of
from nnactive_ext.experiment.input_differences import description_differences
from nnactive_ext.experiment.input_files import geometry_text, image_entry, label_entry
from nnactive_ext.experiment.inputs import Inputs, described, digest
from nnactive_ext.experiment.plan import Geometry
from nnactive_ext.experiment.preprocessed_mark import mark
from nnactive_ext.files import read_json_if_any
from nnactive_ext.nnunet.dataset import Case, read_description
from nnactive_ext.schemas import JsonObject

_EXACT = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
"""Formats whose headers state the spacing that nnU-Net's readers give."""


def freeze(experiment: Experiment) -> Inputs:
    """Freeze everything but nnU-Net's plans, as it is now, and write it.

    Args:
        experiment: its dataset.json is written, and its plan is known.

    Returns:
        The inputs.
    """
    frozen = completed(experiment, freeze_descriptions(experiment, Inputs(experiment.raw)))
    frozen.write()
    return frozen


def freeze_descriptions(experiment: Experiment, frozen: Inputs) -> Inputs:
    """``frozen`` with the labels, regions, channels, reader and file ending that both dataset.json have now."""
    source = None if experiment.plan.human else described(experiment.source.json)
    return frozen.having(dataset=described(experiment.dataset.json), source=source)


def completed(experiment: Experiment, frozen: Inputs) -> Inputs:
    """``frozen`` with the files of those cases that it lacks, such as cases that were added to the pool; not written."""
    images, references = dict(frozen.part("images")), dict(frozen.part("references"))
    try:
        for case, found in cases_of(experiment, source=False).items():
            if case not in images:
                images[case] = [image_entry(file, experiment.raw) for file in found.images]
                _check_geometry(found, images[case], experiment.plan.pool.get(case))
        if not experiment.plan.human:
            for case, found in cases_of(experiment, source=True).items():
                if case not in references:
                    references[case] = label_entry(found.label, experiment.raw)
    except FileNotFoundError as error:
        raise NnActiveError(f"{error.filename}: no such file. Restore it, or take its case out of the pool.") from None
    return frozen.having(images=images, references=references or None)


def freeze_plans(experiment: Experiment) -> None:
    """Freeze nnU-Net's plans, which exist now, with its copies of dataset.json and the fingerprint, to restore them from.

    ``plans`` of the inputs: ``identifier``, the plans' name; ``sha256`` of :func:`nnactive_ext.experiment.inputs.digest`;
    ``content``; ``dataset_json`` and ``fingerprint``, None where there is no such file; ``data_folder``, the name of the folder
    of preprocessed cases; ``marked``, the case in it that has the mark.
    """
    frozen = Inputs.read(experiment.raw) or freeze(experiment)
    target = experiment.preprocessed
    content, data_folder = target.plans, target.data_folder
    marked = next(iter(experiment.plan.pool))
    mark(data_folder, marked)
    plans = {
        "identifier": target.plans_identifier,
        "sha256": digest(content),
        "data_folder": data_folder.name,
        "marked": marked,
        "content": content,
        "dataset_json": _description(target.folder),
        "fingerprint": read_json_if_any(target.folder / "dataset_fingerprint.json", None, JsonObject),
    }
    frozen.having(plans=plans).write()


def _description(folder: Path) -> dict[str, Any] | None:
    """nnU-Net's copy of dataset.json; None where there is none."""
    file = folder / "dataset.json"
    return read_description(file) if file.is_file() else None


def freeze_labels(experiment: Experiment) -> None:
    """Freeze the labels anew, after a change of the experiment's classes that wrote both of its dataset.json."""
    frozen = freeze_descriptions(experiment, Inputs.read(experiment.raw) or freeze(experiment))
    plans = frozen.part("plans")
    if plans:
        frozen = frozen.having(plans={**plans, "dataset_json": _description(experiment.preprocessed.folder)})
    frozen.write()


def stored(frozen: Inputs, compared: Compared) -> Inputs:
    """``frozen`` with the present size and time of files that are the same, so that they are not read again."""
    parts: dict[str, dict[str, Any]] = {}
    for (part, case), entry in compared.seen.items():
        parts.setdefault(part, dict(frozen.part(part)))[case] = entry
    return frozen.having(**parts)


def check_unfrozen(experiment: Experiment) -> None:
    """Refuse an experiment of an earlier version whose labels are no longer those it was planned with.

    Its own dataset.json was written from the source's when it was planned, and nnU-Net copied that when it planned.
    """
    own = described(experiment.dataset.json)
    source = own if experiment.plan.human else described(experiment.source.json)
    ignore = {"ignore": experiment.dataset.labels.ignore}
    then = {**source, "labels": {**source["labels"], **({} if "ignore" in source["labels"] else ignore)}}
    then["overwrite_image_reader_writer"] = source.get(
        "overwrite_image_reader_writer", own.get("overwrite_image_reader_writer")
    )
    copied = _description(experiment.preprocessed.folder)
    folders = ((experiment.source.folder, then), (experiment.preprocessed.folder, described(copied) if copied else own))
    for folder, other in folders:
        differences = description_differences(own, other)
        if differences:
            texts = "; ".join(text.replace(" then;", " in the experiment;") for text in differences)
            raise NnActiveError(
                f"{folder / 'dataset.json'}: does not agree with {experiment.raw / 'dataset.json'}, which was written from the "
                f"same labels: {texts} in this file. Restore the one that was changed."
            )


def _check_geometry(case: Case, entries: list[dict[str, Any]], planned: Geometry | None) -> None:
    """An image that is frozen late must still be that of the plan, whatever the order of its axes."""
    stated = entries[0].get("geometry") or {}
    size, spacing = stated.get("size"), stated.get("spacing")
    if planned is None or not case.images[0].name.lower().endswith(_EXACT) or not size or not spacing or len(size) != 3:
        return
    near = all(abs(a - b) <= 1e-3 * b for a, b in zip(sorted(spacing), sorted(planned.spacing), strict=True))
    if sorted(size) != sorted(planned.shape) or not near:
        then = {"size": planned.shape[::-1], "spacing": planned.spacing[::-1]}
        raise NnActiveError(
            f"{case.images[0]}: {geometry_text(then)} when the experiment was planned; {geometry_text(stated)} now. "
            "Restore the image, or take its case out of the pool."
        )
