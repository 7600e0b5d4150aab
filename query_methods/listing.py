"""All query methods: name, what each does in words, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator

from nnactive_ext.errors import NnActiveError
from nnactive_ext.query_methods import external, methods
from nnactive_ext.query_methods.words import words


def described() -> Iterator[tuple[str, str, str]]:
    """Name, words and source of every method, ours first; of an installed one that cannot be loaded, why."""
    for method in methods.METHODS:
        yield method.name, f"{words(method)}.", method.cite
    for name, entry in external.installed().items():
        if name in methods.names():
            continue
        try:
            found = external.from_package(entry)
            yield name, f"{words(found)}.", getattr(found, "cite", "") or entry.value
        except NnActiveError as error:
            yield name, str(error), entry.value
