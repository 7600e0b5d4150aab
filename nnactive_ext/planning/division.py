"""Divides the cases of a simulation into pool and test set, and says which cases belong together, from names alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.plan import Plan
from nnactive_ext.intake.case_tables import listed_cases
from nnactive_ext.intake.groups import Grouping, read_groups
from nnactive_ext.nnunet.dataset import Dataset
from nnactive_ext.planning.decisions import Decisions
from nnactive_ext.planning.drawing import draw_test_set
from nnactive_ext.planning.ensembles import decided_folds
from nnactive_ext.planning.grouping import check_groups, tell_groups
from nnactive_ext.planning.settings import Settings
from nnactive_ext.planning.test_folder import TEST_FOLDER, tell_unused, why_not_used
from nnactive_ext.words import count, listed


@dataclass(frozen=True)
class Division:
    """``source``: the labelled dataset with those test cases of its imagesTs that are used. ``settings``: what the plan keeps
    of ``-groups``, ``-test`` and ``-irrelevant``. ``irrelevant``: cases of the pool that do not belong to the experiment.
    ``decisions``: what was decided, with reasons."""

    source: Dataset
    pool: tuple[str, ...]
    test: tuple[str, ...]
    groups: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    irrelevant: tuple[str, ...] = ()
    decisions: Decisions = field(default_factory=Decisions)

    def of(self, plan: Plan) -> Plan:
        """``plan`` with this test set and these groups; its pool is decided elsewhere."""
        test_folder = TEST_FOLDER if self.source.tests else ""
        settings = {**plan.settings, **self.settings}
        known: dict[str, Any] = {
            "test": self.test,
            "test_folder": test_folder,
            "groups": self.groups,
            "irrelevant": self.irrelevant,
        }
        return replace(plan, **known, settings=settings)


def divide(source: Dataset, settings: Settings) -> Division:
    """Divide the cases of a labelled dataset into pool and test set; no image is read.

    The test set is that of ``-test``; else the cases of imagesTs, if all of them have labels in labelsTs; else it is drawn from
    imagesTr. All other cases of imagesTr are the pool. A group is in one of them only.

    Args:
        source: the labelled dataset.
        settings: what the user set.

    Returns:
        The division.

    Raises:
        NnActiveError: ``-test`` or ``-groups`` do not fit the dataset, or one of the two would have too few cases.
    """
    decisions = Decisions()
    names, why, kept = sorted(source.entries), "", {}
    test: Sequence[str] = ()
    unused = why_not_used(source)
    if settings.test:
        test, source = _listed(settings.test, source)
        why, kept["test"] = f"as listed in {settings.test.name}", f"FOLDER/{settings.test.name}"
        unused = "-test names the test set" if source.test_entries and not source.tests else ""
    elif source.test_entries and not unused:
        test, source = list(source.test_entries), replace(source, tests=frozenset(source.test_entries))
        why = "imagesTr / imagesTs, whose labels are in labelsTs; -test names another test set"
    strangers = listed_cases(settings.irrelevant, "-irrelevant", {*names, *test}) if settings.irrelevant else []
    grouping = read_groups(settings.groups, {*names, *test}, source.test_entries) if settings.groups else Grouping({}, "")
    if not test:
        test = draw_test_set([name for name in names if name not in strangers], grouping.groups)
        why = "75 / 25 %, the same for every seed and method"
        if grouping.groups:
            why = "whole groups, as near to 75 / 25 % as they allow; the same for every seed and method"
    pool = [name for name in names if name not in set(test)]
    if strange := sorted(set(strangers) & set(test)):
        raise NnActiveError(
            f"-irrelevant {settings.irrelevant}: {listed(strange)} of the test set, which holds only cases that belong."
        )
    _check([name for name in pool if name not in strangers], test, grouping.groups, str(source.folder))
    decisions.add("pool / test cases", f"{len(pool)} / {len(test)}", why)
    if unused:
        tell_unused(source, unused, decisions)
    if settings.irrelevant:
        kept["irrelevant"] = f"FOLDER/{settings.irrelevant.name}"
        why = f"as listed in {settings.irrelevant.name}; the annotator says so when asked about one, and it leaves the pool"
        decisions.add("irrelevant cases", f"{len(strangers)} of the pool", why)
    tell_groups(grouping, [*pool, *test], pool, decided_folds(settings), decisions)
    kept |= {"groups": grouping.text} if grouping.text else {}
    return Division(source, tuple(pool), tuple(test), grouping.groups, kept, tuple(sorted(strangers)), decisions)


def division_of(plan: Plan, source: Dataset) -> Division:
    """The division that an existing experiment has, for others of the same dataset."""
    decisions = Decisions()
    source = replace(source, tests=frozenset(plan.test) if plan.test_folder else frozenset())
    pool = tuple(name for name in source.entries if name not in plan.test)
    decisions.add("pool / test cases", f"{len(pool)} / {len(plan.test)}", f"as in {plan.dataset}")
    kept = {key: plan.settings[key] for key in ("groups", "test", "irrelevant") if key in plan.settings}
    return Division(source, pool, plan.test, plan.groups, kept, plan.irrelevant, decisions)


def _listed(file: Path, source: Dataset) -> tuple[list[str], Dataset]:
    """The test cases that a file lists, all of them of imagesTr or all of imagesTs, and the source with those of imagesTs."""
    test = listed_cases(file, "-test", {*source.entries, *source.test_entries})
    outside = [case for case in test if case not in source.entries]
    if not outside:
        return test, source
    inside = [case for case in test if case in source.entries]
    if inside:
        raise NnActiveError(
            f"-test {file}: {listed(inside)} of imagesTr and {listed(outside)} of imagesTs. List cases of one folder only."
        )
    without = [str(source.test_entries[case].label) for case in test if not source.test_entries[case].label.is_file()]
    if without:
        raise NnActiveError(f"-test {file}: there is no {listed(without)}. Add these labels, or list other cases.")
    return test, replace(source, tests=frozenset(test))


def _check(pool: Sequence[str], test: Sequence[str], groups: Mapping[str, str], where: str) -> None:
    """Too few cases, or a group on both sides."""
    shared = sorted({groups[case] for case in pool} & {groups[case] for case in test}) if groups else []
    if shared:
        first = [case for case in (*pool, *test) if groups[case] == shared[0]]
        sides = [f"{case} ({'pool' if case in pool else 'test set'})" for case in first]
        raise NnActiveError(
            f"{where}: {count(len(shared), 'group')} would be in pool and test set: {listed(shared)}. Of {shared[0]}: "
            f"{listed(sides)}. List all cases of a group with -test, or none."
        )
    if len(pool) < 2:
        raise NnActiveError(
            f"{where}: {len(test)} of {len(pool) + len(test)} cases are test cases. The pool needs at least 2 cases, one to "
            "train on and one to validate. List fewer test cases with -test."
        )
    check_groups(pool, groups)
