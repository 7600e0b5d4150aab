"""What the study's results say: means while seeds are missing; paired differences and answers when all are there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.report import as_table
from nnactive_ext.metrics.averages import mean_and_spread
from nnactive_ext.metrics.economics import mean_saved, patches_saved
from nnactive_ext.metrics.trajectory import aubc

MARKS = ("<!-- benchmarks.study: begin -->", "<!-- benchmarks.study: end -->")
MARGIN = 2.0
"""Points of Dice: a difference whose interval lies within this on both sides is called small."""
LEVEL = 0.05
VARIANTS = {"hippocampus_folds": ("hippocampus", ", five folds"), "strangers_screened": ("strangers", ", screened")}
"""Parts whose arms are those of another part in another setting, and what is added to their names."""
PAIRS = {
    "hippocampus": (
        ("random_fg_66", "random"),
        ("predictive_entropy", "random"),
        ("clasp_pe", "random"),
        ("clasp_pe", "random_fg_66"),
        ("badge", "clasp_pe"),
        ("clasp_pe(shares=earned)", "clasp_pe"),
        ("clasp_pe, five folds", "clasp_pe"),
    ),
    "phantom": (("clasp_pe", "random_fg_66"), ("clasp_pe(shares=earned)", "clasp_pe")),
    "abdomen": (("clasp_pe", "random_fg_66"), ("clasp_pe(shares=earned)", "clasp_pe")),
    "strangers": (("clasp_pe, screened", "clasp_pe"),),
}
"""Of each dataset the comparisons that the plan names, first against second; no other is tested."""

Arms = dict[str, dict[int, dict[str, Any]]]
"""Arm -> seed -> what benchmarks.study keeps of it."""


@dataclass(frozen=True)
class Difference:
    """First minus second over the seeds of both, in points; ``p``: of the paired t-test."""

    first: str
    second: str
    n: int
    mean: float
    sd: float
    low: float
    high: float
    p: float

    @property
    def interval(self) -> str:
        return f"{self.mean:+.1f} ({self.low:+.1f} to {self.high:+.1f})"


def difference(first: str, second: str, one: dict[int, float], other: dict[int, float]) -> Difference | None:
    """Values (0 to 1) by seed; None with fewer than two seeds that both have."""
    from scipy.stats import t

    values = [100 * (one[seed] - other[seed]) for seed in sorted(one.keys() & other.keys())]
    mean, sd, n = mean_and_spread(values)
    if n < 2:
        return None
    error = sd / math.sqrt(n)
    half = float(t.ppf(1 - LEVEL / 2, n - 1)) * error
    p = float(2 * t.sf(abs(mean) / error, n - 1)) if error > 0 else float(mean == 0)
    return Difference(first, second, n, mean, sd, mean - half, mean + half, p)


def holm(values: Sequence[float]) -> list[float]:
    """The p-values adjusted by Holm's method, in the given order.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order, adjusted, so_far = sorted(range(len(values)), key=lambda i: values[i]), [0.0] * len(values), 0.0
    for rank, i in enumerate(order):
        so_far = max(so_far, min(1.0, (len(values) - rank) * values[i]))
        adjusted[i] = so_far
    return adjusted


def verdict(found: Difference, adjusted: float) -> str:
    """What counts as an answer, as the plan has it."""
    if adjusted < LEVEL:
        return f"`{found.first}` is {'above' if found.mean > 0 else 'below'}"
    if max(abs(found.low), abs(found.high)) <= MARGIN:
        return f"less than {MARGIN:g} points apart"
    return "undecided"


def arms_of(rows: Sequence[dict[str, Any]], dataset: str) -> Arms:
    """The arms of a dataset, those of variants under names of their own; different starts of a seed are an error."""
    found: Arms = {}
    starts: dict[int, set[str]] = {}
    for row in rows:
        there, suffix = VARIANTS.get(row["part"], (row["part"], ""))
        if there != dataset:
            continue
        for arm in row["arms"]:
            name = arm["method"] + suffix
            found.setdefault(name, {})[row["seed"]] = arm
            starts.setdefault(row["seed"], set()).add(arm["start"])
    for seed, several in starts.items():
        if len(several) > 1:
            raise SystemExit(f"{dataset}, seed {seed}: its arms had different starting budgets. They cannot be paired.")
    return found


def area(arm: dict[str, Any]) -> float:
    return aubc(*curve(arm))


def final(arm: dict[str, Any]) -> float:
    return float(arm["cycles"][-1]["dice"])


