"""What it costs to merge the candidates of a large pool with many classes: seconds and memory, by the number of cases.

    python -m benchmarks.merging FOLDER [-classes N] [--markdown FILE]

The files are as a query writes them. ``kept in memory`` reads all of them before it merges.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import command, description
from benchmarks.report import check_markers, insert
from benchmarks.watched import watched
from nnactive_ext.files import read_json, write_json
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.query_methods import methods
from nnactive_ext.query_methods.base import PoolCase, Ranking, Request, ScoredPatch
from nnactive_ext.querying.rankings import Rankings, ranking_from_json, ranking_to_json

MARKS = ("<!-- benchmarks.merging: begin -->", "<!-- benchmarks.merging: end -->")
CLASSES, PER_CLASS, REST = 104, 100, 600
SIZE, SHAPE = (8, 8, 8), (128, 128, 128)
WAYS = ("one after another", "kept in memory")


def ranking(number: int, classes: int = CLASSES) -> Ranking:
    """Of one case: 100 candidates of each class and 600 of the rest, those of a stratum do not overlap; a third of the classes
    is absent."""
    rng = np.random.default_rng(number)
    cells = [n // s for n, s in zip(SHAPE, SIZE, strict=True)]
    present = rng.random(classes) < 2 / 3
    found: list[ScoredPatch] = []
    for stratum in range(classes + 1):
        count = REST if stratum == classes else PER_CLASS
        chosen = rng.choice(np.prod(cells), count, replace=False)
        shift = rng.integers(0, SIZE[0], 3)
        starts = np.stack(np.unravel_index(chosen, cells), axis=1) * SIZE + shift
        starts = np.minimum(starts, np.subtract(SHAPE, SIZE))
        scores = rng.random(count) * (1 if stratum == classes or present[stratum] else 1e-4)
        keys = np.sort(np.log(scores) + rng.gumbel(size=count))[::-1]
        name = "all" if stratum == classes else f"class_{stratum + 1:03d}"
        for start, score, key in zip(starts.tolist(), scores.tolist(), keys.tolist(), strict=True):
            found.append(ScoredPatch(Patch(f"case_{number:04d}", tuple(start), SIZE), score, key, name))
    return Ranking(tuple(found), frozenset((np.flatnonzero(present) + 1).tolist()))


def held(ranking: Ranking) -> Ranking:
    """With all of its candidates as objects."""
    return replace(ranking, candidates=tuple(ranking.candidates))


def merge(folder: Path, cases: int, way: str, n: int, classes: int) -> None:
    """Print the seconds; the query itself goes into a file, to be compared."""
    names = [f"case_{number:04d}" for number in range(cases)]

    def read(case: str) -> Ranking:
        return ranking_from_json(read_json(folder / f"{case}.json"), case)

    request = Request(n, {number + 1: f"class_{number + 1:03d}" for number in range(classes)})
    pool = {name: PoolCase(name, SHAPE, SIZE) for name in names}
    begin = time.perf_counter()
    rankings = Rankings(names, read) if way == WAYS[0] else {name: held(read(name)) for name in names}
    query = methods.get("clasp_pe").merge(rankings, pool, request)  # type: ignore[union-attr]
    print(time.perf_counter() - begin)
    write_json(folder / f"{way.replace(' ', '_')}.json", [[p.patch.case, p.patch.start, p.stratum] for p in query.patches])


def measure(given: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each number of cases and way; the queries must be equal."""
    given.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(max(given.cases)):
        file = given.folder / f"case_{number:04d}.json"
        if not file.is_file():
            write_json(file, ranking_to_json(ranking(number, given.classes), ""))
    for cases in given.cases:
        for way in WAYS:
            words = [sys.executable, "-m", "benchmarks.merging", given.folder, "-cases", cases, "-n", given.n]
            words += ["-classes", given.classes, "-way", way]
            found = watched(words, os.environ)
            rows.append({"cases": cases, "way": way, "seconds": float(found.text), "cpu": found.processor, "gb": found.peak_gb})
            print(rows[-1], flush=True)
        queries = [read_json(given.folder / f"{way.replace(' ', '_')}.json") for way in WAYS]
        if queries[0] != queries[1]:
            raise SystemExit("The two ways chose different patches.")
    return rows


def report(rows: Sequence[dict[str, Any]], command: str, n: int, classes: int) -> str:
    """Markdown, without the paths of this machine."""
    machine = description()
    text = (
        f"`{command}`, {machine['date'][:10]}, commit {machine['commit']}. One process on {machine['machine']['cpu']}. "
        f"Each case has {classes * PER_CLASS + REST:,} candidates of {classes} classes and the unstratified part; a query of "
        f"{n} patches by clasp_pe. Both ways chose the same patches. Memory is the peak of the whole process."
    )
    lines = ["| cases | rankings are | seconds | CPU s | memory |", "|---|---|---|---|---|"]
    for row in rows:
        way = "read " + row["way"] if row["way"] == WAYS[0] else row["way"]
        lines.append(f"| {row['cases']} | {way} | {row['seconds']:.0f} | {row['cpu']:.0f} | {row['gb']:.2f} GB |")
    return "\n".join([text, "", *lines])


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measures the merge of the candidates of many cases and classes.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the candidates are, or are written")
    parser.add_argument("-cases", type=int, nargs="+", default=[225, 450, 900], metavar="N", help="(default: %(default)s)")
    parser.add_argument("-n", type=int, default=200, metavar="N", help="patches in the query (default: %(default)s)")
    parser.add_argument("-classes", type=int, default=CLASSES, metavar="N", help="(default: %(default)s)")
    parser.add_argument("-way", choices=WAYS, help="only merge, in this way (for the benchmark itself)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="replace the text between this benchmark's two markers")
    given = parser.parse_args(args)
    if given.way:
        merge(given.folder, given.cases[0], given.way, given.n, given.classes)
        return
    if given.markdown:
        check_markers(given.markdown, MARKS)
    rows = measure(given)
    text = report(rows, command("merging", args, given.folder), given.n, given.classes)
    print(text)
    if given.markdown:
        insert(given.markdown, text, MARKS)


if __name__ == "__main__":
    main()
