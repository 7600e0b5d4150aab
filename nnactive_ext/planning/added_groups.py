"""The groups of cases that ``nnactive_change -add`` adds to a roll-out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.plan import Plan
from nnactive_ext.intake.groups import check_spelling, is_pattern, read_groups
from nnactive_ext.intake.repeats import repeated
from nnactive_ext.words import listed


def with_groups(plan: Plan, new: Sequence[str], given: str | None) -> tuple[Plan, dict[str, str], tuple[str, ...]]:
    """Give new cases their groups.

    Args:
        plan: that of a roll-out.
        new: the cases that are added to its pool.
        given: ``-groups`` of ``nnactive_change``; without it, the pattern that the roll-out was planned with counts.

    Returns:
        The plan with groups for the new cases too, what to note of it in the change, and warnings.

    Raises:
        NnActiveError: the cases of the roll-out are not grouped but the new ones are, or the other way round, or a case of the
            pool would get another group.
    """
    if not plan.groups:
        if given:
            raise NnActiveError(
                f"-groups {given}: {plan.dataset} was planned without groups, and has trained and validated without them. "
                "Leave it out, or plan a new experiment with -groups."
            )
        return plan, {}, _repeats(plan, new)
    known = str(plan.settings.get("groups", ""))
    if given is None and not is_pattern(known):
        raise NnActiveError(
            f"The cases of {plan.dataset} are grouped by a table ({known}), so each new case needs a group: give -groups with "
            "a table of cases and groups, or with a pattern of the new names."
        )
    found = read_groups(given or known, new, (*plan.pool, *plan.dropped))
    other = [case for case, group in found.others.items() if group != plan.groups[case]]
    if other:
        raise NnActiveError(
            f"-groups {given}: {other[0]} is in the group {found.others[other[0]]} there, but in {plan.groups[other[0]]} in "
            f"{plan.dataset}. The groups of cases of the pool cannot change; correct the table ({listed(other)})."
        )
    groups = {**plan.groups, **found.groups}
    check_spelling(groups, f"-groups {given or known}, with the groups of {plan.dataset}")
    told = {"groups": found.text} if given else {}
    warnings = (f"No cases of the dataset in the table of groups: {listed(found.unknown)}.",) if found.unknown else ()
    return replace(plan, groups=groups), told, warnings


def _repeats(plan: Plan, new: Sequence[str]) -> tuple[str, ...]:
    """A warning where a new image looks like another one of a patient whose images are grouped nowhere."""
    seen = repeated([*plan.pool, *new])
    cases = [case for cases in seen.several.values() for case in cases if case in set(new)] if seen else []
    if not cases:
        return ()
    return (
        f"Names look like several images of one patient ({listed(cases, 3)}), and {plan.dataset} was planned without -groups: "
        "members may train on one of them and validate on another.",
    )
