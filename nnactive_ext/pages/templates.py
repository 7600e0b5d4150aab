"""HTML from Jinja2 templates: what a page says is computed as plain values, how it is said stands in the template."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, PrefixLoader, StrictUndefined

from nnactive_ext import words


def render(package: str, name: str, /, **values: Any) -> str:
    """The template ``templates/name`` of the room ``package`` ("report"), filled in.

    Every value is escaped, unless it is a ``markupsafe.Markup``; a name that the template uses and ``values`` lacks is an
    ``UndefinedError``. Templates may import and extend what all pages share as ``pages/NAME``.
    """
    return _environment(package).get_template(name).render(**values)


def asset(package: str, name: str) -> str:
    """The text of the style sheet or script ``assets/name`` of the room ``package``."""
    return (resources.files(f"nnactive_ext.{package}") / "assets" / name).read_text(encoding="utf-8")


@functools.cache
def _environment(package: str) -> Environment:
    shared = PrefixLoader({"pages": PackageLoader("nnactive_ext.pages")})
    made = Environment(
        loader=ChoiceLoader([PackageLoader(f"nnactive_ext.{package}"), shared]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {name: getattr(words, name) for name in ("percent", "share", "points", "duration", "enumerated")}
    made.globals |= {"count": words.count, "plural": words.plural}
    return made
