"""The seeds that all ranked methods have complete, setting by setting, so that no method gains by the seeds it lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nnactive_ext.compare.settings import Setting
from nnactive_ext.compare.summary import SettingSummary


@dataclass(frozen=True)
class Shared:
    """``seeds``: name of a setting -> those that all ``methods`` have complete; ``lacking``: name of a setting -> a seed
    that some of ``methods`` have and others lack -> those others; ``dropped``: method -> why it is not among ``methods``.
    """

    methods: tuple[str, ...]
    seeds: Mapping[str, tuple[int, ...]]
    lacking: Mapping[str, Mapping[int, tuple[str, ...]]]
    dropped: Mapping[str, str]

    @property
    def repeated(self) -> bool:
        """Whether any setting has two such seeds."""
        return any(len(seeds) > 1 for seeds in self.seeds.values())


def shared_seeds(summaries: Sequence[SettingSummary]) -> Shared:
    """Drops the methods without a complete seed in some setting, then, where no seed is common to the rest, the one whose
    seeds fewest others have, until one is; of several such the last by name."""
    methods = sorted({summary.method for setting in summaries for summary in setting.methods})
    found = {s.setting.name: {m.method: frozenset(m.seeds) for m in s.methods if m.seeds} for s in summaries}
    dropped = {}
    for method in methods:
        where = [name for name, having in found.items() if method not in having]
        if where:
            dropped[method] = f"is not complete in {', '.join(where)}"
    left = [method for method in methods if method not in dropped]
    for name, having in found.items():
        while len(left) > 1 and not _common(having, left):
            odd = min(reversed(left), key=lambda m: (sum(len(having[m] & having[other]) for other in left), len(having[m])))
            left.remove(odd)
            dropped[odd] = f"shares no complete seed with the others in {name}"
    seeds = {name: _common(having, left) for name, having in found.items()}
    return Shared(
        tuple(left), seeds, {s.setting.name: _lacking(s.setting, found[s.setting.name], left) for s in summaries}, dropped
    )


def _common(having: Mapping[str, frozenset[int]], methods: Sequence[str]) -> tuple[int, ...]:
    return tuple(sorted(frozenset.intersection(*(having[method] for method in methods)))) if methods else ()


def _lacking(setting: Setting, having: Mapping[str, frozenset[int]], methods: Sequence[str]) -> dict[int, tuple[str, ...]]:
    without = {seed: tuple(m for m in methods if seed not in having[m]) for seed in setting.seeds}
    return {seed: lacking for seed, lacking in without.items() if 0 < len(lacking) < len(methods)}
