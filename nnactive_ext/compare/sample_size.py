"""How much noise there is in the paired differences of methods, setting by setting, and how many seeds that asks for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnactive_ext.compare.checks import check_comparable
from nnactive_ext.compare.noise import begins
from nnactive_ext.compare.settings import Setting, group
from nnactive_ext.compare.summary import VALUES, complete
from nnactive_ext.compare.trajectories import Trajectory, read_trajectories
from nnactive_ext.metrics.averages import MeanAndSpread, mean_and_spread
from nnactive_ext.metrics.power import upper_limit
from nnactive_ext.metrics.trajectory import rise_per_doubling
from nnactive_ext.metrics.variance import Components, PairedSpread, paired_spread, variance_components
from nnactive_ext.randomness import generator

FEWEST_SEEDS = 3
"""Seeds that two methods have both complete. With 2 seeds of 2 methods the upper limit is 16 times the estimate."""
_LEVEL = 0.05
"""Of the test whether all pairs of methods have the same standard deviation; they are not pooled where its p is lower."""
_LEAST_CYCLES = 3
"""The slope at the end of a curve rests on so many cycles, or on half of them."""
_ROUNDING = 1e-9
"""Dice; a smaller deviation is none."""


@dataclass(frozen=True)
class Gain:
    """Mean rise of the Dice (0 to 1) per doubling of the annotated patches, over seeds, and its one-sided 95 % lower limit."""

    per_doubling: float
    lower: float

    @property
    def rises(self) -> bool:
        return self.lower > 0

    def difference(self, saved: float) -> float:
        """The difference in Dice that saving a share (0 to 1) of the patches is worth: the rise between the fewer and all."""
        return self.per_doubling * -math.log2(1 - saved)


@dataclass(frozen=True)
class MetricNoise:
    """Noise of one metric (``final`` or ``aubc``, Dice 0 to 1). ``sd`` and its ``df`` are those of all pairs of methods, or of
    the ``pair`` that spreads most where pairs differ; ``upper`` is the 95 % upper limit."""

    metric: str
    sd: float
    df: int
    upper: float
    pair: tuple[str, str] | None
    gain: Gain


@dataclass(frozen=True)
class StartNoise:
    """Dice (0 to 1) of cycle 0: ``starts``, over starting budgets, trainings included; ``components`` are None where each
    starting budget was trained once, as methods that share cycle 0 do."""

    starts: MeanAndSpread
    components: Components | None


@dataclass(frozen=True)
class SettingNoise:
    """``seeds`` are those that two methods have complete; where they are too few there are no ``metrics``."""

    setting: str
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    experiments: int
    metrics: tuple[MetricNoise, ...]
    start: StartNoise
    without: tuple[str, ...] = ()
    """Metrics whose differences are equal in all seeds, or unknown."""


def noise_of(folders: Sequence[Path]) -> list[SettingNoise]:
    """Estimate the noise in paired differences of query methods.

    Args:
        folders: results folders of finished experiments.

    Returns:
        One entry for each setting.

    Raises:
        NnActiveError: a file is damaged, or experiments of a setting are not comparable.
    """
    grouped = group(read_trajectories(folders))
    check_comparable(grouped)
    return [setting_noise(setting) for setting in grouped.settings]


def setting_noise(setting: Setting) -> SettingNoise:
    """The noise of one setting, from its complete trajectories."""
    there = {method: complete(setting, method) for method in setting.methods}
    shared = [seed for seed in setting.seeds if sum(seed in [t.seed for t in of] for of in there.values()) >= 2]
    used = {method: kept for method, of in there.items() if (kept := [t for t in of if t.seed in shared])}
    found = [_metric(setting, used, metric) for metric in VALUES] if len(shared) >= FEWEST_SEEDS else []
    return SettingNoise(
        setting=setting.name,
        methods=tuple(used),
        seeds=tuple(shared),
        experiments=sum(map(len, used.values())),
        metrics=tuple(noise for noise in found if noise),
        start=_start(setting),
        without=tuple(metric for metric, noise in zip(VALUES, found, strict=False) if noise is None),
    )


def _metric(setting: Setting, used: Mapping[str, Sequence[Trajectory]], metric: str) -> MetricNoise | None:
    """None where there is no spread to estimate."""
    values = {method: {t.seed: VALUES[metric](t) for t in of} for method, of in used.items()}
    spread = paired_spread(values, generator(0, 0, "pooling of pairs", setting.name))
    if spread is None or not spread.sd > _ROUNDING:
        return None
    sd, df, pair = _pooled(spread)
    return MetricNoise(metric, sd, df, upper_limit(sd, df), pair, _gain(list(_slopes(used, metric))))


def _pooled(spread: PairedSpread) -> tuple[float, int, tuple[str, str] | None]:
    """Of all pairs where they may be pooled, else of the pair that spreads most."""
    return spread.worst if spread.p < _LEVEL else (spread.sd, spread.df, None)


def _slopes(used: Mapping[str, Sequence[Trajectory]], metric: str) -> Iterator[float]:
    """Of each seed, the mean over its methods: over the whole curve for its area, over the last half for its end."""
    of_seeds: dict[int, list[float]] = {}
    for t in (one for of in used.values() for one in of):
        first = 0 if metric == "aubc" else -max(_LEAST_CYCLES, math.ceil(len(t.budgets) / 2))
        of_seeds.setdefault(t.seed, []).append(rise_per_doubling(t.budgets[first:], t.dice[first:]))
    return (mean_and_spread(slopes).mean for slopes in of_seeds.values())


def _gain(slopes: Sequence[float]) -> Gain:
    from scipy.stats import t

    found = mean_and_spread(slopes)
    if found.n < 2:
        return Gain(found.mean, math.nan)
    return Gain(found.mean, found.mean - float(t.ppf(0.95, found.n - 1)) * found.std / math.sqrt(found.n))


def _start(setting: Setting) -> StartNoise:
    """Copies of a shared cycle 0 count as the one training that they are."""
    trainings = [
        [*{_scores(t): t.dice[0] for t in setting.trajectories if t.seed == s and _begun(t)}.values()] for s in setting.seeds
    ]
    return StartNoise(mean_and_spread([float(np.mean(of)) for of in trainings if of]), variance_components(trainings))


def _begun(trajectory: Trajectory) -> bool:
    """Whether cycle 0 is on the curve, with a mean Dice."""
    return begins(trajectory) and not math.isnan(trajectory.dice[0])


def _scores(trajectory: Trajectory) -> tuple[float | None, ...]:
    return tuple(trajectory.scored[0].dice_per_class.values())
