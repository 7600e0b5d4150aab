"""What becomes of level and power of a study whose number of seeds follows from a pilot that counts in it, by simulation.

python -m benchmarks.pilot
"""

from __future__ import annotations

import argparse
import itertools
import shlex
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

from benchmarks.machine import description
from benchmarks.report import as_table, check_markers, publish
from nnactive_ext.metrics.power import ALPHA, detectable, upper_limit

MARKS = ("<!-- benchmarks.pilot: begin -->", "<!-- benchmarks.pilot: end -->")
MOST = 150
"""Seeds that a study has at most, however noisy its pilot was."""
PILOTS = (3, 5)
METHODS = (2, 4)
RATIOS = (0.5, 1.0, 2.0)
"""The difference that is looked for, in standard deviations of the paired differences."""


def planned(estimates: np.ndarray, pilot: int) -> np.ndarray:
    """Seeds for a difference of 1, for estimates of the standard deviation: at least the pilot's, at most :data:`MOST`."""
    enough = np.array([1 / detectable(seeds, 1.0) for seeds in range(2, MOST + 1)])
    return np.clip(np.searchsorted(enough, estimates) + 2, pilot, MOST)


def pilots(methods: int, pilot: int, sd: float, true: float, studies: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Of each study: the differences of the first two methods in the pilot (studies, pilot), and the pooled estimate."""
    values = rng.normal(0, sd / 2**0.5, (studies, methods, pilot))
    values[:, 0] += true
    rest = values - values.mean(1, keepdims=True) - values.mean(2, keepdims=True) + values.mean((1, 2), keepdims=True)
    df = (methods - 1) * (pilot - 1)
    return values[:, 0] - values[:, 1], np.sqrt(2 * (rest**2).sum((1, 2)) / df), np.array(df)


def significant(first: np.ndarray, seeds: np.ndarray, counts: bool, sd: float, true: float, rng: np.random.Generator) -> float:
    """Share of significant paired t-tests, with the pilot's differences (``counts``) or with as many new ones."""
    found = 0
    for number in np.unique(seeds):
        chosen = first[seeds == number] if counts else first[seeds == number][:, :0]
        new = rng.normal(true, sd, (len(chosen), number - chosen.shape[1]))
        values = np.concatenate([chosen, new], axis=1)
        statistic = values.mean(1) / values.std(1, ddof=1) * number**0.5
        found += int((np.abs(statistic) > t.ppf(1 - ALPHA / 2, number - 1)).sum())
    return found / len(first)


def measure(studies: int, seed: int) -> list[dict[str, Any]]:
    """For a difference of 1 that is looked for and that is there or not."""
    rows, rng = [], np.random.default_rng(seed)
    for methods, pilot, ratio in itertools.product(METHODS, PILOTS, RATIOS):
        for by in ("estimate", "upper limit"):
            row: dict[str, Any] = {"methods": methods, "pilot": pilot, "ratio": ratio, "by": by}
            for what, true in (("level", 0.0), ("power", 1.0)):
                first, estimates, df = pilots(methods, pilot, 1 / ratio, true, studies, rng)
                factor = upper_limit(1.0, float(df)) if by == "upper limit" else 1.0
                seeds = planned(factor * estimates, pilot)
                row[what] = significant(first, seeds, True, 1 / ratio, true, rng)
                row[f"{what}_without"] = significant(first, seeds, False, 1 / ratio, true, rng)
                row["seeds"] = int(np.median(seeds))
            rows.append(row)
    return rows


def report(found: dict[str, Any]) -> str:
    lines = [
        [
            *(str(row["methods"]), str(row["pilot"]), f"{row['ratio']:g}", row["by"], str(row["seeds"])),
            *(f"{100 * row[name]:.1f}" for name in ("level", "power", "level_without", "power_without")),
        ]
        for row in found["rows"]
    ]
    head = ("methods", "seeds of the pilot", "d / SD", "planned by", "median of seeds", "level, %", "power, %")
    return (
        f"`{found['command']}`, commit {found['commit']}, {found['settings']['studies']:,} simulated studies for each number. "
        f"At most {MOST} seeds.\n\n" + as_table((*head, "level, new seeds only, %", "power, new seeds only, %"), lines)
    )


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Simulates studies whose number of seeds follows from a pilot.")
    parser.add_argument("-studies", type=int, default=20_000, metavar="N", help="for each number (default: %(default)s)")
    parser.add_argument("-seed", type=int, default=1, metavar="N", help="of the simulation (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="replace the text between this benchmark's two markers")
    given = parser.parse_args(args)
    if given.markdown:
        check_markers(given.markdown, MARKS)
    found = {
        **description(),
        "command": shlex.join(["python", "-m", "benchmarks.pilot", "-studies", str(given.studies), "-seed", str(given.seed)]),
        "settings": {"studies": given.studies, "seed": given.seed},
        "rows": measure(given.studies, given.seed),
    }
    publish(given, found, report(found), MARKS)


if __name__ == "__main__":
    main()
