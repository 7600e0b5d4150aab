"""Whether the cases of imagesTs and labelsTs can be the test set of a simulation, and if not, why."""

from __future__ import annotations

from nnactive_ext.nnunet.dataset import Dataset
from nnactive_ext.planning.decisions import Decisions
from nnactive_ext.words import count, listed

TEST_FOLDER, TEST_LABELS = "imagesTs", "labelsTs"


def why_not_used(source: Dataset) -> str:
    """Why the cases of imagesTs cannot be the test set as they are; empty if they can, or if there are none."""
    entries, labels = source.test_entries, source.folder / "labelsTs"
    files = sorted(labels.glob(f"*{source.file_ending}")) if labels.is_dir() else []
    of_cases = {case.label for case in entries.values()}
    without = [case.name for case in entries.values() if not case.label.is_file()]
    incomplete = [case.name for case in entries.values() if not all(file.is_file() for file in case.images)]
    alone = [file.name for file in files if file not in of_cases and not file.name.startswith("._")]
    twice = [name for name in entries if name in source.entries]
    if entries and len(without) == len(entries):
        return "labelsTs has no labels for them"
    problems = {
        "in labelsTs there is no label for": without,
        "in imagesTs a channel is missing of": incomplete,
        "in imagesTs there is no image for the labels": alone,
        "imagesTr has cases with the same names:": twice,
    }
    return "; ".join(f"{problem} {listed(names)}" for problem, names in problems.items() if names)


def tell_unused(source: Dataset, why: str, decisions: Decisions) -> None:
    """Labels for all cases or for none are as they should be; anything between is likely a mistake."""
    if any(case.label.is_file() for case in source.test_entries.values()) and not why.startswith("-test"):
        remedy = "complete the folders and plan again, or list the test cases with -test"
        decisions.warn("imagesTs and labelsTs are not used", f"{why}; {remedy}")
    elif source.test_entries:
        decisions.add("imagesTs", f"{count(len(source.test_entries), 'case')}, not used", why)
    else:
        decisions.warn("labelsTs is not used", why)
