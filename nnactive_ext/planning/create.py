"""Makes a planned experiment: dataset, labels, starting budget or first tasks; all of it or nothing."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError, PoolExhausted
from nnactive_ext.experiment.blocks import BLOCKS_FILE
from nnactive_ext.experiment.commands import status_of, typed_command
from nnactive_ext.experiment.experiment import INCOMPLETE, Experiment, remove_marks
from nnactive_ext.experiment.freezing import freeze
from nnactive_ext.experiment.loops import entry, loop_file, read_loop, write_loop
from nnactive_ext.experiment.plan import ALL_LABELS, PLAN_FILE, PUBLISHED, Plan
from nnactive_ext.files import NOTHING_KEPT, Unpacked, sync_folder, write_json
from nnactive_ext.geometry.axes import Turn
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.images.turning import turned_image
from nnactive_ext.images.writing import write_image
from nnactive_ext.intake.find import FoundCase
from nnactive_ext.intake.label_maps import on_lattice
from nnactive_ext.intake.reading import read
from nnactive_ext.labelling.given import keep_given, write_given_patches
from nnactive_ext.labelling.prepare import prepare
from nnactive_ext.labelling.relabel import write_labels
from nnactive_ext.labelling.strangers import call_strangers
from nnactive_ext.nnunet.dataset import Dataset, existing_names, nnunet_folder
from nnactive_ext.nnunet.environment import FOLDERS
from nnactive_ext.nnunet.pretrained import Pretrained, write_tensors
from nnactive_ext.parallel import busy, map_cases, same_processes
from nnactive_ext.planning.at_once import COPYING, copies_folder
from nnactive_ext.planning.blocks import table_of
from nnactive_ext.planning.rollout import Rollout
from nnactive_ext.planning.sizes import random_patches
from nnactive_ext.planning.turned_copies import write_turned_source
from nnactive_ext.query_methods.base import Query, ScoredPatch
from nnactive_ext.query_methods.options import method_and_options
from nnactive_ext.query_methods.starting_budget import PUBLISHED_SHARE, starting_budget
from nnactive_ext.query_methods.structure_share import LEAST_SHARE
from nnactive_ext.querying.air import Bodies
from nnactive_ext.querying.pool import pool_cases, request_for
from nnactive_ext.querying.start import start_query, starting_method


def check_number(number: int) -> None:
    """A dataset number in use is an error; what a killed ``nnactive_plan`` left behind is removed."""
    shutil.rmtree(copies_folder(number), ignore_errors=True)
    for name in existing_names(number):
        folders = [nnunet_folder(variable) / name for variable in FOLDERS]
        # The plan is written when all else is: with it, only the removal of the marks was interrupted.
        if not any((folder / INCOMPLETE).is_file() for folder in folders):
            continue
        if (folders[0] / PLAN_FILE).is_file():
            remove_marks(folders)
            raise NnActiveError(
                f"{name}: its planning was interrupted when all was done, so the experiment is complete. What is next: "
                f"{status_of(name)}. For another experiment choose another number with -o."
            )
        for folder in folders:
            _remove(folder)
    names = existing_names(number)
    if names:
        raise NnActiveError(
            f"The dataset number {number} is in use: {', '.join(names)} (in nnUNet_raw, nnUNet_preprocessed or "
            "nnUNet_results). Choose another number with -o, or delete it."
        )


def create(
    plan: Plan,
    source: Dataset,
    start_from: Path | None = None,
    progress: bool = True,
    weights: Pretrained | None = None,
    copies: Unpacked = NOTHING_KEPT,
) -> tuple[Experiment, tuple[str, ...]]:
    """Make a planned simulation: dataset, labels, starting budget, nnU-Net's plans and preprocessed cases.

    Whatever goes wrong, nothing is left behind.

    Args:
        plan: what was decided.
        source: the labelled dataset, which is not changed.
        start_from: a loop file whose patches are the starting budget, instead of drawing them (in an experiment on all labels,
            whole images are the starting budget).
        progress: show progress bars.
        weights: what members start from, where the plan says that they start from some.
        copies: of the images, to read instead.

    Returns:
        The experiment, and warnings.

    Raises:
        NnActiveError: the dataset's number or name is taken, or a case cannot be used.
    """
    experiment = Experiment(plan.dataset, plan)
    ending = source.file_ending
    with new_folders(experiment.raw, experiment.preprocessed.folder), same_processes():
        _keep(weights, experiment)
        if plan.turned:
            source = write_turned_source(experiment, source, progress)
        _write_dataset_json(experiment, plan, source)
        with busy("Reading checksums of label maps", progress):
            freeze(experiment)
        if plan.purpose == ALL_LABELS:
            start = _given(plan.whole_images())
        elif start_from:
            start = _start_from(start_from, plan, ending)
        else:
            start = _drawn(experiment, progress)
        write_loop(
            loop_file(experiment.raw, 0),
            [entry(p.patch, ending, stratum=p.stratum) for p in start.patches],
            {**_started_by(plan, "starting_budget"), "cycle": 0, "seed": plan.seed, "versions": dict(plan.versions)},
        )
        experiment = call_strangers(experiment, 0)
        counts = write_labels(experiment, 0, list(experiment.plan.pool), progress)
        plan, warnings = prepare(experiment, counts, progress, copies)
        plan.write(experiment.raw)
    return Experiment(plan.dataset), (*start.warnings, *warnings)


def _drawn(experiment: Experiment, progress: bool) -> Query:
    """The starting budget of a simulation, by the planned method or with a few patches of every class."""
    plan = experiment.plan
    if words := plan.settings.get(START_METHOD):
        method = starting_method(words)
        start = start_query(experiment, method, plan.starting_budget, pool_cases(experiment, method.needs_reference))
    else:
        share = PUBLISHED_SHARE if plan.protocol == PUBLISHED else LEAST_SHARE
        request = request_for(experiment, plan.starting_budget, -1)
        start = starting_budget(pool_cases(experiment, references=True), request, share, plan.processes, progress)
    if start.missing:
        raise PoolExhausted(
            f"Only {len(start.patches)} of the {plan.starting_budget} patches of the starting budget could be placed "
            "in the pool. Ask for fewer (-starting_budget) or smaller ones (-patch_size)."
        )
    return start


START_METHOD = "start"
"""In :attr:`Plan.settings`: the words of the method that chooses the starting budget."""


def _started_by(plan: Plan, otherwise: str) -> dict[str, Any]:
    """For the first loop file: the method, and its options where there are some."""
    name, options = method_and_options(plan.settings.get(START_METHOD))
    return {"method": name or otherwise, **({"options": options} if options else {})}


def _keep(weights: Pretrained | None, experiment: Experiment) -> None:
    """The weights that members start from, beside what they are trained on: the user's file may be gone by then."""
    if weights is not None:
        write_tensors(experiment.preprocessed.folder, weights.tensors)


