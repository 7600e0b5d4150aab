"""An HTML page taken apart: its elements, its text, its scripts; fails where tags do not match."""

from __future__ import annotations

from html.parser import HTMLParser

EMPTY = {"meta", "img", "br", "wbr", "input", "link"}
INLINE = {"wbr", "b", "i", "span", "code", "strong", "a"}


class Page(HTMLParser):
    """``elements``: tags with their attributes; ``scripts``: by their type (None: they run), what they hold."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.scripts: dict[str | None, list[str]] = {}
        self._words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in INLINE:
            self._words.append(" ")
        if tag == "script":
            self.scripts.setdefault(dict(attrs).get("type"), []).append("")
        if tag not in EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag
        if tag not in INLINE:
            self._words.append(" ")

    def handle_data(self, data):
        if self._open and self._open[-1] == "script":
            self.scripts[self.elements[-1][1].get("type")][-1] += data
        elif self._open and self._open[-1] != "style":
            self._words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self._words).split())

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]
