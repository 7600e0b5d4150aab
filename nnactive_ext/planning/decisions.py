"""The decisions of planning: what was decided and why, as the table that planning prints and the plan keeps."""

from __future__ import annotations

from collections.abc import Sequence

from nnactive_ext.words import folded

WARNING = "WARNING"
THESIS = "the thesis of C. T. Lüth, see docs/methods.md"
"""The book whose sections decisions cite."""
EVIDENCE = "docs/which-method.md"
"""The page that says what choices rest on, published or ours."""


class Decisions(list[tuple[str, str, str]]):
    """Rows of (what, value, why) in the order in which they were decided.

    >>> decisions = Decisions()
    >>> decisions.add("cycles", "3", "as asked for")
    >>> decisions.warn("few cycles", "fewer than 5")
    >>> decisions
    [('cycles', '3', 'as asked for'), ('WARNING', 'few cycles', 'fewer than 5')]
    """

    def add(self, what: str, value: str, why: str) -> None:
        self.append((what, value, why))

    def warn(self, problem: str, why: str) -> None:
        self.add(WARNING, problem, why)


def shown(decisions: Sequence[Sequence[str]]) -> list[tuple[str, str, str]]:
    """Rows to show: warnings come last, and repeated ones are folded into one."""
    warnings, between = [], "\t"
    rows = [(what, value, why) for what, value, why in decisions if what != WARNING]
    for what, value, why in decisions:
        if what == WARNING:
            warnings.append(f"{value} {between} {why}")
    for text in folded(warnings):
        problem, _, why = text.partition(f" {between} ")
        rows.append((WARNING, problem, why))
    return rows
