"""An experiment whose labels change again and again, the ways to preprocess them, and in what their files differ."""

from __future__ import annotations

import io
import os
import pickle
import random
import shutil
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

PHANTOM, EXPERIMENT = 900, 901
"""Their numbers."""


@dataclass(frozen=True)
class Relabelled:
    """An experiment, the random numbers that change its labels, and a folder for what others make of them."""

    experiment: Any
    draw: random.Random
    folder: Path

    @property
    def pool(self) -> list[str]:
        return list(self.experiment.plan.pool)

    def relabel(self, cases: Sequence[str]) -> None:
        """New partial labels: what was annotated at the start, and one more patch at a random place."""
        from nnactive_ext.experiment.loops import by_case
        from nnactive_ext.geometry.patch import Patch, triple
        from nnactive_ext.labelling.annotators import SimulatedAnnotator
        from nnactive_ext.labelling.labels import write_label

        plan, dataset = self.experiment.plan, self.experiment.dataset
        annotator, start = SimulatedAnnotator(self.experiment.source), by_case(self.experiment.annotated_patches())
        for case in cases:
            size = plan.patch_size(case)
            place = [self.draw.randint(0, n - s) for n, s in zip(plan.pool[case].shape, size, strict=True)]
            partial, properties = annotator.annotate(case, [*start.get(case, []), Patch(case, triple(place), size)])
            write_label(dataset.cases[case].label, partial, dataset.reader_writer, properties)

    def refresh(self, cases: Sequence[str]) -> None:
        from nnactive_ext.nnunet.preprocessing import refresh

        refresh(self.experiment.dataset, self.experiment.preprocessed, cases, progress=False)

    def empty(self) -> None:
        """Make room for :meth:`full` and :meth:`nnunet`."""
        target = self.experiment.preprocessed
        for folder in (self._fresh.folder, self._rival):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        plans = f"{target.plans_identifier}.json"
        shutil.copy(target.folder / plans, self._fresh.folder / plans)

    def full(self) -> None:
        """Preprocess all cases anew."""
        from nnactive_ext.nnunet.preprocessing import preprocess

        preprocess(self.experiment.dataset, self._fresh, progress=False)

    def nnunet(self) -> None:
        """What a worker of nnUNetv2_preprocess does, one case after the other, without the time to start the worker."""
        dataset = self.experiment.dataset
        plans, configuration = self.experiment.preprocessed.manager()
        preprocessor = configuration.preprocessor_class(verbose=False)
        for case in dataset.cases.values():
            images = [str(file) for file in case.images]
            output = str(self._rival / case.name)
            preprocessor.run_case_save(output, images, str(case.label), plans, configuration, dataset.json)

    def differences(self) -> list[str]:
        """Files that are not, bit for bit, those of a full preprocessing, and labels that are not nnU-Net's own."""
        self.empty()
        self.full()
        self.nnunet()
        ours, fresh = self.experiment.preprocessed, self._fresh
        names = sorted({file.name for folder in (ours, fresh) for file in folder.data_folder.iterdir()})
        found = [name for name in names if not _same(_content(ours.data_folder / name), _content(fresh.data_folder / name))]
        for name in sorted(os.listdir(ours.gt_folder)):
            written = self.experiment.raw / "labelsTr" / name
            if len({(folder / name).read_bytes() for folder in (ours.gt_folder, fresh.gt_folder, written.parent)}) > 1:
                found.append(f"gt_segmentations/{name}")
        for case in self.pool:
            labels, properties = f"{case}_seg.b2nd", f"{case}.pkl"
            if not _same(_content(ours.data_folder / labels), _content(self._rival / labels)):
                found.append(f"{labels} (nnU-Net's own)")
            key = "class_locations"
            if not _same(_content(ours.data_folder / properties)[key], _content(self._rival / properties)[key]):
                found.append(f"{properties}, {key} (nnU-Net's own)")
        return found

    @property
    def _fresh(self) -> Any:
        return replace(self.experiment.preprocessed, folder=self.folder / "fresh")

    @property
    def _rival(self) -> Path:
        return self.folder / "nnunet"


def prepare(dataset: str | None, pool: int, seed: int) -> Any:
    """Plan an experiment with the CPU preset: on ``dataset``, or on made-up scans of which ``pool`` are the pool."""
    from nnactive_ext.cli import plan
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.phantom import write_dataset
    from nnactive_ext.planning.sizes import SHARE_OF_TEST_CASES

    if dataset is None:
        write_dataset(PHANTOM, next(n for n in range(2 * pool + 4) if n - round(SHARE_OF_TEST_CASES * n) >= pool), seed)
    options = f"-o {EXPERIMENT} -name Refresh -seed {seed} --preset cpu -np 1 --disable_progress_bar".split()
    with redirect_stdout(io.StringIO()):
        plan.main(["-d", dataset or str(PHANTOM), *options])
    return Experiment.find(EXPERIMENT)


def _content(file: Path) -> Any:
    """The array or the properties in a preprocessed file, without our mark; of a file that is not there, its name."""
    import blosc2

    from nnactive_ext.experiment.preprocessed_mark import KEY

    if not file.is_file():
        return f"no {file}"
    if file.suffix == ".b2nd":
        return blosc2.open(urlpath=str(file), mode="r")[:]
    return {key: value for key, value in pickle.loads(file.read_bytes()).items() if key != KEY}


def _same(first: Any, second: Any) -> bool:
    """Whether two values are equal down to their types, shapes and bits."""
    if type(first) is not type(second):
        return False
    if isinstance(first, np.ndarray):
        return (first.dtype, first.shape) == (second.dtype, second.shape) and first.tobytes() == second.tobytes()
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(_same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(_same, first, second))
    return bool(first == second)
