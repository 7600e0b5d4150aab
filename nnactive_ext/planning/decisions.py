"""The decisions of planning: what was decided and why, as the table that planning prints and the plan keeps."""

from __future__ import annotations


class Decisions(list[tuple[str, str, str]]):
    """Rows of (what, value, why) in the order in which they were decided.

    >>> decisions = Decisions()
    >>> decisions.add("cycles", "3", "as asked for")
    >>> decisions.warn("few cycles", "fewer than 5 (thesis, appendix D.5)")
    >>> decisions
    [('cycles', '3', 'as asked for'), ('WARNING', 'few cycles', 'fewer than 5 (thesis, appendix D.5)')]
    """

    def add(self, what: str, value: str, why: str) -> None:
        self.append((what, value, why))

    def warn(self, problem: str, why: str) -> None:
        self.add("WARNING", problem, why)