@contextmanager
def new_folders(*wanted: Path) -> Iterator[None]:
    """Make folders that vanish again if anything goes wrong in the block, also by a kill (see :func:`check_number`)."""
    folders: list[Path] = []
    try:
        for folder in wanted:
            if folder.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))
            folders.append(folder)
            aside = _aside(folder)
            shutil.rmtree(aside, ignore_errors=True)  # what a kill left
            aside.mkdir(parents=True)
            (aside / INCOMPLETE).write_text(f"{typed_command.get()}\n{Path.cwd()}", encoding="utf-8")
            aside.rename(folder)
            sync_folder(folder.parent)
        yield
    except BaseException:
        for folder in folders:
            _remove(folder)
        raise
    remove_marks(folders)


def _aside(folder: Path) -> Path:
    """Where a folder is while it has no mark: there nobody takes it for a dataset."""
    return folder.with_name(f".nnactive_{folder.name}")


def _remove(folder: Path) -> None:
    aside = _aside(folder)
    shutil.rmtree(aside, ignore_errors=True)
    with suppress(OSError):
        folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def _write_dataset_json(experiment: Experiment, plan: Plan, source: Dataset) -> None:
    def path(file: Path) -> str:
        if Path(plan.source).is_absolute() and not file.is_relative_to(experiment.raw):
            return file.as_posix()
        return Path(os.path.relpath(file, experiment.raw)).as_posix()

    ending = source.file_ending
    cases = {
        name: {"images": [path(f) for f in source.cases[name].images], "label": f"labelsTr/{name}{ending}"}
        for name in plan.pool
    }
    content = {
        **{key: value for key, value in source.json.items() if key != "dataset"},
        "name": experiment.name,
        "labels": {**source.json["labels"], "ignore": source.labels.ignore},
        "numTraining": len(cases),
        # Named, so that neither planning nor training guesses another one from a damaged file.
        "overwrite_image_reader_writer": type(source.reader_writer).__name__,
        "dataset": cases,
    }
    write_json(experiment.raw / "dataset.json", content)


def _start_from(file: Path, plan: Plan, ending: str) -> Query:
    patches = read_loop(file, ending)
    plan.check(patches, file)
    return _given(patches)


def _given(patches: Sequence[Patch]) -> Query:
    return Query(tuple(ScoredPatch(patch, 0.0, 0.0, "given") for patch in patches))


