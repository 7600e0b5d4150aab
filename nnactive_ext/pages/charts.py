"""Charts as inline SVG, sized to be read on a phone without zooming: lines over a budget, and places in a square."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from nnactive_ext.pages.templates import render

Colour = tuple[int, int, int]
WIDTH, HEIGHT = 380, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 44
SHAPES = ("circle", "square", "triangle", "diamond", "plus", "triangle down", "cross", "star")
_CONTRAST = 3.0
"""Between a line and the white behind it: what WCAG 2.1 asks for graphics."""


@dataclass(frozen=True)
class Series:
    """``values[i]`` at ``budgets[i]``; None where it is not known, which interrupts the line."""

    name: str
    budgets: Sequence[float]
    values: Sequence[float | None]
    colour: Colour = (11, 87, 164)
    shape: str = "circle"


@dataclass(frozen=True)
class Dots:
    """Points in a square: (x, y) in 0 to 1 from its upper left corner."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: Colour
    shape: str = "circle"
    size: float = 4.0
    titles: Sequence[str] = ()


def on_white(colour: Colour) -> Colour:
    """The colour, darkened until it can be told from white.

    >>> on_white((0, 0, 0)), on_white((255, 255, 255))
    ((0, 0, 0), (146, 146, 146))
    """
    red, green, blue = colour
    while 1.05 / (_luminance((red, green, blue)) + 0.05) < _CONTRAST:
        red, green, blue = (int(part * 0.97) for part in (red, green, blue))
    return red, green, blue


def lines(title: str, x_label: str, y_label: str, series: Sequence[Series]) -> Markup:
    """Shares (0 to 1) over budgets as a figure with its legend; the axis shows per cent and need not begin at 0.

    Empty where no value is known.
    """
    known = [(x, y) for one in series for x, y in zip(one.budgets, one.values, strict=True) if y is not None]
    if not known:
        return Markup()
    xs = sorted({x for one in series for x in one.budgets})
    low, high = _range([y for _, y in known])
    first, last = (xs[0], xs[-1]) if len(xs) > 1 else (xs[0] - 1, xs[0] + 1)

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - first) / (last - first) * (WIDTH - LEFT - RIGHT)
        return across, TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM)

    said = "; ".join(f"{one.name}: {_said(one)}" for one in series)
    return _rendered(
        "chart_lines.html",
        title=title,
        said=f"{title}. {said}",
        x_label=x_label,
        y_label=y_label,
        ticks_x=_spaced([(place(x, low)[0], short(x)) for x in xs]),
        ticks_y=[(place(first, value)[1], f"{100 * value:.0f}") for value in _ticks(low, high)],
        lines=[_line(one, place) for one in series],
        legend=[_line(one, place) for one in _by_ends(series)],
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=WIDTH - RIGHT,
        top=TOP,
        bottom=HEIGHT - BOTTOM,
    )


def square(title: str, x_ends: tuple[str, str], y_ends: tuple[str, str], groups: Sequence[Dots], side: int = 250) -> Markup:
    """Points in a square whose sides are called ``x_ends`` (left, right) and ``y_ends`` (top, bottom); no legend."""
    edge = 20
    inner = side - 2 * edge
    marks = []
    for group in groups:
        titles = group.titles or [group.name] * len(group.points)
        for (x, y), words in zip(group.points, titles, strict=True):
            at = (edge + min(1.0, max(0.0, x)) * inner, edge + min(1.0, max(0.0, y)) * inner)
            marks.append(_mark(at, group.colour, group.shape, words, group.size))
    said = ", ".join(f"{len(group.points)} of {group.name}" for group in groups)
    (left, right), (top, bottom) = x_ends, y_ends
    ends = {"left": left, "right": right, "top": top, "bottom": bottom}
    return _rendered("chart_square.html", title=title, said=f"{title}: {said}", side=side, edge=edge, marks=marks, **ends)


def sign(colour: Colour, shape: str = "circle") -> Markup:
    """A mark for a legend."""
    return _rendered("chart_sign.html", mark=_mark((7, 7), colour, shape))


_PLUS = [(0.4, -1.3), (0.4, -0.4), (1.3, -0.4), (1.3, 0.4), (0.4, 0.4), (0.4, 1.3)]
_PLUS += [(-a, -b) for a, b in _PLUS]
_STAR = [(r * math.sin(i * math.pi / 5), -r * math.cos(i * math.pi / 5)) for i in range(10) for r in [0.6 if i % 2 else 1.5]]


@dataclass(frozen=True)
class _Mark:
    """A point as it is drawn; ``outline`` is the path of its shape, empty for a circle."""

    x: float
    y: float
    size: float
    outline: str
    colour: str
    title: str


