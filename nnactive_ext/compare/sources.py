"""From what ``-d`` was given (numbers, names, folders, globs) to results folders."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.journal import refuse_unfinished
from nnactive_ext.experiment.plan import PLAN_FILE
from nnactive_ext.experiment.record import RECORD, write_record
from nnactive_ext.nnunet.dataset import dataset_folder_name, nnunet_folder
from nnactive_ext.nnunet.environment import FOLDERS


def results_folders(words: Sequence[str], say: Callable[[str], None] = print) -> list[Path]:
    """The results folders (those with experiment.json) that ``words`` mean, in their order.

    What a glob matches and is no experiment is left out, which ``say`` is told; anything else that is no experiment, and
    a glob without one, are errors.
    """
    return [folder for word in words for folder in (_matched(word, say) if glob.has_magic(word) else [_one(word)])]


def _one(word: str) -> Path:
    folder = Path(word)
    if not word.isdecimal() and folder.is_dir():
        return _results_in(folder) or folder
    if word.isdecimal() or (word.startswith("Dataset") and not _is_path(word)):
        return _of_dataset(dataset_folder_name(word))
    raise NnActiveError(f"-d {word}: neither a folder, nor a dataset's number or name, nor a pattern that matches some.")


def _of_dataset(name: str) -> Path:
    """The results folder of a dataset; the record of an experiment from an earlier version is written first."""
    folder = nnunet_folder("nnUNet_results") / name / "nnactive"
    if not (folder / RECORD).is_file() and (_planned(name) or not _results_in(folder)):
        experiment = Experiment.find(name)
        refuse_unfinished(experiment.raw)
        write_record(experiment)
    return folder


def _matched(pattern: str, say: Callable[[str], None]) -> list[Path]:
    paths = [Path(path) for path in sorted(glob.glob(pattern)) if Path(path).is_dir()]
    found = [path for path in map(_results_in, paths) if path]
    unknown = [path.name for path in paths if not _results_in(path)]
    if not paths and not _is_path(pattern) and all(os.environ.get(variable) for variable in FOLDERS):
        names = _dataset_names(pattern)
        found = [_of_dataset(name) for name, planned in names.items() if planned]
        unknown = [name for name, planned in names.items() if not planned]
    if unknown:
        say(f"-d {pattern}: left out, for they are no experiments: {', '.join(unknown)}")
    if not found:
        raise NnActiveError(f"-d {pattern}: matches no experiment, neither here nor in nnUNet_results. Check the pattern.")
    return found


def _results_in(path: Path) -> Path | None:
    """``path``, or its folder ``nnactive``, where it holds an experiment's results (of an early version, even)."""
    for folder in (path, path / "nnactive"):
        if (folder / RECORD).is_file() or any(folder.glob("cycle_*.json")):
            return folder
    return None


def _dataset_names(pattern: str) -> dict[str, bool]:
    """Names of datasets that match, and whether each is an experiment; one that never ran has only a raw folder."""
    results, raw = nnunet_folder("nnUNet_results"), nnunet_folder("nnUNet_raw")
    names = sorted({path.name for folder in (results, raw) for path in folder.glob(pattern) if path.is_dir()})
    return {name: bool(_results_in(results / name)) or _planned(name) for name in names}


def _planned(name: str) -> bool:
    return (nnunet_folder("nnUNet_raw") / name / PLAN_FILE).is_file()


def _is_path(word: str) -> bool:
    return any(separator in word for separator in (os.sep, os.altsep) if separator)
