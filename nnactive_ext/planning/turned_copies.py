"""Copies of images with their axes in another order: lossless, in the experiment's folder, for nnU-Net to read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.spaces import space_of
from nnactive_ext.files import write_json
from nnactive_ext.geometry.axes import Turn, orientation
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.headers import PLAIN
from nnactive_ext.images.turning import added, turned_image
from nnactive_ext.images.writing import write_image
from nnactive_ext.nnunet.dataset import Case, Dataset
from nnactive_ext.parallel import map_cases
from nnactive_ext.planning.test_folder import TEST_FOLDER, TEST_LABELS


def turned_like_pool(experiment: Experiment, image: Any) -> tuple[Any, tuple[str, ...]]:
    """Turn a new image as the pool's images are, so that ``nnUNetv2_predict`` sees its slices as the members know them.

    Args:
        experiment: as :meth:`Experiment.find` gives it.
        image: a 3D SimpleITK image, as it is stored.

    Returns:
        The image to write as ``CASE_0000.nii.gz``, its voxels at the same places in the patient; and warnings.

    Raises:
        NnActiveError: the pool has another orientation, and no thick slices tell how to turn the image.
    """
    space, pool = Space.of_image(image), {case: space_of(experiment, case) for case in experiment.plan.pool}
    found = added({"": space}, pool, experiment.dataset.json["overwrite_image_reader_writer"])
    if found is None:
        code = orientation(next(iter(pool.values())).direction)
        raise NnActiveError(
            f"The image is stored as {orientation(space.direction)}, the pool of {experiment.name} as {code}. Turn it with "
            f"SimpleITK's DICOMOrient(image, '{code}')."
        )
    turns, _, warnings = found
    return (turned_image(image, turns[""]) if turns else image), tuple(text.lstrip(": ") for text in warnings)


def write_turned_source(experiment: Experiment, source: Dataset, progress: bool) -> Dataset:
    """Write the labelled dataset that the experiment reads instead of ``source``.

    It holds turned copies of the images and reference label maps of those cases that the plan turns, and names the files of the
    others. Test cases of imagesTs are all copied, because nnU-Net's format has no list of them.

    Args:
        experiment: it is being made; its plan says which cases are turned.
        source: the user's dataset, which is not changed.
        progress: show a progress bar.

    Returns:
        The dataset, which is :attr:`nnactive_ext.experiment.experiment.Experiment.source` from now on.
    """
    plan, folder = experiment.plan, experiment.turned_folder
    tests = frozenset(plan.test if plan.test_folder else ())
    jobs, listed = [], {}
    for name, case in source.cases.items():
        images, labels = (TEST_FOLDER, TEST_LABELS) if name in tests else ("imagesTr", "labelsTr")
        turn = plan.turned.get(name)
        if name in tests or turn is not None:
            files = [folder / images / f"{name}_{i:04d}{source.file_ending}" for i in range(len(case.images))]
            copy = Case(name, tuple(files), folder / labels / f"{name}{source.file_ending}")
            jobs.append((case, copy, turn))
            case = copy
        if name not in tests:
            paths = [_path(file, folder, plan.source) for file in (*case.images, case.label)]
            listed[name] = {"images": paths[:-1], "label": paths[-1]}
    for part in ("imagesTr", "labelsTr", *([TEST_FOLDER, TEST_LABELS] if tests else [])):
        (folder / part).mkdir(parents=True)
    map_cases(_copy, jobs, "Writing turned copies", plan.processes, progress)
    content: Mapping[str, Any] = {**source.json, "overwrite_image_reader_writer": PLAIN, "dataset": listed}
    write_json(folder / "dataset.json", {**content, "numTraining": len(listed)})
    return Dataset(folder, frozenset(listed), tests=tests)


def _copy(job: tuple[Case, Case, Turn | None]) -> None:
    import SimpleITK as sitk

    case, copy, turn = job
    files: Sequence[tuple[Path, Path]] = list(zip((*case.images, case.label), (*copy.images, copy.label), strict=True))
    for file, target in files:
        if turn is None:
            shutil.copyfile(file, target)
        else:
            write_image(target, turned_image(sitk.ReadImage(str(file)), turn))


def _path(file: Path, folder: Path, source: str) -> str:
    """As dataset.json has it: relative, so that nnUNet_raw can be moved, unless the source is on another drive."""
    if file.is_relative_to(folder):
        return file.relative_to(folder).as_posix()
    return file.as_posix() if Path(source).is_absolute() else Path(os.path.relpath(file, folder)).as_posix()