def curve(arm: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Patches that were asked for up to each cycle, and the Dice (0 to 1)."""
    return [cycle["asked"] for cycle in arm["cycles"]], [cycle["dice"] for cycle in arm["cycles"]]


def report(found: dict[str, Any]) -> str:
    """Markdown, without the paths of this machine."""
    rows = found["rows"]
    machines = sorted({f"{row['machine']['cores']} cores of {row['machine']['cpu']}" for row in rows})
    dates = sorted(row["date"][:10] for row in rows)
    commits = list(dict.fromkeys(row["commit"] for row in rows))
    lines = [
        f"`{found['command']}`, {dates[0]} to {dates[-1]}, commit{'s' if len(commits) > 1 else ''} {', '.join(commits)}; "
        f"{'; '.join(machines)}, one core for each seed. Dice on the test set."
    ]
    for dataset in PAIRS:
        arms = arms_of(rows, dataset)
        if arms:
            lines += ["", f"### {dataset.capitalize()}", "", *_dataset(dataset, arms, found["seeds"])]
    return "\n".join(lines)


def _dataset(dataset: str, arms: Arms, seeds: dict[str, list[int]]) -> Iterator[str]:
    head = ("arm", "seeds", "Dice by cycle, %", "AUBC, %", "Final Dice, %", "of each class", "minutes of one core")
    yield as_table(head, [_arm(name, by_seed) for name, by_seed in arms.items()])
    yield ""
    lacking = {
        part: [seed for seed in numbers if not any(seed in arms[name] for name in _names(part, arms))]
        for part, numbers in seeds.items()
        if VARIANTS.get(part, (part,))[0] == dataset
    }
    missing = [f"{len(some)} of {len(seeds[part])} seeds of {part}" for part, some in lacking.items() if some]
    if missing:
        yield f"Not finished: {', '.join(missing)} are still to be run. As planned, nothing is tested before."
        return
    found = [
        (one, other)
        for first, second in PAIRS[dataset]
        if (one := _difference(arms, first, second, area)) and (other := _difference(arms, first, second, final))
    ]
    adjusted = holm([one.p for one, _ in found])
    head = ("comparison", "seeds", "AUBC, points", "SD", "p", "p (Holm)", "answer", "Final Dice, points", "patches saved")
    yield as_table(
        head,
        [
            (
                f"`{one.first}` − `{one.second}`",
                str(one.n),
                one.interval,
                f"{one.sd:.1f}",
                f"{one.p:.3f}",
                f"{p:.3f}",
                verdict(one, p),
                other.interval,
                _saved(arms[one.first], arms[one.second]),
            )
            for (one, other), p in zip(found, adjusted, strict=True)
        ],
    )
    yield ""
    yield (
        "Paired differences over seeds with 95 % intervals (Student's). *answer*: of the primary outcome, AUBC. *patches "
        "saved*: at the Final Dice of the second arm, with the interval over seeds."
    )
    yield ""
    classes = list(next(iter(next(iter(arms.values())).values()))["cycles"][-1]["dice_per_class"])
    pairs = PAIRS[dataset]
    yield as_table(
        ("Final Dice of a class, points", *(f"`{first}` − `{second}`" for first, second in pairs)),
        [(name, *(_of_class(arms, first, second, name) for first, second in pairs)) for name in classes],
    )


def _names(part: str, arms: Arms) -> list[str]:
    """The arms that are of a part itself, not of a variant of it, or the other way round."""
    suffixes = tuple(suffix for _, suffix in VARIANTS.values())
    return [name for name in arms if name.endswith(VARIANTS[part][1] if part in VARIANTS else suffixes) == (part in VARIANTS)]


def _difference(arms: Arms, first: str, second: str, value: Any) -> Difference | None:
    one, other = ({seed: value(arm) for seed, arm in arms.get(name, {}).items()} for name in (first, second))
    return difference(first, second, one, other)


def _of_class(arms: Arms, first: str, second: str, name: str) -> str:
    found = _difference(arms, first, second, lambda arm: arm["cycles"][-1]["dice_per_class"][name])
    return found.interval if found else "–"


def _saved(first: dict[int, Any], second: dict[int, Any]) -> str:
    """Over the seeds of both, with the word for what is only a bound."""
    both = sorted(first.keys() & second)
    saved = [patches_saved(curve(first[seed]), curve(second[seed]), final(second[seed])) for seed in both]
    mean = mean_saved([one for one in saved if one is not None])
    bound = "bounds on both sides: " if mean.bound is None else f"{mean.bound} " if mean.bound else ""
    return f"{bound}{mean.mean:.0f} ({mean.low:.0f} to {mean.high:.0f})"


def _arm(name: str, by_seed: dict[int, dict[str, Any]]) -> tuple[str, ...]:
    arms = list(by_seed.values())
    cycles = zip(*(curve(arm)[1] for arm in arms), strict=True)
    classes = arms[0]["cycles"][-1]["dice_per_class"]
    per_class = [
        f"{one} {100 * mean_and_spread([arm['cycles'][-1]['dice_per_class'][one] for arm in arms]).mean:.0f}" for one in classes
    ]
    minutes = mean_and_spread([sum(arm["seconds"].values()) / 60 for arm in arms]).mean
    return (
        f"`{name}`",
        str(len(arms)),
        ", ".join(f"{100 * mean_and_spread(values).mean:.1f}" for values in cycles),
        _spread([area(arm) for arm in arms]),
        _spread([final(arm) for arm in arms]),
        ", ".join(per_class),
        f"{minutes:.0f}",
    )


def _spread(values: Sequence[float]) -> str:
    mean, std, n = mean_and_spread([100 * value for value in values])
    return f"{mean:.1f} ± {std:.1f}" if n > 1 else f"{mean:.1f}"