def _ring(at: tuple[float, float], corners: Sequence[tuple[float, float]]) -> str:
    """The path of a polygon around a point."""
    return "M" + "L".join(f"{at[0] + x:.1f} {at[1] + y:.1f}" for x, y in corners) + "z"


def _mark(at: tuple[float, float], colour: Colour, shape: str, title: str = "", size: float = 4.5) -> _Mark:
    x, y = at
    outlines = {
        "square": f"M{x - size:.1f} {y - size:.1f}h{2 * size:g}v{2 * size:g}h{-2 * size:g}z",
        "triangle": f"M{x:.1f} {y - 1.2 * size:.1f}l{1.2 * size:g} {2.1 * size:g}h{-2.4 * size:g}z",
        "diamond": f"M{x:.1f} {y - 1.3 * size:.1f}l{1.3 * size:g} {1.3 * size:g}l{-1.3 * size:g} {1.3 * size:g}"
        f"l{-1.3 * size:g} {-1.3 * size:g}z",
        "triangle down": f"M{x:.1f} {y + 1.2 * size:.1f}l{-1.2 * size:g} {-2.1 * size:g}h{2.4 * size:g}z",
        "plus": _ring(at, [(a * size, b * size) for a, b in _PLUS]),
        "cross": _ring(at, [((a - b) * size / 2**0.5, (a + b) * size / 2**0.5) for a, b in _PLUS]),
        "star": _ring(at, [(a * size, b * size) for a, b in _STAR]),
    }
    return _Mark(x, y, size, outlines.get(shape, ""), _rgb(on_white(colour)), title)


@dataclass(frozen=True)
class _Line:
    """A series as it is drawn: ``path`` through its points, ``sample`` for the legend."""

    name: str
    colour: str
    path: str
    marks: Sequence[_Mark]
    sample: _Mark


def _line(one: Series, place: Callable[[float, float], tuple[float, float]]) -> _Line:
    steps, pen, marks = [], "M", []
    for x, y in zip(one.budgets, one.values, strict=True):
        if y is None:
            pen = "M"
            continue
        across, down = place(x, y)
        steps.append(f"{pen}{across:.1f} {down:.1f}")
        pen = "L"
        marks.append(_mark((across, down), one.colour, one.shape, f"{one.name}: {100 * y:.1f} % at {x:,g}"))
    return _Line(one.name, _rgb(on_white(one.colour)), "".join(steps), marks, _mark((13, 7), one.colour, one.shape))


def _by_ends(series: Sequence[Series]) -> list[Series]:
    """In the order in which lines end, from top to bottom, so that the eye can go from one to the other; those without a
    value come last."""
    ends = {one.name: [y for y in one.values if y is not None][-1:] for one in series}
    return sorted(series, key=lambda one: -ends[one.name][0] if ends[one.name] else 1.0)


def _spaced(ticks: Sequence[tuple[float, str]]) -> list[tuple[float, float, str]]:
    """For each tick: its x, the middle of its number, and the number, empty where it would touch the one before."""
    end, found = -math.inf, []
    for across, words in ticks:
        half = 4 * len(words)
        fits = across - half >= end + 6
        end = across + half if fits else end
        found.append((across, min(across, WIDTH - half), words if fits else ""))
    return found


def _rendered(template: str, **values: object) -> Markup:
    return Markup(render("pages", template, **values))


def _said(one: Series) -> str:
    values = [f"{100 * y:.1f} % at {short(x)}" for x, y in zip(one.budgets, one.values, strict=True) if y is not None]
    return ", ".join(values) or "not known"


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Tenths around the values, at least two of them."""
    low, high = math.floor(min(values) * 10 - 0.2) / 10, math.ceil(max(values) * 10 + 0.2) / 10
    low, high = max(0.0, low), min(1.0, high)
    if high - low < 0.19:
        low = max(0.0, low - 0.1)
        high = min(1.0, max(high, low + 0.2))
    return low, high


def _ticks(low: float, high: float) -> list[float]:
    step = 0.1 if high - low < 0.65 else 0.2
    first = math.ceil(round(low / step, 6))
    return [round(i * step, 6) for i in range(first, math.floor(round(high / step, 6)) + 1)]


def short(number: float) -> str:
    """A number in few letters.

    >>> [short(n) for n in (8, 950, 46080, 368640, 2500000, 31000000)]
    ['8', '950', '46k', '369k', '2.5M', '31M']
    """
    for limit, unit in ((1e6, "M"), (1e4, "k")):
        if abs(number) >= limit:
            scaled = number / (1e6 if unit == "M" else 1e3)
            return f"{scaled:.1f}".removesuffix(".0") + unit if scaled < 10 else f"{scaled:.0f}{unit}"
    return f"{number:g}"


def _luminance(colour: Colour) -> float:
    linear = [part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _rgb(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
