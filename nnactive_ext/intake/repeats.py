"""Sees from names alone that cases look like several images of one patient, such as p1_t0 and p1_t1.

A name is cut in two, into a patient and a scan: at one of its separators, or before letters at its end (0012L). The cut
shows patients where the first parts take many values, some of them have several second parts, and the second parts say that
they tell scans of one patient apart: they are words for that, such as ses-1 or followup, or dates; or there are few of them
and different patients share them, as 01 to 04 do. Numbers that merely count cases (img_001), or the cases of a site
(UKM_001), do neither.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from nnactive_ext.errors import NnActiveError
from nnactive_ext.intake.groups import GroupPattern, members

_SCANS = """ses session visit time timepoint tp t week month day year followup fu baseline bl pre post preop postop before after
left right l r ed es slice frame phase""".split()
"""First words of what tells scans of one patient apart."""
_SITES = "site center centre hospital clinic institution scanner vendor cohort fold batch dataset".split()
_PARTS = "train training tr val validation test ts testing set all".split()
"""What cases are counted under, but no patient is called."""
_DATE = re.compile(
    r"(19|20)\d\d([-_.]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?!\d)|(0[1-9]|[12]\d|3[01])([-_.])(0[1-9]|1[0-2])\6(19|20)\d\d(?!\d)"
    r"|(0[1-9]|1[0-2])([-_.])(0[1-9]|[12]\d|3[01])\10(19|20)\d\d(?!\d)"
)
_SEPARATOR = re.compile(r"[-_. ]")
_DEEPEST = 6
"""So many separators from the left are tried."""

Cut = Mapping[str, tuple[str, str]]
"""Name -> its patient and its scan, which is empty where the name has nothing but the patient."""


@dataclass(frozen=True)
class Repeats:
    """``groups``: case -> group as the names show them. ``pattern``: what to give as ``-groups`` to get these groups; empty if
    no pattern does."""

    groups: Mapping[str, str]
    pattern: str

    @property
    def several(self) -> dict[str, list[str]]:
        """The groups with more than one case."""
        return {group: cases for group, cases in members(self.groups).items() if len(cases) > 1}


def repeated(names: Collection[str]) -> Repeats | None:
    """Find out whether several cases seem to be of one patient.

    Args:
        names: the names of all cases.

    Returns:
        The patients as the names show them; None if no patient seems to have several cases.
    """
    names = sorted(names)
    for cut in _cuts(names):
        if _shows_patients(cut):
            return _repeats(names, {name: patient for name, (patient, _) in cut.items()}, _pattern(cut))
    for cut in _mirrored(names):
        if _shows_patients(cut, of_words=True):
            pattern = "{scan}" + _between(cut, lambda name, patient, scan: name[len(scan) : -len(patient)]) + "{patient}"
            return _repeats(names, {name: patient for name, (patient, _) in cut.items()}, pattern)
    return None


def _cuts(names: Sequence[str]) -> Iterator[Cut]:
    """Cuts at the same separator of all names, from the left, then before letters that end a name."""
    for k in range(_DEEPEST):
        cut = {name: _at(name, k) for name in names}
        if not any(scan for _, scan in cut.values()):
            break
        yield cut
    for ending in (r"(.*\d)([A-Za-z]+\d+)", r"(.*\d)([A-Za-z])"):
        found = {name: re.fullmatch(ending, name) for name in names}
        if any(found.values()):
            yield {name: (match[1], match[2]) if match else (name, "") for name, match in found.items()}


def _at(name: str, k: int) -> tuple[str, str]:
    places = [match.start() for match in _SEPARATOR.finditer(name)]
    return (name[: places[k]], name[places[k] + 1 :]) if k < len(places) else (name, "")


def _mirrored(names: Sequence[str]) -> Iterator[Cut]:
    """The scan comes first, as in 2019-03-01_P001."""
    for k in range(3):
        cut = {name: _at(name, k) for name in names}
        if not all(scan for _, scan in cut.values()):
            return
        yield {name: (patient, scan) for name, (scan, patient) in cut.items()}


def _shows_patients(cut: Cut, of_words: bool = False) -> bool:
    """Whether the cut's first parts are patients and its second parts scans; ``of_words``: only if words or dates say so."""
    scans = defaultdict(list)
    for patient, scan in cut.values():
        scans[patient].append(scan)
    several = {patient: found for patient, found in scans.items() if len(found) > 1}
    if len(scans) < 2 or not several or _mostly(_no_patient, scans):
        return False
    second = [scan for _, scan in cut.values() if scan]
    if _mostly(_site, second):  # patients that each site counts from 1
        return False
    if all(map(_tells_scans, second)):
        return not of_words or len(scans) > max(map(len, scans.values()))
    return not of_words and (_few_and_shared(scans, several) or _studies(scans, several))


