"""Labels of whole images out: predicted, with the experts' voxels kept, on the voxels of each image's own file."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypedDict

import numpy as np
from tqdm import tqdm

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.own_file import OwnFile
from nnactive_ext.experiment.blocks import BlockTable
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import by_case
from nnactive_ext.experiment.marks import Fold
from nnactive_ext.experiment.pseudonyms import give_pseudonyms, pseudonyms
from nnactive_ext.files import read_json_if_any, remove_temporary, sha256, write_json, write_text
from nnactive_ext.images.dicom_segmentation import ENDING as DICOM
from nnactive_ext.images.dicom_writing import check_writer
from nnactive_ext.intake.find import FoundCase
from nnactive_ext.labelling.annotators import HumanAnnotator
from nnactive_ext.labelling.tasks import all_tasks
from nnactive_ext.members.ensemble import Ensemble, check_members
from nnactive_ext.members.model_zip import stock_description
from nnactive_ext.paths import check_no_link
from nnactive_ext.schemas import Count, not_empty
from nnactive_ext.words import cells, count, listed

FROM_EXPERT, RECORDS, TABLE = "from_expert", "records", "labels.csv"
"""In the folder of labels: the masks of experts' voxels, what was written and from what, and the summary."""
_MASK = {"from expert": 1}
_KINDS = ("labels", "mask")
"""The two files of a case, as its record calls them."""


@dataclass(frozen=True)
class Asked:
    """What is labelled, by which members, and where to.

    Args:
        experiment: its members of the current cycle are trained.
        folds: the members.
        folder: where the labels are written; what was written there from the same members and answers is kept.
        private: call files by pseudonyms instead of the names of cases.
        dicom: the DICOM series by case; the labels of these cases are DICOM segmentations.
    """

    experiment: Experiment
    folds: Sequence[Fold]
    folder: Path
    private: bool = False
    dicom: Mapping[str, FoundCase] = field(default_factory=dict)

    @cached_property
    def names(self) -> dict[str, str]:
        """Case -> how its files are called."""
        experiment, pool = self.experiment, self.experiment.plan.pool
        if not self.private:
            return {case: case for case in pool}
        with experiment.lock(wait=True):
            return {case: name for case, name in give_pseudonyms(experiment.annotation, pool).items() if case in pool}

    @cached_property
    def trainings(self) -> list[str]:
        """The numbers of the members' trainings."""
        return check_members(self.experiment, self.folds)

    def files(self, case: str) -> tuple[Path, Path]:
        """The label map of a case, and the mask of what experts decided in it."""
        ending = DICOM if case in self.dicom else self.experiment.dataset.file_ending
        name = f"{self.names[case]}{ending}"
        return self.folder / name, self.folder / FROM_EXPERT / name

    def record(self, case: str) -> Path:
        return self.folder / RECORDS / f"{self.names[case]}.json"


def export_labels(
    asked: Asked,
    open_ensemble: Callable[[], Ensemble],
    parts: tuple[int, int] = (0, 1),
    progress: bool = True,
) -> str:
    """Write the labels of all images of the pool, each on the voxels of its own file.

    A voxel that an expert (in a simulation the annotator) annotated has that label; all others have the class that the members
    predict as ``nnUNetv2_predict`` does. What reorders axes between file and network, nnU-Net's reader or a turned copy, is
    undone. Besides ``NAME`` with the ending of the dataset, there is ``from_expert/NAME`` (1: annotated, 0: predicted),
    ``labels.csv`` with the voxels of each class and source, and ``dataset.json`` with the names of the labels.

    Args:
        asked: what is labelled, and where to.
        open_ensemble: opens the members; not called where all labels are there.
        parts: (part id, number of parts). With more than one, this process labels its share of the images; a later call without
            parts writes the table.
        progress: show a progress bar.

    Returns:
        What was done, as a sentence.

    Raises:
        NnActiveError: a member is missing, the pool holds blocks of larger volumes, or a file in the folder was changed since
            it was written.
    """
    experiment, predicted, ensemble = asked.experiment, 0, None
    _check(asked)
    share = list(experiment.plan.pool)[parts[0] :: parts[1]]
    for part in ("", FROM_EXPERT, RECORDS):
        folder = asked.folder / part
        (check_no_link(folder) if part else folder).mkdir(parents=True, exist_ok=True)
    for case in share:
        _check_unchanged(asked, case)
    known = _known(experiment)
    for case in tqdm(share, desc="Labelling images", disable=not progress):
        annotated = known(case)
        facts = _facts(asked, case, annotated)
        if _is_there(asked, case, facts):
            continue
        ensemble = ensemble or open_ensemble()
        _write(asked, case, annotated, facts, ensemble)
        predicted += 1
    if parts[1] > 1:
        return f"Part {parts[0]} of {parts[1]} is labelled: {count(len(share), 'image')}, {predicted} of them now."
    _finish(asked)
    return f"Wrote the labels of {count(len(share), 'image')} to {asked.folder}, {predicted} of them now."


