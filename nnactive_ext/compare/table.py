"""One table as Markdown, CSV or LaTeX; whatever text is in it is escaped."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from nnactive_ext.pages.templates import markdown_text
from nnactive_ext.words import cells

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
}


@dataclass(frozen=True)
class Table:
    """``name`` is that of its files. Cells are text, or numbers, which only CSV shows in full; None is an empty cell."""

    name: str
    caption: str
    heading: Sequence[str]
    rows: Sequence[Sequence[Any]]
    notes: Sequence[str] = field(default=())

    def markdown(self) -> Markup:
        """Without its caption; the notes follow as a list."""
        lines = [_line(self.heading), _line(["---", *["---:"] * (len(self.heading) - 1)], escaped=True), *map(_line, self.rows)]
        notes = [f"- {markdown_text(note)}" for note in self.notes]
        return Markup("\n".join([*lines, *([""] if notes else []), *notes]))

    def csv(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(cells(self.heading))
        writer.writerows(map(cells, self.rows))
        return text.getvalue()

    def latex(self) -> str:
        """A table environment; it needs the package booktabs."""

        def line(cells: Sequence[Any]) -> str:
            return "    " + " & ".join(latex_text(_text(cell)) for cell in cells) + r" \\"

        notes = " ".join(latex_text(note) for note in self.notes)
        return "\n".join(
            [
                "% needs \\usepackage{booktabs}",
                r"\begin{table}",
                r"  \centering",
                f"  \\caption{{{latex_text(self.caption)}}}",
                f"  \\begin{{tabular}}{{l{'r' * (len(self.heading) - 1)}}}",
                r"    \toprule",
                line(self.heading),
                r"    \midrule",
                *map(line, self.rows),
                r"    \bottomrule",
                r"  \end{tabular}",
                *([f"  \\par\\smallskip\\footnotesize {notes}"] if notes else []),
                r"\end{table}",
                "",
            ]
        )


def latex_text(text: str) -> str:
    r"""Text that LaTeX shows as it is.

    >>> print(latex_text("50% of a_b ± 1"))
    50\% of a\_b $\pm$ 1
    """
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))


def _line(cells: Sequence[Any], escaped: bool = False) -> str:
    return "| " + " | ".join(str(cell) if escaped else markdown_text(_text(cell)) for cell in cells) + " |"


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell)
