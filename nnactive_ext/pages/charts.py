"""Charts as inline SVG, sized to be read on a phone without zooming: lines over a budget, and places in a square."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nnactive_ext.pages.parts import Html, element, joined, legend

Colour = tuple[int, int, int]
WIDTH, HEIGHT = 380, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 44
SHAPES = ("circle", "square", "triangle", "diamond")
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


def lines(title: str, x_label: str, y_label: str, series: Sequence[Series]) -> Html:
    """Shares (0 to 1) over budgets as a figure with its legend; the axis shows per cent and need not begin at 0."""
    known = [(x, y) for one in series for x, y in zip(one.budgets, one.values, strict=True) if y is not None]
    if not known:
        return Html("")
    xs = sorted({x for one in series for x in one.budgets})
    low, high = _range([y for _, y in known])
    first, last = (xs[0], xs[-1]) if len(xs) > 1 else (xs[0] - 1, xs[0] + 1)

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - first) / (last - first) * (WIDTH - LEFT - RIGHT)
        return across, TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [_grid(place, xs, _ticks(low, high), x_label, y_label, first, last)]
    for one in series:
        parts += _drawn(one, place)
    said = "; ".join(f"{one.name}: {_said(one)}" for one in series)
    svg = _svg(f"{title}. {said}", WIDTH, HEIGHT, parts)
    signs = {one.name: _sample(on_white(one.colour), one.shape) for one in series}
    return _figure(title, svg, legend(signs) if len(series) > 1 else "")


def square(title: str, x_ends: tuple[str, str], y_ends: tuple[str, str], groups: Sequence[Dots], side: int = 250) -> Html:
    """Points in a square whose sides are called ``x_ends`` (left, right) and ``y_ends`` (top, bottom); no legend."""
    edge = 20
    inner = side - 2 * edge
    parts: list[Html] = [element("rect", x=edge, y=edge, width=inner, height=inner, class_="frame")]
    middle = side / 2
    parts.append(element("path", d=f"M{edge} {middle:g}H{side - edge}M{middle:g} {edge}V{side - edge}", class_="grid"))
    ends = ((6, middle, x_ends[0]), (side - 6, middle, x_ends[1]), (middle, 12, y_ends[0]), (middle, side - 4, y_ends[1]))
    parts += [
        element("text", name, x=f"{x:g}", y=f"{y + (4 if y == middle else 0):g}", text_anchor="middle") for x, y, name in ends
    ]
    for group in groups:
        titles = group.titles or [group.name] * len(group.points)
        for (x, y), words in zip(group.points, titles, strict=True):
            at = (edge + min(1.0, max(0.0, x)) * inner, edge + min(1.0, max(0.0, y)) * inner)
            parts.append(_mark(at, on_white(group.colour), group.shape, words, group.size))
    said = ", ".join(f"{len(group.points)} of {group.name}" for group in groups)
    return _figure(title, _svg(f"{title}: {said}", side, side, parts), "")


def _figure(title: str, svg: Html, below: object) -> Html:
    return element("figure", element("figcaption", title), svg, below, class_="chart")


def _svg(said: str, width: int, height: int, parts: Sequence[Html]) -> Html:
    return element("svg", element("title", said), joined(parts), viewBox=f"0 0 {width} {height}", role="img", aria_label=said)


def _grid(place, xs, ticks, x_label: str, y_label: str, first: float, last: float) -> Html:
    bottom = HEIGHT - BOTTOM
    parts: list[Html] = []
    for value in ticks:
        _, y = place(first, value)
        parts.append(element("path", d=f"M{LEFT} {y:.1f}H{WIDTH - RIGHT}", class_="grid"))
        parts.append(element("text", f"{100 * value:.0f}", x=LEFT - 6, y=f"{y + 4:.1f}", text_anchor="end"))
    end = -math.inf
    for x in xs:
        across, _ = place(x, ticks[0])
        words = short(x)
        parts.append(element("path", d=f"M{across:.1f} {bottom}v4", class_="axis"))
        if across - 4 * len(words) < end + 6:  # its number would touch the one before
            continue
        end = across + 4 * len(words)
        inside = min(across, WIDTH - 4 * len(words))
        parts.append(element("text", words, x=f"{inside:.1f}", y=bottom + 17, text_anchor="middle"))
    parts.append(element("path", d=f"M{LEFT} {TOP}V{bottom}H{WIDTH - RIGHT}", class_="axis"))
    parts.append(element("text", x_label, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 8, text_anchor="middle", class_="label"))
    middle = (TOP + bottom) / 2
    turned = f"rotate(-90 13 {middle:g})"
    parts.append(element("text", y_label, x=13, y=f"{middle:g}", text_anchor="middle", transform=turned, class_="label"))
    return joined(parts)


def _drawn(one: Series, place) -> list[Html]:
    colour = on_white(one.colour)
    steps, pen = [], "M"
    marks = []
    for x, y in zip(one.budgets, one.values, strict=True):
        if y is None:
            pen = "M"
            continue
        across, down = place(x, y)
        steps.append(f"{pen}{across:.1f} {down:.1f}")
        pen = "L"
        marks.append(_mark((across, down), colour, one.shape, f"{one.name}: {100 * y:.1f} % at {x:,g}", 4.5))
    return [element("path", d="".join(steps), fill="none", stroke=_rgb(colour), stroke_width=2), *marks]


def _mark(at: tuple[float, float], colour: Colour, shape: str, words: str, size: float) -> Html:
    x, y = at
    outline = {
        "square": f"M{x - size:.1f} {y - size:.1f}h{2 * size:g}v{2 * size:g}h{-2 * size:g}z",
        "triangle": f"M{x:.1f} {y - 1.2 * size:.1f}l{1.2 * size:g} {2.1 * size:g}h{-2.4 * size:g}z",
        "diamond": f"M{x:.1f} {y - 1.3 * size:.1f}l{1.3 * size:g} {1.3 * size:g}l{-1.3 * size:g} {1.3 * size:g}"
        f"l{-1.3 * size:g} {-1.3 * size:g}z",
    }
    fill = {"fill": _rgb(colour), "stroke": "#fff", "stroke_width": 0.8}
    if shape in outline:
        return element("path", element("title", words), d=outline[shape], **fill)
    return element("circle", element("title", words), cx=f"{x:.1f}", cy=f"{y:.1f}", r=f"{size:g}", **fill)


def sign(colour: Colour, shape: str = "circle") -> Html:
    """A mark for a legend."""
    mark = _mark((7, 7), on_white(colour), shape, "", 4.5)
    return element("svg", mark, viewBox="0 0 14 14", class_="sign", aria_hidden="true")


def _sample(colour: Colour, shape: str) -> Html:
    line = element("path", d="M0 7H26", stroke=_rgb(colour), stroke_width=2)
    mark = _mark((13, 7), colour, shape, "", 4.5)
    return element("svg", line, mark, viewBox="0 0 26 14", class_="sample", aria_hidden="true")


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