def _check(asked: Asked) -> None:
    experiment, folder = asked.experiment, asked.folder
    asked.trainings  # noqa: B018 - members that are missing are an error before anything is written
    if blocks := BlockTable.read(experiment.raw).blocks:
        volume = next(iter(blocks.values())).volume
        raise NnActiveError(
            f"The images of {experiment.name} are blocks of larger volumes. Label the volumes: "
            f"{experiment.commands.predict_blocks('-i', volume, '-o', 'LABELS.ome.zarr')}"
        )
    if folder.is_file():
        raise NnActiveError(f"{folder}: a file has the name of this folder. Choose another folder with -o.")
    if asked.dicom:
        check_writer()
    others = {case: case for case in experiment.plan.pool} if asked.private else pseudonyms(experiment.annotation)
    if mixed := [name for name in others.values() if (folder / RECORDS / f"{name}.json").is_file()]:
        which = "the names of cases" if asked.private else "pseudonyms"
        raise NnActiveError(f"{folder}: holds labels with {which} ({listed(mixed)}). Choose another folder with -o.")


def _known(experiment: Experiment) -> Callable[[str], np.ndarray]:
    """Called with a case, the label map (z, y, x) of what is annotated of it now, ``ignore`` elsewhere, on the array that
    members see. In a simulation it is the one in place: reference labels are not read."""
    if not experiment.plan.human:
        return experiment.dataset.label_map
    annotator, patches = HumanAnnotator(experiment), by_case([task.patch for task in all_tasks(experiment)])
    return lambda case: annotator.annotate(case, patches.get(case, []))[0]


def _facts(asked: Asked, case: str, known: np.ndarray) -> dict[str, Any]:
    """What the labels of a case are made of."""
    experiment, images = asked.experiment, [file.stat() for file in asked.experiment.dataset.cases[case].images]
    return {
        "experiment": experiment.plan.experiment,
        "cycle": experiment.state["cycle"],
        "folds": list(asked.folds),
        "trainings": asked.trainings,
        "annotated": hashlib.sha256(np.ascontiguousarray(known).tobytes()).hexdigest(),
        "images": [[image.st_size, image.st_mtime_ns] for image in images],
    }


class _For(TypedDict):
    experiment: str


class _Record(TypedDict, total=False):
    """Of a case whose labels were written, or were about to be; ``labels`` and ``mask``: the sha256 of what was written."""

    labels: Annotated[list[str], not_empty]
    mask: Annotated[list[str], not_empty]
    voxels: Count
    from_expert: Count
    classes: dict[str, list[Count]]


class _WholeRecord(_Record):
    pass


def _recorded(asked: Asked, case: str) -> dict[str, Any]:
    """The record of a case; empty where there is none."""
    file = asked.record(case)
    return read_json_if_any(file, {}, _Record, f"Move {asked.folder} elsewhere, or choose another folder with -o.")