def _few_and_shared(scans: Mapping[str, list[str]], several: Mapping[str, list[str]]) -> bool:
    """Fewer different scans than patients, and nearly all of them are those of several patients."""
    values = Counter(scan for found in scans.values() for scan in set(found))
    repeated_cases = sum(map(len, several.values()))
    shared = sum(values[scan] > 1 for found in several.values() for scan in found)
    most = 2 * repeated_cases >= sum(map(len, scans.values()))
    enough = len(scans) >= 3 and len(several) >= 2 and shared >= 0.8 * repeated_cases
    few = median(map(len, several.values())) <= max(4, len(several))
    return enough and few and len(values) <= (len(scans) if most else len(scans) / 4)


def _studies(scans: Mapping[str, list[str]], several: Mapping[str, list[str]]) -> bool:
    """Numbers of studies behind long numbers of patients, nearly all of whom have one: 10005_1000005."""
    numbers = all(re.search(r"\d{3,}$", patient) for patient in scans)
    numbers = numbers and all(re.fullmatch(r"\d+", scan) for found in scans.values() for scan in found)
    few = max(map(len, scans.values())) <= 5 and 2 * len(scans) >= sum(map(len, scans.values()))
    return numbers and few and len(several) >= 2


def _tells_scans(scan: str) -> bool:
    word = re.match(r"[a-z]+", scan.lower())
    return bool(_DATE.match(scan)) or (word is not None and word[0] in _SCANS)


def _no_patient(name: str) -> bool:
    last = _SEPARATOR.split(name)[-1].lower()
    return _site(last) or last in _PARTS or _DATE.search(name) is not None


def _site(text: str) -> bool:
    word = re.match(r"[a-z]+", text.lower())
    return word is not None and word[0].startswith(tuple(_SITES))


def _mostly(holds, names: Collection[str]) -> bool:  # type: ignore[no-untyped-def]
    return 2 * sum(map(holds, names)) > len(names)


def _repeats(names: Sequence[str], groups: Mapping[str, str], pattern: str) -> Repeats:
    """The pattern counts only if it gives these very groups, by whatever names."""
    try:
        by_pattern = GroupPattern(pattern).groups(names)
    except NnActiveError:
        return Repeats(groups, "")
    same = sorted(members(groups).values()) == sorted(members(by_pattern).values())
    return Repeats(by_pattern, pattern) if same else Repeats(groups, "")


def _pattern(cut: Cut) -> str:
    """The cut as a pattern: what all patients' names begin with is written out, and so is each part that does not vary."""
    between = _between(cut, lambda name, patient, scan: name[len(patient) : len(name) - len(scan)] if scan else None)
    if not between:  # letters between two numbers, as in P1T0
        between = _between(cut, lambda name, patient, scan: scan.rstrip("0123456789"))
    tokens = [re.split(r"([-_. ])", patient) for patient, _ in cut.values()]
    if len({len(words) for words in tokens}) > 1:
        return "{patient}" + between + "{scan}"
    fixed = [len(set(words)) == 1 for words in zip(*tokens, strict=True)]
    varying = [i for i, same in enumerate(fixed) if not same]
    fields = {i: f"{{part{i}}}" for i in varying[:-1]} | {varying[-1]: "{patient}"}
    return "".join(fields.get(i, word) for i, word in enumerate(tokens[0])) + between + "{scan}"


def _between(cut: Cut, text) -> str:  # type: ignore[no-untyped-def]
    """What stands between patient and scan in every name; a brace, which no pattern can hold, if that differs."""
    found = {text(name, patient, scan) for name, (patient, scan) in cut.items()} - {None}
    return found.pop() if len(found) == 1 else "{"
