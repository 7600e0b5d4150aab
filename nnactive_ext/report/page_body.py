"""Where in the body the queried boxes lie, as three views of points and a table."""

from __future__ import annotations

from nnactive_ext.pages.charts import SHAPES, Colour, Dots, sign, square
from nnactive_ext.pages.parts import Html, bar, details, element, joined, legend, paragraph, table
from nnactive_ext.report.page_facts import Facts

_ENDS = {"right_left": ("R", "L"), "front_back": ("A", "P"), "head_foot": ("H", "F")}
_VIEWS = (
    ("From the front", "right_left", "head_foot"),
    ("From the left", "front_back", "head_foot"),
    ("From below", "right_left", "front_back"),
)
_NAMES = {"right_left": "from right to left", "front_back": "from front to back", "head_foot": "from head to feet"}
_NEWEST: Colour = (213, 94, 0)
_OLD: tuple[Colour, Colour] = ((150, 165, 185), (20, 60, 120))
"""Of the first and the last but one cycle; those between are between."""


def body(facts: Facts) -> Html:
    """Nothing where no place is known."""
    found = facts.places
    if found is None or not found.patches:
        return Html("")
    cycles = sorted({place.cycle for place in found.patches})
    looks = {cycle: (_colour(i, len(cycles)), SHAPES[i % len(SHAPES)]) for i, cycle in enumerate(cycles)}
    views = []
    for title, across, down in _VIEWS:
        groups = [
            Dots(
                f"cycle {cycle}",
                [(getattr(p, across), getattr(p, down)) for p in found.patches if p.cycle == cycle],
                *looks[cycle],
                titles=[f"{p.case}, cycle {p.cycle}" for p in found.patches if p.cycle == cycle],
            )
            for cycle in cycles
        ]
        views.append(square(title, _ENDS[across], _ENDS[down], groups))
    unknown = f" Not shown, because their images cannot be read: {', '.join(found.unknown)}." if found.unknown else ""
    return joined(
        [
            element("h3", "Where in the images they lie"),
            paragraph(
                "The middle of each box as a share of its image: R right, L left, A front, P back, H head, F feet. Images that "
                f"show different parts of the body do not compare.{unknown}",
                class_="hint",
            ),
            legend({f"cycle {cycle}": sign(*looks[cycle]) for cycle in cycles}),
            element("div", joined(views), class_="bodies"),
            details("The same in numbers", *(_histogram(axis, found.histograms[axis]) for axis in found.histograms)),
        ],
        "\n",
    )


def _colour(number: int, cycles: int) -> Colour:
    """The newest cycle stands out; the others are darker the newer they are."""
    if number == cycles - 1:
        return _NEWEST
    share = number / max(1, cycles - 2)
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(*_OLD, strict=True))
    return red, green, blue


def _histogram(axis: str, counts) -> Html:
    most = max((max(bins) for bins in counts.values()), default=0) or 1
    number = len(next(iter(counts.values()), ()))
    heading = ["Cycle", *(f"{100 * (i + 1) // number} %" for i in range(number))]
    rows = [[str(cycle), *(bar(n / most, str(n)) for n in bins)] for cycle, bins in counts.items()]
    start, end = _ENDS[axis]
    return table(heading, rows, f"Boxes in each part of the image {_NAMES[axis]} ({start} is 0 %, {end} is 100 %)")