def _check_unchanged(asked: Asked, case: str) -> None:
    """A label map that somebody corrected here, or that is not ours, is not written over."""
    record = _recorded(asked, case)
    if record and record["for"]["experiment"] != asked.experiment.plan.experiment:
        raise NnActiveError(f"{asked.record(case)}: belongs to another experiment. Choose another folder with -o.")
    for file, kind in zip(asked.files(case), _KINDS, strict=True):
        if file.is_file() and sha256(file) not in record.get(kind, ()):
            raise NnActiveError(
                f"{file}: was changed since it was written, or is not of this command. Move it elsewhere, or choose another "
                "folder with -o."
            )


def _is_there(asked: Asked, case: str, facts: Mapping[str, Any]) -> bool:
    record, files = _recorded(asked, case), asked.files(case)
    if record.get("for") != facts or not all(file.is_file() for file in files):
        return False
    return all(sha256(file) == record[kind][-1] for file, kind in zip(files, _KINDS, strict=True))


def _write(asked: Asked, case: str, known: np.ndarray, facts: Mapping[str, Any], ensemble: Ensemble) -> None:
    experiment, ignore = asked.experiment, asked.experiment.dataset.labels.ignore
    expert = known != ignore
    try:
        predicted = ensemble.segment(experiment.dataset.cases[case])
    except RuntimeError as error:  # torch's, for want of memory or because of infinite logits
        raise NnActiveError(f"{case}: its prediction failed: {error}") from error
    whole = np.where(expert, known, predicted).astype(np.uint8 if ignore <= 256 else np.uint16)
    place = OwnFile.of(experiment, case, asked.dicom.get(case))
    record = _recorded(asked, case)
    classes = experiment.dataset.labels.classes
    contents = (whole, {name: v[0] for name, v in classes.items()}), (expert.astype(np.uint8), _MASK)
    with ExitStack() as both:
        for file, kind, (array, names) in zip(asked.files(case), _KINDS, contents, strict=True):
            temporary = both.enter_context(place.written(file, array, names, by_hand=kind == "mask"))
            # All that was ever written, the last one last: recorded before it is there, or a kill between the two would make
            # it nobody's.
            now = sha256(temporary)
            record[kind] = [*(one for one in record.get(kind, ()) if one != now), now]
        voxels = {name: [int((np.isin(whole, v) & part).sum()) for part in (expert, ~expert)] for name, v in classes.items()}
        sizes = {"voxels": int(whole.size), "from_expert": int(expert.sum()), "classes": voxels}
        write_json(asked.record(case), {**record, "for": facts, **sizes})


def _finish(asked: Asked) -> None:
    """The table of all cases, and the names of the labels."""
    experiment, rows = asked.experiment, io.StringIO()
    classes = list(experiment.dataset.labels.classes)
    table = csv.writer(rows, lineterminator="\n")
    counted = [f"{name}_{source}" for name in classes for source in ("from_expert", "predicted")]
    table.writerow(cells(["case", "file", "voxels", "voxels_from_expert", *counted]))
    for case in experiment.plan.pool:
        record = _recorded(asked, case)
        voxels = [n for name in classes for n in record["classes"][name]]
        table.writerow(cells([asked.names[case], asked.files(case)[0].name, record["voxels"], record["from_expert"], *voxels]))
    write_text(asked.folder / TABLE, rows.getvalue())
    write_json(asked.folder / "dataset.json", stock_description(experiment))
    for part in ("", FROM_EXPERT, RECORDS):
        remove_temporary(asked.folder / part)


def series_in(experiment: Experiment, found: Mapping[str, FoundCase], folder: Path) -> dict[str, FoundCase]:
    """The DICOM series of the pool's cases among the cases that were found in a folder; none at all is an error."""
    series = {case: one for case, one in found.items() if case in experiment.plan.pool and one.sources[0].series}
    if not series:
        raise NnActiveError(
            f"-dicom {folder}: holds no DICOM series of a case of {experiment.name}. Give the folder of planning."
        )
    return series
