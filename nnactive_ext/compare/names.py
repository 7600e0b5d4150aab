"""Names of methods and settings in one comparison, and the file names made of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nnactive_ext.compare.methods import display_names
from nnactive_ext.compare.settings import Setting


@dataclass(frozen=True)
class Names:
    """``methods``: method -> what it is called, in the order in which colours are given out."""

    methods: Mapping[str, str]
    slugs: Mapping[str, str]

    @classmethod
    def of(cls, settings: Sequence[Setting]) -> Names:
        slugs: dict[str, str] = {}
        for setting in settings:
            number, slug = 2, setting.slug
            while os.path.normcase(slug) in {os.path.normcase(other) for other in slugs.values()}:
                number, slug = number + 1, f"{setting.slug}_{number}"
            slugs[setting.name] = slug
        return cls(display_names(method for setting in settings for method in setting.methods), slugs)