def create_rollout(
    rollout: Rollout, found: Mapping[str, FoundCase], progress: bool = True, weights: Pretrained | None = None
) -> tuple[Experiment, tuple[str, ...]]:
    """Make a planned roll-out with its tasks of cycle 0; whatever goes wrong, nothing is left behind.

    Args:
        rollout: what was decided.
        found: the cases of the folder of images, which are not changed.
        progress: show progress bars.
        weights: what members start from, where the plan says that they start from some.

    Returns:
        The experiment, and warnings.
    """
    plan = rollout.plan
    experiment = Experiment(plan.dataset, plan)
    names: Mapping[str, int] = rollout.json["labels"]  # type: ignore[assignment]
    with new_folders(experiment.raw, *([experiment.preprocessed.folder] if weights else [])):
        _keep(weights, experiment)
        files = images_of(experiment, found, progress)
        write_json(experiment.raw / "dataset.json", dataset_json(experiment, rollout.json, files))
        if table := table_of(found).content():
            write_json(experiment.raw / BLOCKS_FILE, table)
        freeze(experiment)
        for case, found_case in found.items():
            if found_case.label_map is not None:
                labels = on_lattice(found_case.label_map, names, rollout.spaces[case])
                keep_given(experiment, case, labels, rollout.spaces[case])
        if rollout.given:
            write_given_patches(experiment, rollout.given)
        warnings = _write_first_tasks(experiment)
        write_labels(experiment, 0, list(plan.pool), progress)
        plan.write(experiment.raw)
    return Experiment(plan.dataset), warnings


def images_of(experiment: Experiment, found: Mapping[str, FoundCase], progress: bool) -> dict[str, list[Path]]:
    """The image files of each case; what nnU-Net does not read rightly, and what is turned, is copied into it."""
    turned = experiment.plan.turned
    copied = any(source.copied or case in turned for case, entry in found.items() for source in entry.sources)
    job = partial(_image_files, experiment.raw, turned)
    files = map_cases(job, found.values(), COPYING, experiment.plan.processes if copied else 1, progress and copied)
    return dict(zip(found, files, strict=True))


def _image_files(raw: Path, turned: Mapping[str, Turn], found: FoundCase) -> list[Path]:
    """The files nnU-Net reads: the user's own, where they are; what it does not read rightly, as a DICOM series, and what
    is turned, because it has no reader that turns so, is written as NIfTI."""
    files, turn = [], turned.get(found.name)
    for channel, source in enumerate(found.sources):
        file = Path(os.path.abspath(source.path))
        if source.copied or turn:
            file = raw / "imagesTr" / f"{found.name}_{channel:04d}.nii.gz"
            file.parent.mkdir(parents=True, exist_ok=True)
            image = read(source)
            write_image(file, turned_image(image, turn) if turn else image)
        files.append(file)
    return files


def dataset_json(experiment: Experiment, content: Mapping[str, Any], files: Mapping[str, list[Path]]) -> dict[str, Any]:
    """nnU-Net's dataset.json: ``content`` with the images of these cases beside those of the pool that it has. Images in
    the dataset's own folder go by relative paths."""

    def path(file: Path) -> str:
        inside = file.is_relative_to(experiment.raw)
        return (file.relative_to(experiment.raw) if inside else file).as_posix()

    cases = {
        case: {"images": [path(file) for file in images], "label": f"labelsTr/{case}{content['file_ending']}"}
        for case, images in files.items()
    }
    before = {case: entry for case, entry in content.get("dataset", {}).items() if case in experiment.plan.pool}
    cases = dict(sorted({**before, **cases}.items()))
    return {**content, "numTraining": len(cases), "dataset": cases}


def _write_first_tasks(experiment: Experiment) -> tuple[str, ...]:
    """The random part of the starting budget; points that are marked later add to it. Returns warnings about air."""
    plan = experiment.plan
    n = random_patches(plan.starting_budget, len(experiment.dataset.labels.foreground))
    drawn, bodies = Query(()), Bodies(experiment)
    facts = {**_started_by(plan, "random"), "cycle": 0, "seed": plan.seed, "versions": dict(plan.versions)}
    if n:
        method = starting_method(plan.settings.get(START_METHOD) or ["random"])
        drawn = start_query(experiment, method, n, pool_cases(experiment, False, bodies))
    entries = [entry(p.patch, experiment.dataset.file_ending, stratum=p.stratum) for p in drawn.patches]
    write_loop(loop_file(experiment.raw, 0), entries, {**facts, **bodies.facts})
    return (*drawn.warnings, *bodies.warnings)
