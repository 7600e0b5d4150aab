"""Replay: the patches that another experiment chose, from its loop files."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.loops import loop_file, read_loop
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.nnunet.dataset import dataset_folder_name, nnunet_folder
from nnactive_ext.query_methods.base import PoolCase, Query, Request, ScoredPatch
from nnactive_ext.query_methods.occupancy import Occupancy


@dataclass(frozen=True)
class Precomputed:
    """A drawn method: the query of cycle c is ``loop_<c + 1>.json`` of another experiment, patch by patch.

    ``source``: the number or the name of that experiment, or a folder that holds loop files, ours or the published
    nnActive's. ``overlap``: the share of a patch's voxels that annotated and earlier patches may cover; needed where the
    other experiment allowed it.
    """

    name: str
    source: str | None = None
    overlap: float = 0.0
    cite: str = field(default="", compare=False)

    @property
    def needs_reference(self) -> bool:
        return False

    @property
    def words(self) -> str:
        return f"The patches of loop_NNN.json of another experiment ({self.source or 'source=...'}), as they are."

    def folder(self) -> Path:
        """Where the loop files are; NnActiveError if ``source`` is not set or leads to none."""
        if not self.source:
            raise NnActiveError(
                f"{self.name} replays another experiment and must know which: give source=NUMBER, its dataset name, or a "
                f"folder with loop_NNN.json, as in --method {self.name} source=504."
            )
        if self.source.isdecimal() or (self.source.startswith("Dataset") and not Path(self.source).is_dir()):
            folder = nnunet_folder("nnUNet_raw") / dataset_folder_name(self.source)
        else:
            folder = Path(self.source)
        if not any(folder.glob("loop_*.json")):
            raise NnActiveError(
                f"{folder}: no loop_NNN.json there. source={self.source} must be the number or name of an experiment, or a "
                "folder with its loop files."
            )
        return folder

    def draw(self, pool: Mapping[str, PoolCase], request: Request) -> Query:
        """The first ``request.n`` patches of the file; fewer, with a warning, where it has fewer.

        A file that does not exist, and a patch that is not in the pool, not inside its image, or overlaps what is
        annotated, are NnActiveErrors that name the file. Patches of another size than this experiment's are taken, with
        a warning.
        """
        file = loop_file(self.folder(), request.cycle + 1)
        if not file.is_file():
            raise NnActiveError(
                f"{file}: no such file, so {self.name} has nothing to replay in cycle {request.cycle + 1}. Run the other "
                "experiment for more cycles first, or query with another method."
            )
        recorded = [_in_pool(patch, pool) for patch in read_loop(file, "")]
        occupied = Occupancy(pool, self.overlap)
        for patch in recorded[: request.n]:
            if problem := _problem(patch, occupied):
                raise NnActiveError(f"{file}: {problem}")
            occupied.take(patch)
        replayed = recorded[: request.n]

        warnings = []
        others = [patch for patch in replayed if patch.size != pool[patch.case].patch_size]
        if others:
            sizes = f"such as {others[0].size} in {others[0].case} instead of {pool[others[0].case].patch_size}"
            warnings.append(f"{file}: {len(others)} patch(es) have another size than this experiment's query patch, {sizes}.")
        missing = request.n - len(replayed)
        if missing:
            warnings.append(f"{missing} of {request.n} patches are missing: {file} holds only {len(recorded)}.")
        return Query(tuple(ScoredPatch(patch, 0.0, 0.0, self.name) for patch in replayed), missing, tuple(warnings))


def _in_pool(patch: Patch, pool: Collection[str]) -> Patch:
    """The patch with its file's name shortened to that of a pool case, whatever the ending; as it is where none fits."""
    name, dot = patch.case, "."
    while dot and name not in pool:
        name, dot, _ = name.rpartition(".")
    return Patch(name or patch.case, patch.start, patch.size)


def _problem(patch: Patch, occupied: Occupancy) -> str:
    case = occupied.pool.get(patch.case)
    if case is None:
        return (
            f"{patch.case} is not a case of this experiment's pool. Replay an experiment with the same pool: plan both from "
            "the same dataset."
        )
    if not patch.inside(case.shape):
        return (
            f"the patch at {patch.start} of size {patch.size} is not inside {patch.case}, which has {tuple(case.shape)} "
            "voxels. Replay an experiment on the same images."
        )
    if occupied.overlaps(patch):
        return (
            f"the patch at {patch.start} of {patch.case} overlaps an annotated or an earlier patch. Start from the same "
            "starting budget as the other experiment (nnactive_plan -start_from ITS/loop_000.json), or allow it with overlap=."
        )
    return ""
