"""What methods are called in a comparison: the plan's name with its options, without the folders of files where possible."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from nnactive_ext.experiment.plan import method_words


def method_key(plan: Mapping[str, Any]) -> str:
    """A method and its options as one text; equal texts are the same method.

    >>> method_key({"method": "clasp_pe", "method_options": {"beta": "1", "alpha": "0.5"}})
    'clasp_pe alpha=0.5 beta=1'
    """
    return method_words(plan["method"], dict(sorted((plan.get("method_options") or {}).items())))


def display_names(keys: Iterable[str]) -> dict[str, str]:
    """How each method is shown: files and folders by their last part, unless two methods would then look alike.

    >>> display_names(["random", "/home/a/own.py:mine"])
    {'/home/a/own.py:mine': 'own.py:mine', 'random': 'random'}
    >>> display_names(["coreset features=file:/home/a/vectors"])
    {'coreset features=file:/home/a/vectors': 'coreset features=file:vectors'}
    """
    keys = sorted(set(keys))
    short = {key: _short(key) for key in keys}
    alike = Counter(short.values())
    return {key: name if alike[name] == 1 else key for key, name in short.items()}


def _short(key: str) -> str:
    # A folder ends where the last slash of a word does; the method's own file may have spaces in its path.
    key = re.sub(r"^.*[/\\](?=[^/\\]*\.py:)", "", key)
    return re.sub(r"(?<==)(file:)?(?:[A-Za-z]:)?[/\\](?:[^=]*[/\\])?(?=[^/\\=]+)", r"\1", key)
