"""What the study's results say: how far it is while seeds are missing; paired differences and answers when all are there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.report import as_table
from nnactive_ext.bench.definition import Benchmark
from nnactive_ext.metrics.averages import mean_and_spread
from nnactive_ext.metrics.power import detectable, upper_limit
from nnactive_ext.metrics.trajectory import aubc, budget_to_target
from nnactive_ext.metrics.variance import variance_components
from nnactive_ext.words import signed

MARKS = ("<!-- benchmarks.study: begin -->", "<!-- benchmarks.study: end -->")
PLAN_MARKS = ("<!-- benchmarks.study, plan: begin -->", "<!-- benchmarks.study, plan: end -->")
MARGIN = 2.0
"""Points of Dice: a difference whose interval lies within this on both sides is called small."""
LEVEL = 0.05
RESAMPLES = 2000
SETTINGS = {"phantom_folds": ", five folds", "strangers_screened": ", screened"}
"""Parts whose arms are those of another part in another setting, and what is added to their names."""
PARTS = {
    "hippocampus": ("hippocampus",),
    "phantom": ("phantom",),
    "phantom, five folds": ("phantom", "phantom_folds"),
    "abdomen": ("abdomen",),
    "strangers": ("strangers", "strangers_screened"),
}
"""What is tested together -> the parts of the study that it needs. Where there are two, each trains a cycle 0 of its own."""
EARNED = "clasp_pe shares=earned"
PAIRS = {
    "hippocampus": (
        ("random_fg_66", "random"),
        ("predictive_entropy", "random"),
        ("clasp_pe", "random"),
        ("clasp_pe", "random_fg_66"),
        ("badge", "clasp_pe"),
        (EARNED, "clasp_pe"),
    ),
    "phantom": (("clasp_pe", "random_fg_66"), (EARNED, "clasp_pe")),
    "phantom, five folds": (("clasp_pe, five folds", "clasp_pe"),),
    "abdomen": ((EARNED, "clasp_pe"),),
    "strangers": (("clasp_pe, screened", "clasp_pe"),),
}
"""Of each of them the comparisons that the plan names, first against second; no other is tested."""

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
        return f"{signed(self.mean)} ({signed(self.low)} to {signed(self.high)})"


def difference(first: str, second: str, one: dict[int, float], other: dict[int, float]) -> Difference | None:
    """Values (0 to 1, or NaN) by seed; None with fewer than two seeds for which both have one."""
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
    """The arms that are compared there, those in other settings under names of their own.

    Raises:
        SystemExit: the arms of a seed had different starting budgets.
    """
    compared = {name for pair in PAIRS[dataset] for name in pair}
    found: Arms = {}
    starts: dict[int, set[str]] = {}
    for row in rows:
        if row["part"] not in PARTS[dataset]:
            continue
        for arm in row["arms"]:
            name = arm["method"] + SETTINGS.get(row["part"], "")
            if name not in compared:
                continue
            found.setdefault(name, {})[row["seed"]] = arm
            starts.setdefault(row["seed"], set()).add(arm["start"])
    for seed, several in starts.items():
        if len(several) > 1:
            raise SystemExit(f"{dataset}, seed {seed}: its arms had different starting budgets. They cannot be paired.")
    return found


def area(arm: dict[str, Any], begin: int = 0) -> float:
    """AUBC (0 to 1) from a cycle on."""
    asked, dice = curve(arm)
    return aubc(asked[begin:], dice[begin:])


def final(arm: dict[str, Any]) -> float:
    return float(arm["cycles"][-1]["dice"])


def curve(arm: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Patches that were asked for up to each cycle, and the Dice (0 to 1)."""
    return [cycle["asked"] for cycle in arm["cycles"]], [cycle["dice"] for cycle in arm["cycles"]]


