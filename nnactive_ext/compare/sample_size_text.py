"""What the noise of a benchmark means in seeds: a table with what it rests on for people, and the same numbers for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from nnactive_ext.compare.sample_size import FEWEST_SEEDS, MetricNoise, SettingNoise
from nnactive_ext.metrics.power import ALPHA, LEVEL, POWER, detectable, seeds_needed
from nnactive_ext.pages.terminal import paragraph, table
from nnactive_ext.words import count, enumerated, plural

NAMES = {"final": "Final Dice", "aubc": "AUBC"}
_NONE = "-"


@dataclass(frozen=True)
class Question:
    """How many seeds tell these ``differences`` (points of Dice, that is percentage points), or a method that ``saved`` a share
    (0 to 1) of the patches; and what the ``seeds`` of the benchmark tell."""

    seeds: int
    differences: Sequence[float] = field(default=(1.0, 2.0, 5.0))
    saved: float = 0.2

    def answer(self, noise: MetricNoise) -> dict[str, Any]:
        """Of one metric; Dice in points, ``[from the estimate, from the upper limit]`` where there are two numbers."""
        sds = [100 * noise.sd, 100 * noise.upper]
        worth = 100 * noise.gain.difference(self.saved) if noise.gain.rises else None
        return {
            "metric": noise.metric,
            "sd": sds,
            "degrees_of_freedom": noise.df,
            "only_pair": list(noise.pair) if noise.pair else None,
            "seeds_for_points": {f"{points:g}": [seeds_needed(points, sd) for sd in sds] for points in self.differences},
            "points_of_saved_patches": worth,
            "seeds_for_saved_patches": [seeds_needed(worth, sd) for sd in sds] if worth else None,
            "points_detected": [detectable(self.seeds, sd) for sd in sds],
        }


def as_json(noises: Sequence[SettingNoise], question: Question) -> dict[str, Any]:
    """Everything that the text tells, for programs; Dice in points."""
    settings = [
        {
            "setting": noise.setting,
            "methods": list(noise.methods),
            "complete_seeds": list(noise.seeds),
            "metrics": [question.answer(metric) for metric in noise.metrics],
            "cycle_0": _start(noise),
        }
        for noise in noises
    ]
    known = {"alpha": ALPHA, "power": POWER, "level_of_upper_limits": LEVEL, "seeds_of_file": question.seeds}
    return {**known, "share_of_saved_patches": question.saved, "settings": settings}


def _start(noise: SettingNoise) -> dict[str, Any]:
    starts, parts = noise.start.starts, noise.start.components
    found: dict[str, Any] = {
        "seeds": starts.n,
        "sd_over_seeds": _points(starts.std),
        "trainings": None,
        "starting_budgets": None,
    }
    if parts:
        found |= {"trainings": _points(parts.within), "starting_budgets": _points(parts.between)}
    return found


def _points(value: float) -> float | None:
    return None if math.isnan(value) else 100 * value


def as_text(noises: Sequence[SettingNoise], question: Question) -> str:
    """A table with a row for each setting and metric, and sentences on what it rests on."""
    usable = [noise for noise in noises if noise.metrics]
    rows = [_heading(question), *(_row(noise, metric, question) for noise in usable for metric in noise.metrics)]
    lines = [table(rows, numbers=True), "", paragraph(_READ), paragraph(_PAIRS), ""]
    for noise in noises:
        lines += [paragraph(f"{noise.setting}: {sentence}") for sentence in _sentences(noise, question)]
    return "\n".join(lines)


_READ = (
    f"Seeds with which a paired t-test over seeds (two-sided, {100 * ALPHA:g} %) finds a true difference with a probability of "
    f"{100 * POWER:g} %. Points are percentage points of Dice; SD is the standard deviation of the paired differences of two "
    "methods. The first number rests on the estimated SD. The one in brackets rests on its upper limit, which is above the "
    f"true SD in {100 * LEVEL:g} % of pilots: plan with it where the study must not be too small."
)
_PAIRS = (
    "Methods of a seed share the starting budget, so pairing removes its noise. Pairing does not remove the noise of training: "
    "it is in the results of both methods, so the variance of their difference contains it twice."
)


def _heading(question: Question) -> list[str]:
    points = [f"seeds for {points:g} {plural(points, 'point')}" for points in question.differences]
    return ["setting, metric", "SD", *points, f"seeds for {100 * question.saved:g} % fewer patches", _detected(question)]


def _detected(question: Question) -> str:
    return f"points that {question.seeds} seeds find"


def _row(noise: SettingNoise, metric: MetricNoise, question: Question) -> list[str]:
    found = question.answer(metric)
    seeds = [*found["seeds_for_points"].values(), found["seeds_for_saved_patches"]]
    name = f"{noise.setting}, {NAMES[metric.metric]}"
    return [name, _two(found["sd"]), *map(_two, seeds), _two(found["points_detected"])]


def _two(values: Sequence[float] | None) -> str:
    """The number from the estimate, and in brackets that from the upper limit."""
    if values is None:
        return _NONE
    estimate, limit = (f"{value:,}" if isinstance(value, int) else f"{value:.1f}" for value in values)
    return f"{estimate} ({limit})"


def _sentences(noise: SettingNoise, question: Question) -> list[str]:
    if len(noise.seeds) < FEWEST_SEEDS:
        return [f"{too_few(noise)} It is left out."]
    found = [
        f"the answer rests on {count(noise.experiments, 'finished experiment')} ({count(len(noise.seeds), 'seed')} of "
        f"{enumerated(noise.methods)}) and holds for this dataset, test set, trainer and budgets, if differences over seeds "
        "are independent and about normal."
    ]
    found += [
        f"{NAMES[metric]}: the differences of the methods do not vary over seeds, or are unknown." for metric in noise.without
    ]
    for metric in noise.metrics:
        found += _of_metric(metric, question)
    return [*found, *_of_start(noise)]


def _of_metric(metric: MetricNoise, question: Question) -> list[str]:
    name, found = NAMES[metric.metric], []
    if metric.pair:
        found.append(
            f"{name}: pairs of methods differ in their SD and are not pooled. The numbers are those of the pair with the "
            f"largest SD, {enumerated(metric.pair)}."
        )
    where = f"{100 * metric.gain.per_doubling:.1f} points per doubling of the annotated patches"
    if not metric.gain.rises:
        found.append(
            f"{name}: the learning curve is not shown to rise ({where}, 95 % lower limit {100 * metric.gain.lower:.1f}), so "
            "fewer patches cannot be expressed in Dice."
        )
    else:
        found.append(
            f"{name}: {100 * question.saved:g} % fewer patches are worth about "
            f"{100 * metric.gain.difference(question.saved):.1f} points on the mean learning curve ({where}); this is an "
            "approximation by a straight line."
        )
    return found


def _of_start(noise: SettingNoise) -> list[str]:
    starts, parts = noise.start.starts, noise.start.components
    if starts.n < 2:
        return []
    if parts is None:
        return [
            f"the Dice of cycle 0 has an SD of {100 * starts.std:.1f} points over {starts.n} starting budgets. Each was "
            "trained once, so the noise of starting budgets and that of training cannot be told apart."
        ]
    zero = " (its estimate was negative, so it is set to 0)" if parts.negative else ""
    return [
        f"cycle 0 was trained several times on equal labels. The SD of its Dice is {100 * parts.within:.1f} points between "
        f"such trainings ({parts.within_df} degrees of freedom) and {100 * parts.between:.1f} points between starting "
        f"budgets{zero}."
    ]


def too_few(noise: SettingNoise) -> str:
    """That a setting has too few common seeds."""
    if not noise.seeds:
        return "no seed is complete for two methods."
    return (
        f"only {count(len(noise.seeds), 'seed is', 'seeds are')} complete for two methods; at least {FEWEST_SEEDS} are needed."
    )
