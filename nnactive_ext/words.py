"""Numbers, lists and repeated sentences as people read them: percentages, counts, durations, enumerations."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from itertools import islice

UNKNOWN = "–"
_NUMBER = re.compile(r"[-+][\d.,\s%±e+-]*")


def cell(value: object) -> object:
    """A cell of a CSV file that no program for tables takes for a formula: such a text begins with an apostrophe.

    >>> cell("=cmd|' /C calc'!A0"), cell("-0.5"), cell(-0.5), cell("liver")
    ("'=cmd|' /C calc'!A0", '-0.5', -0.5, 'liver')
    """
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def cells(row: Iterable[object]) -> list[object]:
    """:func:`cell` of each."""
    return [cell(value) for value in row]


def text_of_cell(text: str) -> str:
    """What :func:`cell` was given.

    >>> text_of_cell("'=1"), text_of_cell("'a")
    ('=1', "'a")
    """
    return text[1:] if text.startswith("'") and cell(text[1:]) != text[1:] else text


def percent(value: float | None, unknown: str = UNKNOWN) -> str:
    """A number 0 to 1, as Dice is, with one digit.

    >>> percent(0.5925), percent(None)
    ('59.2 %', '–')
    """
    return unknown if value is None else f"{100 * value:.1f} %"


def share(value: float) -> str:
    """A share 0 to 1 as text that is never "0 %" for something nor "100 %" for less than all.

    >>> [share(value) for value in (0.314, 0.0042, 0.0001, 0.9996, 1)]
    ['31 %', '0.4 %', '< 0.1 %', '> 99 %', '100 %']
    """
    if value < 0.001:
        return "< 0.1 %"
    if value < 0.00995:
        return f"{100 * value:.1f} %"
    return "> 99 %" if 0.995 <= value < 1 else f"{100 * value:.0f} %"


def points(value: float | None, digits: int = 1) -> str:
    """A difference of numbers 0 to 1 in percentage points, with its sign.

    >>> points(0.0561), points(-0.02), points(-0.0001), points(None)
    ('+5.6', '−2.0', '+0.0', '–')
    """
    return UNKNOWN if value is None else signed(100 * value, digits).replace("-", "−")


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign; what rounds to nothing has a plus.

    >>> signed(-2.04), signed(-0.04)
    ('-2.0', '+0.0')
    """
    return f"{round(value, digits) + 0.0:+.{digits}f}"  # -0.0 + 0.0 is 0.0


def count(number: float, one: str, many: str = "") -> str:
    """A number and its noun, in the plural (``many``, else ``one`` with an s) unless it is one.

    >>> count(1, "patch", "patches"), count(1200, "case")
    ('1 patch', '1,200 cases')
    """
    return f"{number:,} {plural(number, one, many)}"


def plural(number: float, one: str, many: str = "") -> str:
    """The noun alone, in the number that fits.

    >>> plural(1, "case"), plural(0, "case"), plural(2, "is", "are")
    ('case', 'cases', 'are')
    """
    return one if number == 1 else many or one + "s"


def duration(seconds: float, tenths: bool = False) -> str:
    """Seconds, minutes or hours; ``tenths``: one digit below 10 seconds, and a dash for none.

    >>> duration(75), duration(4000), duration(0.4), duration(0.4, tenths=True), duration(0, tenths=True)
    ('1 min 15 s', '1 h 6 min', '0 s', '0.4 s', '–')
    """
    if tenths and seconds < 10:
        return f"{seconds:.1f} s" if seconds else UNKNOWN
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def listed(names: Collection[object], most: int = 5) -> str:
    """The first ``most`` of ``names`` with commas, and how many more there are.

    >>> listed("abc"), listed("abc", 2)
    ('a, b, c', 'a, b and 1 more')
    """
    return ", ".join(map(str, islice(names, most))) + (f" and {len(names) - most} more" if len(names) > most else "")


def enumerated(words: Sequence[str]) -> str:
    """All of ``words``, with "and" before the last.

    >>> enumerated(["a"]), enumerated(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def natural(name: object) -> list[tuple[int, int, str]]:
    """A sort key that reads numbers as numbers, whatever the case of letters.

    >>> sorted(["case_10", "case_2", "Case_1"], key=natural)
    ['Case_1', 'case_2', 'case_10']
    """
    text = str(name)
    # Zeros before a number and upper case decide only between names that are otherwise the same.
    parts = [part for part in re.split(r"(\d+)", text.casefold()) if part]
    return [*((1, int(part), "") if part.isdecimal() else (2, 0, part) for part in parts), (0, 0, text)]


def folded(texts: Iterable[str], most: int = 5, least: int = 3) -> list[str]:
    """Sentences without repetition: equal ones once, and of those that differ only in a name or a number the first, with a
    list of what the others say in its place.

    ``most``: names in such a list; ``least``: so many alike are folded, fewer are kept. Two words may differ, and twice as
    many must not.

    >>> folded(["No liver in case_9.", "Short.", *(f"No liver in case_{n}." for n in (10, 2, 3))], most=2)
    ['No liver in case_9. (and 3 more like this: case_2, case_3 and 1 more)', 'Short.']
    """
    groups: list[list[list[str]]] = []
    for text in dict.fromkeys(texts):
        words = text.split(" ")
        group = next((group for group in groups if _alike([*group, words])), None)
        if group is None:
            groups.append([words])
        else:
            group.append(words)
    return [line for group in groups for line in _told(group, most, least)]


def warned(texts: Iterable[str], most: int = 5) -> list[str]:
    """Warnings as lines to print, repeated ones folded."""
    return [f"WARNING: {text}" for text in folded(texts, most)]


def _alike(group: Sequence[Sequence[str]]) -> bool:
    if len({len(words) for words in group}) > 1:
        return False
    differing = len(_differing(group))
    return differing <= 2 and len(group[0]) >= 3 * differing


def _differing(group: Sequence[Sequence[str]]) -> list[int]:
    return [place for place, words in enumerate(zip(*group, strict=True)) if len(set(words)) > 1]


def _told(group: Sequence[Sequence[str]], most: int, least: int) -> list[str]:
    if len(group) < least:
        return [" ".join(words) for words in group]
    places = _differing(group)
    others = [" ".join(words[place].strip(".,:;()") for place in places) for words in group[1:]]
    if all(any(letter.isdecimal() for letter in other) for other in others):  # cases; classes are in their order
        others.sort(key=natural)
    return [f"{' '.join(group[0])} (and {len(others)} more like this: {listed(others, most)})"]


def near(word: str, known: Collection[str], most: int = 3) -> list[str]:
    """The ``most`` words among ``known`` that ``word`` may have been meant to be, nearest first, whatever their case.

    >>> near("clasppe", ["random", "clasp_pe"])
    ['clasp_pe']
    """
    written = {one.lower(): one for one in reversed(list(known))}
    return [written[lower] for lower in get_close_matches(word.lower(), written, most)]
