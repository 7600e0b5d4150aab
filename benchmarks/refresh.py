"""Times a refresh of k relabelled cases against preprocessing all of them, and compares the files it leaves.

    python -m benchmarks.refresh [--dataset FOLDER] [--json FILE] [--markdown FILE]

An experiment is planned with the CPU preset, on made-up scans or on any labelled nnU-Net dataset. Then, again and again,
k random cases get new partial labels, and the time of making them ready for training is taken.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

BEGIN, END = "<!-- benchmarks.refresh: begin -->", "<!-- benchmarks.refresh: end -->"
LABELS = {"full": "all cases anew, `preprocess`", "nnunet": "all cases anew, nnU-Net's `run_case_save`"}


def powers(pool: int) -> list[int]:
    """1, 2, 4 ... up to and with ``pool``."""
    return [*(1 << i for i in range(pool.bit_length()) if 1 << i < pool), pool]


def measure(relabelled: Any, repeats: int) -> list[dict[str, Any]]:
    """A row for each k, and for each way to do all: what, cases, seconds of each run.

    Each round runs everything once in a new order, so that whatever else the machine does meets all alike. The first
    round warms up and does not count.
    """
    pool, draw = relabelled.pool, relabelled.draw
    rows = [{"what": "refresh", "cases": k, "seconds": []} for k in powers(len(pool))]
    rows += [{"what": what, "cases": len(pool), "seconds": []} for what in LABELS]
    for number in range(repeats + 1):
        for row in draw.sample(rows, len(rows)):
            call: Callable[[], None]
            if row["what"] == "refresh":
                cases = draw.sample(pool, row["cases"])
                relabelled.relabel(cases)
                call = partial(relabelled.refresh, cases)
            else:
                relabelled.empty()
                call = getattr(relabelled, row["what"])
            begin = perf_counter()
            call()
            if number:
                row["seconds"].append(perf_counter() - begin)
        print(f"round {number} of {repeats}", file=sys.stderr, flush=True)
    return rows


def fit(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """seconds = a + b k by least squares over the medians, and R^2, the share of their variance that it explains."""
    refreshed = [row for row in rows if row["what"] == "refresh"]
    times = [statistics.median(row["seconds"]) for row in refreshed]
    line = statistics.linear_regression([row["cases"] for row in refreshed], times)
    left = [time - line.intercept - line.slope * row["cases"] for row, time in zip(refreshed, times, strict=True)]
    mean = statistics.fmean(times)
    r2 = 1 - sum(value**2 for value in left) / sum((time - mean) ** 2 for time in times)
    return {"a": line.intercept, "b": line.slope, "r2": r2, "largest_residual": max(map(abs, left))}


def markdown(answer: dict[str, Any]) -> str:
    rows, line, pool = answer["rows"], answer["fit"], answer["pool"]
    full = next(statistics.median(row["seconds"]) for row in rows if row["what"] == "full")
    table = [
        "| | cases | median s | fastest to slowest s | s per case | a + b k | times faster than all anew |",
        "|" + " --- |" * 7,
    ]
    for row in rows:
        seconds, k = statistics.median(row["seconds"]), row["cases"]
        name, fitted = LABELS.get(row["what"], "refresh"), "–"
        if row["what"] == "refresh":
            fitted = f"{line['a'] + line['b'] * k:.3f}"
        spread = f"{min(row['seconds']):.3f} to {max(row['seconds']):.3f}"
        times = f"{seconds:.3f} | {spread} | {seconds / k:.4f} | {fitted} | {full / seconds:.1f}"
        table.append(f"| {name} | {k} | {times} |")
    machine, load = answer["machine"], " and ".join(f"{value:.1f}" for value in answer["load"])
    equal = (
        f"After the last round every file of the {pool} cases equals that of a full preprocessing into an empty folder, bit "
        "for bit (images, labels, all properties with `class_locations`, `gt_segmentations`); labels and `class_locations` "
        "equal nnU-Net's own."
    )
    if answer["differences"]:
        equal = f"**Not equal to a full preprocessing**: {', '.join(answer['differences'])}."
    return (
        f"`{answer['command']}`, {answer['date'][:10]}, commit {answer['commit'] or 'unknown'}. {machine['cores']} cores of "
        f"{machine['cpu']}; python {answer['versions']['python']}, numpy {answer['versions']['numpy']}. "
        f"{answer['dataset']}, a pool of {pool} cases of {answer['voxels']:,.0f} voxels (mean); medians of {answer['repeats']} "
        f"runs in turn; one process. Load average before and after (this run is about 1 of it): {load or 'unknown'}.\n\n"
        + "\n".join(table)
        + f"\n\nseconds = a + b k with a = {1000 * line['a']:.1f} ms and b = {1000 * line['b']:.1f} ms a case; R² = "
        f"{line['r2']:.4f}, largest residual {1000 * line['largest_residual']:.1f} ms.\n\n{equal}\n"
    )


def insert(page: Path, text: str | None) -> None:
    """Put ``text`` between this benchmark's markers; with None, only see that they are there."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} needs the lines {BEGIN!r} and {END!r}, in this order; the numbers go between them")
    if text is not None:
        page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")


def benchmark(dataset: str | None, pool: int, repeats: int, seed: int, folder: Path) -> dict[str, Any]:
    """Everything that goes into the JSON file; the nnU-Net folders are made in ``folder``."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "others"):
        (folder / name).mkdir(exist_ok=True)
        if name.startswith("nnUNet"):
            os.environ[name] = str(folder / name)
    from benchmarks import machine  # only now: nnU-Net reads its folders when it is imported
    from benchmarks.relabelling import Relabelled, prepare

    experiment = prepare(dataset, pool, seed)
    relabelled = Relabelled(experiment, random.Random(seed), folder / "others")
    shapes = [geometry.shape for geometry in experiment.plan.pool.values()]
    before = _load()
    rows = measure(relabelled, repeats)
    return {
        **machine.description(),
        "benchmark": "refresh",
        "dataset": Path(dataset).name if dataset else f"{len(experiment.source.cases)} made-up scans",
        "pool": len(shapes),
        "voxels": statistics.fmean(z * y * x for z, y, x in shapes),
        "repeats": repeats,
        "load": [*before, *_load()],
        "rows": rows,
        "fit": fit(rows),
        "differences": relabelled.differences(),
    }


def _load() -> list[float]:
    """Of the last minute; nothing on Windows."""
    return [os.getloadavg()[0]] if hasattr(os, "getloadavg") else []


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refresh", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--dataset", metavar="FOLDER", help="a labelled nnU-Net dataset (default: made-up scans)")
    parser.add_argument("--pool", type=int, default=32, metavar="N", help="made-up cases in the pool (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=9, metavar="N", help="runs of each (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of scans, cases and patches (default: %(default)s)")
    parser.add_argument("--folder", help="where everything is written, and removed at the end (default: temporary folder)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="replace the text between this benchmark's two markers")
    options = parser.parse_args(args)
    if options.markdown:
        insert(options.markdown, None)  # before the work, not after
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="benchmark-") as folder:
        answer = benchmark(options.dataset, options.pool, options.repeats, options.seed, Path(folder))
    answer["command"] = shlex.join(["python", "-m", "benchmarks.refresh", *(sys.argv[1:] if args is None else args)])
    text = markdown(answer)
    print(text)
    if options.json:
        options.json.write_text(json.dumps(answer, indent=1) + "\n", encoding="utf-8")
    if options.markdown:
        insert(options.markdown, text)


if __name__ == "__main__":
    main()
