"""Compares an experiment with what was frozen of it, and refuses where these differ."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.commands import change_of
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.input_differences import description_differences, plans_differences
from nnactive_ext.experiment.input_files import compare_file
from nnactive_ext.experiment.inputs import Inputs, described, digest, remedy
from nnactive_ext.experiment.preprocessed_mark import is_marked
from nnactive_ext.nnunet.dataset import Case, Dataset, read_description
from nnactive_ext.nnunet.plans_files import read_plans

SOURCE, PLANS, REFERENCES, IMAGES = "source", "plans", "references", "images"
"""The kinds of what an experiment depends on; ``PLANS`` includes the experiment's own dataset.json."""
_MOST = 5
"""Problems of a kind that are named; the others are counted."""


@dataclass
class Compared:
    """``problems`` of each kind; ``seen``: the entries of files that are the same with another size or time, as (part, case) ->
    entry or entries."""

    problems: dict[str, list[str]] = field(default_factory=dict)
    seen: dict[tuple[str, str], Any] = field(default_factory=dict)

    def add(self, kind: str, *problems: str) -> None:
        if problems:
            self.problems.setdefault(kind, []).extend(problems)

    def refuse(self, experiment: Experiment, allowed: Collection[str] = ()) -> None:
        """Raise one NnActiveError that names what differs, except for the kinds that are ``allowed`` to."""
        found = {kind: problems for kind, problems in self.problems.items() if kind not in allowed}
        if found:
            lines = [f"{experiment.name} depends on files that are not as they were when it was planned:"]
            for kind, problems in found.items():
                more = len(problems) - _MOST
                lines += [*problems[:_MOST], *([f"... and {more} more"] if more > 0 else []), _remedy(kind, experiment)]
            raise NnActiveError("\n".join(lines))


def _remedy(kind: str, experiment: Experiment) -> str:
    if kind == SOURCE:
        return f"Write what it was then back into {experiment.source.folder / 'dataset.json'}."
    if kind == PLANS:
        return f"Put back what was planned: {change_of(experiment.name, '-plans', 'restore')}"
    if kind == REFERENCES:
        return remedy(experiment.raw)
    dropping = change_of(experiment.name, "-drop", "CASE")
    return f"Restore the images; or take a case of the pool out of the experiment: {dropping}"


def cases_of(experiment: Experiment, source: bool, without: Collection[str] = ()) -> dict[str, Case]:
    """Name -> case of pool and test set, whether or not the files exist; cases that no dataset.json lists are left out.

    ``source``: as the source lists them, with their reference labels; else the pool as the experiment lists it.
    """
    listed = experiment.source.entries if source else experiment.dataset.entries
    listed = {**experiment.source.entries, **listed} if experiment.plan.test else listed
    wanted = [case for case in (*experiment.plan.pool, *experiment.plan.test) if case not in without]
    return {case: listed[case] for case in wanted if case in listed}


def compare(experiment: Experiment, frozen: Inputs, without: Collection[str] = ()) -> Compared:
    """Compare what is there with what was frozen.

    Args:
        experiment: any.
        frozen: its inputs.
        without: cases that are about to leave the pool, whose files do not matter.

    Returns:
        The differences, and the entries of files whose size and time are to be stored anew.
    """
    found = Compared()
    _descriptions(found, experiment, frozen)
    _plans(found, experiment, frozen.part("plans"))
    if frozen.part("rereading"):
        found.add(
            REFERENCES, f"{frozen.folder / 'labelsTr'}: the reference labels were being read again when that was stopped."
        )
    if all((dataset.folder / "dataset.json").is_file() for dataset in (experiment.dataset, experiment.source)):
        _files(found, experiment, frozen, without)
    return found


def _descriptions(found: Compared, experiment: Experiment, frozen: Inputs) -> None:
    kinds = {"dataset": (PLANS, experiment.dataset), "source": (SOURCE, experiment.source)}
    for part, (kind, dataset) in kinds.items():
        if frozen.part(part):
            found.add(kind, *_description(dataset, frozen.part(part)))


def _description(dataset: Dataset, then: Mapping[str, Any]) -> list[str]:
    file = dataset.folder / "dataset.json"
    if not file.is_file():
        return [f"{file}: no such file"]
    return [f"{file}: {text}" for text in description_differences(then, described(read_description(file)))]


def _plans(found: Compared, experiment: Experiment, then: Mapping[str, Any]) -> None:
    """nnU-Net's plans, its copy of dataset.json, and whether the preprocessed cases are those that this package made."""
    if not then:
        return
    target = experiment.preprocessed
    file = target.folder / f"{then['identifier']}.json"
    now = read_plans(file) if file.is_file() else None
    if now is None:
        found.add(PLANS, f"{file}: no such file")
    elif digest(now) != then["sha256"]:
        found.add(PLANS, f"{file}: {plans_differences(then['content'], now)}")
    if then.get("dataset_json"):
        found.add(PLANS, *_description(Dataset(target.folder), described(then["dataset_json"])))
    folder = target.folder / then["data_folder"]
    if not is_marked(folder, then["marked"]):
        found.add(
            PLANS, f"{folder}: its cases were preprocessed by another program, or not all of them were preprocessed again."
        )


def _files(found: Compared, experiment: Experiment, frozen: Inputs, without: Collection[str]) -> None:
    images, references = frozen.part("images"), frozen.part("references")
    ours, theirs = (cases_of(experiment, source, without) for source in (False, True))
    for case in (*experiment.plan.pool, *experiment.plan.test):
        if case in without:
            continue
        if case in images:
            _images(found, case, ours.get(case), images[case], experiment.dataset.folder)
        if case in references and case not in theirs:
            found.add(REFERENCES, f"{experiment.source.folder / 'dataset.json'}: the case {case} is gone")
        elif case in references:
            seen = compare_file(theirs[case].label, references[case])
            _note(found, REFERENCES, case, [seen.problem], seen.entry, references[case])


def _images(found: Compared, case: str, now: Case | None, then: list[Mapping[str, Any]], folder: Path) -> None:
    if now is None or len(now.images) != len(then):
        count = 0 if now is None else len(now.images)
        found.add(IMAGES, f"{folder / 'dataset.json'}: {case} has {count} images; it had {len(then)}")
        return
    names, before = [file.name for file in now.images], [Path(entry["file"]).name for entry in then]
    if names != before and sorted(names) == sorted(before):
        order = f"{', '.join(before)} then; {', '.join(names)} now"
        found.add(IMAGES, f"{folder / 'dataset.json'}: the channels of {case} are in another order: {order}")
        return
    seen = [compare_file(file, entry) for file, entry in zip(now.images, then, strict=True)]
    _note(found, IMAGES, case, [one.problem for one in seen], [one.entry for one in seen], then)


def _note(found: Compared, kind: str, case: str, problems: list[str], entry: Any, before: Any) -> None:
    found.add(kind, *filter(None, problems))
    if not any(problems) and entry != before:
        found.seen[kind, case] = entry