def saved(first: dict[int, Any], second: dict[int, Any]) -> tuple[float, float, float]:
    """Patches that the first arm saves at the lower one of the two mean Final Dice, which both reach; mean and 95 % interval.

    Read on the mean curves over the seeds of both; the interval is that of a bootstrap over seeds.
    """
    seeds = sorted(first.keys() & second.keys())
    asked = curve(first[seeds[0]])[0]
    dice = np.array([[curve(arms[seed])[1] for seed in seeds] for arms in (first, second)])  # (2, seeds, cycles)

    def at(chosen: np.ndarray) -> float:
        one, other = dice[:, chosen].mean(1)
        target = float(min(one[-1], other[-1]))
        needed = [budget_to_target(asked, values, target) for values in (one, other)]
        assert None not in needed, "both end at it or above"
        return needed[1] - needed[0]

    rng = np.random.default_rng(0)
    drawn = [at(rng.integers(len(seeds), size=len(seeds))) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, [LEVEL / 2, 1 - LEVEL / 2])
    return at(np.arange(len(seeds))), float(low), float(high)


def detectable_table(pilot: Sequence[dict[str, Any]], protocols: dict[str, Benchmark]) -> str:
    """The differences that the planned seeds find with a power of 80 %, by the noise between trainings of the pilot.

    ``pilot``: the rows of benchmarks.power; ``protocols``: part -> its benchmark. Strangers have the noise of the phantom, and
    five folds that of one training.
    """
    lines = []
    for dataset, pairs in PAIRS.items():
        benchmark = protocols[PARTS[dataset][0]]
        name = "phantom" if dataset == "strangers" else PARTS[dataset][0]
        start = benchmark.datasets[0].regimes[0].starting_budget
        rows = [
            row
            for row in pilot
            if name in row["dataset"].lower()
            and f"_{row['epochs']}epochs" in benchmark.settings.trainer
            and row["settings"]["patches"] == start
        ]
        groups: dict[int, list[float]] = {}
        for row in rows:
            groups.setdefault(row["seed"], []).append(row["dice"])
        noise = variance_components(list(groups.values()))
        if noise is None:
            continue
        steps, shared = benchmark.settings.cycles - 1, len(PARTS[dataset]) == 1
        if not shared:
            steps -= 1
        # Of a mean over equal steps, whose ends count half; of two arms that share cycle 0, it cancels out.
        weight = math.sqrt(steps - 1 + (0.25 if shared else 0.5)) / steps
        cells = []
        for outcome in (weight, 1.0):
            for alpha in (LEVEL, LEVEL / len(pairs)):
                sds = [100 * 2**0.5 * outcome * sd for sd in (noise.within, upper_limit(noise.within, noise.within_df))]
                cells.append("{:.1f} ({:.1f})".format(*(detectable(len(benchmark.seeds), sd, alpha) for sd in sds)))
        lines.append((dataset, str(len(benchmark.seeds)), str(len(rows)), *cells))
    head = ("dataset", "seeds", "trainings in the pilot", "AUBC, at 5 %", "AUBC, first of Holm's steps")
    return as_table((*head, "Final Dice, at 5 %", "Final Dice, first of Holm's steps"), lines)


def report(found: dict[str, Any]) -> str:
    """Markdown, without the paths of this machine."""
    rows = found["rows"]
    machines = sorted({row["machine"]["cpu"] for row in rows})
    dates = sorted(row["date"][:10] for row in rows)
    commits = list(dict.fromkeys(row["commit"] or "unknown" for row in rows))
    lines = [
        f"`{found['command']}`, {dates[0]} to {dates[-1]}, commit{'s' if len(commits) > 1 else ''} {', '.join(commits)}; "
        f"one core of {' or '.join(machines)} for each arm. Dice on the test set."
    ]
    for dataset in PAIRS:
        arms = arms_of(rows, dataset)
        if arms:
            lines += ["", f"### {dataset.capitalize()}", "", *_dataset(dataset, arms, _missing(dataset, found))]
    return "\n".join(lines)


