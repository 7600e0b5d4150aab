"""Which cases belong together, such as the scans of one patient: by a table of cases and groups, or by a pattern of names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nnactive_ext.errors import NnActiveError
from nnactive_ext.intake.case_tables import grouped_cases
from nnactive_ext.intake.pattern import expression, tidied, words_of
from nnactive_ext.words import count, listed

_NAMES = ("patient", "subject", "group")


@dataclass(frozen=True)
class Grouping:
    """``groups``: case -> group, of every case. ``text``: what the plan keeps of ``-groups``, the pattern or the table's name.
    ``others``: the groups that a table gives to other known cases. ``unknown``: names in it that are no cases."""

    groups: Mapping[str, str]
    text: str
    others: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


def read_groups(given: str, cases: Collection[str], others: Collection[str] = (), option: str = "-groups") -> Grouping:
    """The group of each case.

    Args:
        given: the name of a table (:mod:`nnactive_ext.intake.case_tables`) or a pattern (:class:`GroupPattern`).
        cases: all cases that need a group.
        others: other known cases, which a table may hold, too.
        option: the flag that ``given`` was given with, for messages.

    Returns:
        The groups.

    Raises:
        NnActiveError: a case has no group or two, or groups differ only in how they are written.
    """
    if is_pattern(given):
        found = Grouping(GroupPattern(given, option).groups(cases), tidied(given))
    else:
        file = Path(given)
        if not file.exists():
            raise NnActiveError(
                f"{option} {given}: no such file, and no pattern of names, which has fields in braces as in "
                '"{patient}_{time}". Give a table of cases and groups, or a pattern.'
            )
        groups, unknown = grouped_cases(file, option, dict.fromkeys(sorted({*cases, *others})))
        missing = [case for case in sorted(cases) if case not in groups]
        if missing:
            raise NnActiveError(
                f"{option} {file}: {count(len(missing), 'case')} of {len(cases)} not in it: {listed(missing)}. Add a line "
                "for each."
            )
        of_others = {case: group for case, group in groups.items() if case not in cases}
        found = Grouping({case: groups[case] for case in sorted(cases)}, f"FOLDER/{file.name}", of_others, tuple(unknown))
    check_spelling(found.groups, f"{option} {given}")
    return found


def is_pattern(given: str) -> bool:
    """Whether ``-groups`` was given a pattern of names, not a file."""
    return ("{" in given or "}" in given) and not Path(given).is_file()


def members(groups: Mapping[str, str]) -> dict[str, list[str]]:
    """Group -> its cases, both in order of names."""
    found = defaultdict(list)
    for case in sorted(groups):
        found[groups[case]].append(case)
    return dict(sorted(found.items()))


class GroupPattern:
    """A pattern of case names with fields in braces, such as "{patient}_{time}" or "LIDC_{patient}_{side}".

    The field called patient, subject or group is the group; else the first field is. A field matches at least one character
    and as few as possible, from the left; the last field takes the rest: "{patient}-{date}" of P001-2019-03-01 is P001.
    """

    def __init__(self, text: str, option: str = "-groups") -> None:
        self.text, self._option = tidied(text), option
        words = words_of(self.text)
        fields = list(dict.fromkeys(word for word in words if word[:1] + word[-1:] == "{}" and word[1:-1].isidentifier()))
        bad = [word for word in words if ("{" in word or "}" in word) and word not in fields]
        named = [field[1:-1] for field in fields if field[1:-1].lower() in _NAMES]
        if bad or not fields or len(named) > 1:
            why = f"the fields {' and '.join(named)} could both be the group" if len(named) > 1 else "its fields cannot be read"
            raise NnActiveError(
                f'{option} "{text}": {why}. Write a pattern of the case names with the group and what differs inside a group '
                'in braces, as in "{patient}_{time}".'
            )
        self._field = named[0] if named else fields[0][1:-1]
        self._expression = expression(words, dict.fromkeys(fields, ".+?"))

    def group(self, case: str) -> str | None:
        """The group of ``case``; None if its name does not match."""
        found = self._expression.fullmatch(case)
        return found[self._field] if found else None

    def groups(self, cases: Collection[str]) -> dict[str, str]:
        """The group of each of ``cases``; names that do not match are an error."""
        found = {case: self.group(case) for case in sorted(cases)}
        unmatched = sorted(case for case, group in found.items() if group is None)
        if unmatched:
            raise NnActiveError(
                f'{self._option} "{self.text}": {count(len(unmatched), "name")} of {len(cases)} do not match: '
                f"{listed(unmatched, 20)}. Correct the pattern, or give a table of cases and groups instead."
            )
        return {case: group for case, group in found.items() if group is not None}


def check_spelling(groups: Mapping[str, str], where: str) -> None:
    """Groups that are one but for capital letters or leading zeros: nobody knows whether they are one patient."""
    spelled = defaultdict(set)
    for group in groups.values():
        spelled[re.sub(r"(?<!\d)0+(?=\d)", "", group.casefold())].add(group)
    unclear = [sorted(names) for names in spelled.values() if len(names) > 1]
    if unclear:
        raise NnActiveError(
            f"{where}: {listed([' and '.join(names) for names in unclear])} differ only in capital letters or leading zeros. "
            "If they are one group, write them alike; if not, give them other names, in a table."
        )
