"""How every figure looks: one colour, marker and line per method everywhere, also told apart without colours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito's colours without their yellow, which fades on white, and four of Paul Tol's.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#882255", "#999933", "#332288")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "*")
_LINES = ("-", "--", "-.", ":")
_STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "svg.hashsalt": "nnactive_compare",
    # Names of methods and classes are text as it is, and no formulas.
    "text.parse_math": False,
}
FULL_COLOUR = "#555555"


def method_styles(methods: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Of the lines of each method."""
    return {
        method: {
            "color": _COLOURS[i % len(_COLOURS)],
            "marker": _MARKERS[i % len(_MARKERS)],
            "linestyle": _LINES[i // len(_COLOURS) % len(_LINES)],
        }
        for i, method in enumerate(methods)
    }


@contextmanager
def figure(folder: Path, name: str, width: float, height: float, layout: Any = "constrained") -> Iterator[Figure]:
    """A figure of so many inches; written as ``NAME.png`` and ``NAME.svg``, the same for the same results.

    ``layout``: matplotlib's layout engine; None where whoever draws places the axes, as solving for many takes long.
    """
    with rc_context(_STYLE):
        drawn = Figure(figsize=(width, height), layout=layout)
        FigureCanvasAgg(drawn)
        yield drawn
        drawn.savefig(folder / f"{name}.png", dpi=110)
        drawn.set_layout_engine("none")  # the places stay; they need not be solved for again
        drawn.savefig(folder / f"{name}.svg", metadata={"Date": None})


def draw_full(axes: Axes, value: float, label: str = "all labels") -> None:
    """The goal: Dice in % on all labels."""
    axes.axhline(value, color=FULL_COLOUR, linestyle=(0, (6, 3)), linewidth=1.2, label=label, zorder=1)


def legend_width(labels: Iterable[str]) -> float:
    """Inches that a legend with these labels takes, about; figures are made so much wider."""
    return 0.7 + 0.082 * max(map(len, labels), default=0)


def legend_beside(drawn: Figure, axes: Axes, title: str = "") -> None:
    """The legend of ``axes`` to the right of all axes, where it covers no data."""
    handles, labels = axes.get_legend_handles_labels()
    # "outside" is for layout engines, which make room for it.
    place: Any = "outside right upper" if drawn.get_layout_engine() else "upper right"
    shown = drawn.legend(handles, labels, loc=place, title=title, title_fontsize=9)
    shown.set_alignment("left")


def titles(drawn: Figure, below: str, left: str, above: str) -> None:
    """Of all plots together; a little off the edges where no layout engine places them."""
    width, height = drawn.get_size_inches()
    placed = drawn.get_layout_engine() is None
    drawn.supxlabel(below, fontsize=10, **({"y": 0.1 / height} if placed else {}))
    drawn.supylabel(left, fontsize=10, **({"x": 0.1 / width} if placed else {}))
    drawn.suptitle(above, fontsize=11, fontweight="bold", **({"y": 1 - 0.15 / height} if placed else {}))


def leave_margins(drawn: Figure, left: float, right: float, bottom: float, top: float) -> None:
    """So many inches around all plots, and room for titles and numbers between them, of a figure without layout engine."""
    width, height = drawn.get_size_inches()
    drawn.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height, wspace=0.12, hspace=0.28)