def _missing(dataset: str, found: dict[str, Any]) -> list[str]:
    """Of each part of a dataset that is not finished, how many seeds are still to be run."""
    there = {(row["part"], row["seed"]) for row in found["rows"]}
    said = []
    for part, seeds in found["seeds"].items():
        left = sum((part, seed) not in there for seed in seeds)
        if left and part in PARTS[dataset]:
            said.append(f"{left} of {len(seeds)} seeds of `{part}`")
    return said


def _dataset(dataset: str, arms: Arms, missing: Sequence[str]) -> Iterator[str]:
    if missing:
        yield f"Still to be run: {', '.join(missing)}. As planned, nothing is compared before. What is done took:"
        yield ""
        yield as_table(("arm", "seeds", "minutes of one core"), [(f"`{name}`", *_effort(arms[name])) for name in arms])
        return
    if lacking := {name for pair in PAIRS[dataset] for name in pair} - arms.keys():
        raise SystemExit(f"{dataset}: the plan compares {', '.join(sorted(lacking))}, which the results lack.")
    head = ("arm", "seeds", "minutes of one core", "Dice by cycle, %", "AUBC, %", "Final Dice, %", "of each class")
    yield as_table(head, [_arm(name, by_seed) for name, by_seed in arms.items()])
    yield ""
    # Where each of the two has trained a cycle 0 of its own, it tells nothing of queries.
    outcome = partial(area, begin=len(PARTS[dataset]) - 1)
    found = [(_difference(arms, *pair, outcome), _difference(arms, *pair, final)) for pair in PAIRS[dataset]]
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
                "{:+.0f} ({:+.0f} to {:+.0f})".format(*saved(arms[one.first], arms[one.second])),
            )
            for (one, other), p in zip(found, adjusted, strict=True)
        ],
    )
    yield ""
    yield (
        "Paired differences over seeds with 95 % intervals (Student's; of patches saved, a bootstrap over seeds). *answer*: of "
        "AUBC, from adjusted p-values. Intervals are not adjusted, so one may leave out 0 where the answer is *undecided*."
    )
    yield ""
    classes = list(next(iter(next(iter(arms.values())).values()))["cycles"][-1]["dice_per_class"])
    pairs = PAIRS[dataset]
    yield as_table(
        ("Final Dice of a class, points", *(f"`{first}` − `{second}`" for first, second in pairs)),
        [(name, *(_difference(arms, *pair, partial(_of_class, name)).interval for pair in pairs)) for name in classes],
    )


def _of_class(name: str, arm: dict[str, Any]) -> float:
    value = arm["cycles"][-1]["dice_per_class"][name]
    return math.nan if value is None else float(value)


def _difference(arms: Arms, first: str, second: str, value: Any) -> Difference:
    one, other = ({seed: value(arm) for seed, arm in arms[name].items()} for name in (first, second))
    found = difference(first, second, one, other)
    if found is None:
        raise SystemExit(f"{first} and {second} have fewer than two seeds in common with a value.")
    return found


def _effort(by_seed: dict[int, dict[str, Any]]) -> tuple[str, str]:
    minutes = mean_and_spread([sum(arm["seconds"].values()) / 60 for arm in by_seed.values()]).mean
    return str(len(by_seed)), f"{minutes:.0f}"


def _arm(name: str, by_seed: dict[int, dict[str, Any]]) -> tuple[str, ...]:
    arms = list(by_seed.values())
    cycles = zip(*(curve(arm)[1] for arm in arms), strict=True)
    classes = arms[0]["cycles"][-1]["dice_per_class"]
    per_class = [f"{one} {100 * mean_and_spread([_of_class(one, arm) for arm in arms]).mean:.0f}" for one in classes]
    return (
        f"`{name}`",
        *_effort(by_seed),
        ", ".join(f"{100 * mean_and_spread(values).mean:.1f}" for values in cycles),
        _spread([area(arm) for arm in arms]),
        _spread([final(arm) for arm in arms]),
        ", ".join(per_class),
    )


def _spread(values: Sequence[float]) -> str:
    mean, std, _ = mean_and_spread([100 * value for value in values])
    return f"{mean:.1f} ± {std:.1f}"
