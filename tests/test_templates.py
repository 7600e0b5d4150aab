"""How pages are made: templates that lack a name fail, text is escaped, and no page hides in a Python file."""

from __future__ import annotations

import ast
import doctest
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from html_page import Page
from jinja2 import UndefinedError
from markupsafe import Markup

import nnactive_ext
from nnactive_ext.pages import templates
from nnactive_ext.pages.templates import asset, render

ROOT = Path(__file__).resolve().parent.parent
EVIL = """</style></script><script>alert('1')</script>"&'><img src=x onerror=alert(2)>"""
INDEX = {
    "title": "Liver",
    "counts": [("open", 0)],
    "facts": [("cycle", "1")],
    "following": "task-1-1",
    "folder": "cycle_001",
    "noted": [],
    "hand_in": "nnactive_annotate import -d 511 cycle_001",
    "annotate": "c001_001_liver_12",
    "hand_in_files": "nnactive_annotate import -d 511 FILES",
    "classes": [("liver", (230, 159, 0), "", 1)],
    "blank": "",
    "cards": [],
}


@pytest.fixture
def from_text(tmp_path, monkeypatch):
    """Fills in a template given as text, as :func:`render` does one of a room that holds it alone."""
    room = tmp_path / "room_of_a_test"
    (room / "templates").mkdir(parents=True)
    (room / "assets").mkdir()
    (room / "__init__.py").touch()
    monkeypatch.setattr(nnactive_ext, "__path__", [*nnactive_ext.__path__, str(tmp_path)])

    def fill(text: str, name: str = "page.html", /, **values) -> str:
        templates._environment.cache_clear()
        (room / "templates" / name).write_text(text, encoding="utf-8")
        return render("room_of_a_test", name, **values)

    yield fill
    templates._environment.cache_clear()
    sys.modules.pop("nnactive_ext.room_of_a_test", None)


def test_examples():
    assert doctest.testmod(templates).failed == 0 < doctest.testmod(templates).attempted


def test_the_index_page_is_made_of_these_values():
    page = Page(render("exchange", "index.html", **INDEX))
    assert "Liver" in page.text
    assert [a["href"] for a in page.all("a")] == ["c001_001_liver_12/annotate.html", "#task-1-1", "README.txt"]


@pytest.mark.parametrize("name", INDEX)
def test_a_name_that_a_template_uses_and_nobody_gives_is_an_error(name):
    with pytest.raises(UndefinedError, match=f"'{name}'"):
        render("exchange", "index.html", **{key: value for key, value in INDEX.items() if key != name})


def test_a_part_of_a_value_that_is_missing_is_an_error(from_text):
    with pytest.raises(UndefinedError, match="no attribute 'colour'"):
        from_text("{{ part.colour }}", part={"name": "liver"})
    with pytest.raises(UndefinedError):
        from_text("{% if part.colour %}yes{% endif %}", part={"name": "liver"})


@pytest.mark.parametrize("place", ["<p>{{ text }}</p>", '<p title="{{ text }}"></p>', "<p title='{{ text }}'></p>"])
def test_text_is_no_markup_wherever_a_template_puts_it(from_text, place):
    page = Page(from_text(place, text=EVIL))
    assert [tag for tag, _ in page.elements] == ["p"]
    assert EVIL in (page.text, page.all("p")[0].get("title"))


def test_values_in_a_script_and_in_an_attribute_are_read_back(from_text):
    values = {"name": EVIL, "b": 1, "a": "\u2028"}
    template = """<p data-values='{{ values | tojson }}'></p><script type="application/json">{{ values | tojson }}</script>"""
    page = Page(from_text(template, values=values))
    assert [tag for tag, _ in page.elements] == ["p", "script"]
    for text in (page.all("p")[0]["data-values"], *page.scripts["application/json"]):
        assert json.loads(text) == values
        assert list(json.loads(text)) == list(values)


def test_markup_and_our_own_assets_stay_as_they_are(from_text):
    assert from_text("{{ part }}", part=Markup("<b>bold</b>")) == "<b>bold</b>"
    style = asset("exchange", "page.css")
    assert f"<style>{style}</style>" in render("exchange", "index.html", **INDEX)


def test_bytes_that_are_no_utf8_become_escapes_and_addresses(from_text):
    filled = from_text("{{ name }} <a href='{{ name | link }}'></a> {{ [name] | tojson }}", name="liver \udcff/&")
    assert filled.encode("utf-8").decode("utf-8").startswith("liver \\udcff/&amp; ")
    assert Page(filled).all("a") == [{"href": "liver%20%FF%2F%26"}]


def test_markdown_is_escaped_as_markdown(from_text):
    filled = from_text(
        "# {{ name }}\n{{ part }}{% macro m() %}{{ name }}{% endmacro %}{{ m() }}",
        "page.md",
        name="a_b <i>\n| c",
        part=Markup("_x_"),
    )
    assert filled == "# a\\_b &lt;i&gt; \\| c\n_x_a\\_b &lt;i&gt; \\| c"


TAGS = (
    "html|head|body|style|script|div|p|span|table|tr|td|th|svg|img|a|b|i|ul|ol|li|dl|dt|dd|h[1-6]|section|article|figure|code"
)
PAGE_IN_TEXT = re.compile(
    rf"""<!doctype | <(?:{TAGS})(?:\s[^>]*)?> | </[a-z][a-z0-9]*> | \bstyle="            # HTML
    | \bfunction\s*\w*\( | =>\s*[{{(\w] | \bdocument\.\w | \baddEventListener\b           # JavaScript
    | \{{\s*(?:display|color|margin|padding|font|background|border|width|height)[\w-]*\s*:  # CSS
    """,
    re.IGNORECASE | re.VERBOSE,
)


def texts(source: str) -> Iterator[str]:
    """The strings of a Python file, without docstrings and other strings that stand alone."""
    tree = ast.parse(source)
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.value


@pytest.mark.parametrize(
    "text",
    [
        "<!DOCTYPE html>",
        '<p class="note">',
        "</section>",
        "a { color: red }",
        "@media print { .next {display: none} }",
        "form.addEventListener('change', show)",
        "values.map(x => x + 1)",
        "(function() { return 1; })()",
    ],
)
def test_a_page_in_a_python_file_is_found(text):
    assert [
        found for found in texts(f"x = f'''{{y}}{text.replace('{', '{{').replace('}', '}}')}'''") if PAGE_IN_TEXT.search(found)
    ]
    assert not list(texts(f'"""{text}"""'))


def test_no_python_file_holds_html_styles_or_scripts():
    found = [
        f"{file.relative_to(ROOT)}: {text[:60]!r}"
        for folder in ("nnactive_ext", "trainers", "query_methods")
        for file in sorted((ROOT / folder).rglob("*.py"))
        for text in texts(file.read_text(encoding="utf-8"))
        if PAGE_IN_TEXT.search(text)
    ]
    assert not found
