"""Pages from Jinja2 templates: what a page says is computed as plain values, how it is said stands in the template."""

from __future__ import annotations

import base64
import functools
import hashlib
import os
import re
import shlex
from importlib import resources
from typing import Any
from urllib.parse import quote

from jinja2 import ChoiceLoader, Environment, PackageLoader, PrefixLoader, StrictUndefined
from markupsafe import Markup

from nnactive_ext import words


def render(package: str, name: str, /, **values: Any) -> str:
    """Fill in a template.

    Every value is escaped, for Markdown in a template ``NAME.md`` and for HTML in any other, unless it is a
    ``markupsafe.Markup``. Bytes that are no UTF-8, as file names may hold them, become backslash escapes.

    Templates extend and import what all pages share as ``pages/NAME``. Beside Jinja2's own filters (``tojson`` is safe in
    a script element and in a single-quoted attribute) they have those for numbers from :mod:`nnactive_ext.words`, and:

    - ``natural``: names in an order in which case_2 is before case_10
    - ``link``: the address of a file or folder beside the page
    - ``shell``: a name as one word of a shell command
    - ``sha256``: the source of a script as its Content-Security-Policy names it
    - ``asset(NAME)``, a function: :func:`asset` of the same room

    Args:
        package: the room that the template belongs to, such as "report".
        name: the template ``templates/name`` of this room.
        values: the names that the template uses.

    Returns:
        The text of the page.

    Raises:
        jinja2.UndefinedError: the template uses a name that ``values`` lacks.
    """
    text = _environment(package, name.endswith(".md")).get_template(name).render(**values)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def asset(package: str, name: str) -> Markup:
    """The text of the style sheet or script ``assets/name`` of the room ``package``, which no template escapes.

    ``name`` may be ``pages/NAME``, as that of a template that all pages share.
    """
    shared = name.startswith("pages/")
    room = resources.files("nnactive_ext.pages" if shared else f"nnactive_ext.{package}")
    return Markup((room / "assets" / name.removeprefix("pages/")).read_text(encoding="utf-8"))


def markdown_text(text: str) -> str:
    """Escape ``text`` so that Markdown shows it as it is, also in a cell of a table.

    >>> print(markdown_text("a|b_c <i>"))
    a\\|b\\_c &lt;i&gt;
    """
    text = " ".join(text.split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~$])", r"\\\1", text)


def _link(name: str) -> str:
    return quote(os.fsencode(name), safe="")


def _sha256(source: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"


def _as_markdown(value: Any) -> Markup:
    return value if isinstance(value, Markup) else Markup(markdown_text(str(value)))


@functools.cache
def _environment(package: str, markdown: bool) -> Environment:
    shared = PrefixLoader({"pages": PackageLoader("nnactive_ext.pages")})
    made = Environment(
        loader=ChoiceLoader([PackageLoader(f"nnactive_ext.{package}"), shared]),
        # HTML is escaped after finalize, which has escaped Markdown already.
        autoescape=True,
        finalize=_as_markdown if markdown else None,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.policies["json.dumps_kwargs"] = {}  # Jinja2 would sort the keys
    made.filters |= {name: getattr(words, name) for name in ("percent", "share", "points", "duration", "enumerated")}
    made.filters |= {"link": _link, "shell": shlex.quote, "sha256": _sha256}
    made.filters["natural"] = functools.partial(sorted, key=words.natural)
    made.globals |= {"count": words.count, "plural": words.plural, "asset": functools.partial(asset, package)}
    return made
