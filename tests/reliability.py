"""Writes figures of the long tests into docs/reliability.md, between the markers of their block."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reliability.md"


def written_down(block: str, text: str, page: Path = PAGE) -> None:
    """Replace what is between the markers of ``block`` by ``text``; without the page, as with an installed wheel, nothing is
    written."""
    if not page.is_file():
        return
    begin, end = f"<!-- {block}: begin -->", f"<!-- {block}: end -->"
    content = page.read_text(encoding="utf-8")
    assert begin in content, f"{page}: there is no block {block}"
    assert end in content, f"{page}: there is no block {block}"
    made = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n\n{text}\n\n{end}", content, flags=re.DOTALL)
    page.write_text(made, encoding="utf-8")
