"""What planning tells about cases that belong together: their groups, or that their names look like repeated patients."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from nnactive_ext.errors import NnActiveError
from nnactive_ext.intake.groups import Grouping, members
from nnactive_ext.intake.repeats import repeated
from nnactive_ext.planning.decisions import Decisions
from nnactive_ext.words import count, listed

LEAST_GROUPS = 2
"""In the pool: one to train on and one to validate."""
TOO_MUCH = 'If a pattern took too much for the group, write out what all names begin with, as in "LIDC_{patient}_{side}".'


def check_groups(pool: Sequence[str], groups: Mapping[str, str]) -> None:
    """A pool with a single group is an error."""
    found = sorted({groups[case] for case in pool}) if groups else []
    if groups and len(found) < LEAST_GROUPS:
        raise NnActiveError(
            f"-groups: all {len(pool)} cases of the pool are in one group ({listed(found)}). At least 2 groups are needed, one "
            f"to train on and one to validate. {TOO_MUCH}"
        )


def tell_groups(grouping: Grouping, names: Sequence[str], pool: Sequence[str], folds: int, decisions: Decisions) -> None:
    """Add what was decided about groups, or a warning where names look like several images of one patient."""
    if not grouping.groups:
        _warn_of_repeats(names, decisions)
        return
    together = members({name: grouping.groups[name] for name in names})
    sizes = sorted(map(len, together.values()))
    of_cases = count(sizes[0], "case") if sizes[0] == sizes[-1] else f"{sizes[0]} to {sizes[-1]} cases"
    largest = max(together, key=lambda group: len(together[group]))
    why = f"such as {largest}: {listed(together[largest], 3)}; a group is never split, also not between folds"
    decisions.add("groups", f"{count(len(together), 'group')} of {of_cases}", why)
    if sizes[-1] == 1:
        decisions.warn("groups of one case", "each case is a group of its own, as without -groups")
    of_pool = len({grouping.groups[name] for name in pool})
    if of_pool < folds:
        decisions.warn("few groups", f"{of_pool} in the pool: at most {of_pool} folds, and members, instead of {folds}")
    if grouping.unknown:
        decisions.warn("names in the table of groups", f"no cases of the dataset: {listed(grouping.unknown)}")


def _warn_of_repeats(names: Sequence[str], decisions: Decisions) -> None:
    seen = repeated(names)
    if seen is None:
        return
    several = seen.several
    group, cases = next(iter(several.items()))
    remedy = shlex.quote(seen.pattern) if seen.pattern else "TABLE (case and patient in each line)"
    decisions.warn(
        "several images of one patient?",
        f"as named: {listed(cases, 3)} of {group}; {count(len(several), 'group')} in all ({listed(list(several))}). "
        f"-groups {remedy} keeps the images of each together",
    )
