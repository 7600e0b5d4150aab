"""The building blocks of the report's HTML, which escape every text that is not HTML already."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from urllib.parse import quote

_EMPTY = {"img", "br", "input", "meta"}


def text(words: str) -> str:
    """Escaped, for text as well as attributes; names of files may hold bytes that are no UTF-8."""
    return escape(str(words).encode("utf-8", "backslashreplace").decode("utf-8"))


def link(name: str) -> str:
    """The address of a file or folder beside the page."""
    return quote(os.fsencode(name), safe="")


class Html(str):
    """Text that is HTML already. All else is escaped where it meets a page, so forgetting is safe."""

    __slots__ = ()


def html(part: object) -> Html:
    """
    >>> html("a < b"), html(Html("<b>a</b>"))
    ('a &lt; b', '<b>a</b>')
    """
    return part if isinstance(part, Html) else Html(text(str(part)))


def joined(parts: Iterable[object], between: str = "") -> Html:
    return Html(between.join(html(part) for part in parts))


def element(tag: str, *parts: object, **attributes: object) -> Html:
    """A tag around ``parts``; an attribute that is None is left out, ``class_`` is class and ``aria_label`` aria-label.

    >>> element("p", "R & D", class_="note", title=None)
    '<p class="note">R &amp; D</p>'
    """
    given = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items() if value is not None}
    inner = "".join(f' {name}="{text(str(value))}"' for name, value in given.items())
    return Html(f"<{tag}{inner}>" if tag in _EMPTY else f"<{tag}{inner}>{joined(parts)}</{tag}>")


def section(anchor: str, title: str, *parts: object) -> Html:
    return element("section", element("h2", title), "\n", joined(parts, "\n"), id=anchor)


def paragraph(*parts: object, class_: str | None = None) -> Html:
    return element("p", *parts, class_=class_)


def listed(items: Iterable[object], class_: str | None = None) -> Html:
    return element("ul", joined(element("li", item) for item in items), class_=class_)


def table(heading: Sequence[object], rows: Iterable[Sequence[object]], caption: str = "", numbers: bool = True) -> Html:
    """A table that scrolls by itself where the page is narrow; ``numbers``: all columns but the first are right-aligned."""
    head = element("tr", joined(element("th", cell, scope="col") for cell in heading))
    body = joined(
        element("tr", element("th", row[0], scope="row"), joined(element("td", cell) for cell in row[1:])) for row in rows
    )
    inside = element("table", element("thead", head), element("tbody", body), class_="numbers" if numbers else None)
    if caption:
        inside = joined([paragraph(caption, class_="caption"), element("div", inside, class_="scroll")])
        return element("div", inside, class_="table")
    return element("div", inside, class_="scroll table")


def facts(rows: Iterable[tuple[object, object]]) -> Html:
    """Pairs of what and how much."""
    pairs = (element("div", element("dt", what), element("dd", value)) for what, value in rows)
    return element("dl", joined(pairs), class_="facts")


def details(summary: object, *parts: object, open: bool = False) -> Html:
    """What is shown when asked for, and always when printed."""
    return element("details", element("summary", summary), joined(parts, "\n"), **({"open": ""} if open else {}))


def bar(share: float | None, words: object) -> Html:
    """A cell of a table with a bar behind its words; ``share`` 0 to 1."""
    width = 0 if share is None else 100 * min(1.0, max(0.0, share))
    return element("span", element("span", words), class_="bar", style=f"--share:{width:.1f}%")


def swatch(colour: Sequence[int]) -> Html:
    red, green, blue = (int(part) for part in colour)
    return element("i", class_="swatch", style=f"background:rgb({red},{green},{blue})")


def legend(entries: Mapping[str, object]) -> Html:
    """Names and what stands before each: a swatch, or the sample of a line."""
    return listed((joined([sign, " ", element("span", name)]) for name, sign in entries.items()), class_="legend")


def within_script(content: str) -> Html:
    """JSON as it may stand in a script element, which ends at the first ``</script``."""
    return Html(content.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))
