"""What it costs to choose 500 of 10,000 descriptors: seconds and peak memory of every selection.

    python -m benchmarks.selection

Each selection runs in a process of its own, which makes the descriptors, imports everything and then chooses once.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from benchmarks.machine import description
from benchmarks.measure import watched
from benchmarks.report import check_markers, insert
from nnactive_ext.selection import (
    k_center,
    k_means_plus_plus,
    largest,
    probcover,
    searched_steepness,
    sisom_ratios,
    typiclust,
    weighted_activations,
)

MARKS = ("<!-- benchmarks.selection: begin -->", "<!-- benchmarks.selection: end -->")
SECONDS, GIGABYTES = 15.0, 0.3
CLASSES = 4
LAYERS = 4


@dataclass(frozen=True)
class Given:
    """Descriptors in overlapping groups, one per class, float32, and the classes."""

    candidates: np.ndarray
    annotated: np.ndarray
    own: np.ndarray
    known: np.ndarray
    n: int

    @classmethod
    def made(cls, candidates: int, annotated: int, dimensions: int, n: int) -> Given:
        rng = np.random.default_rng(0)
        classes = rng.integers(0, CLASSES, candidates + annotated)
        vectors = rng.standard_normal((len(classes), dimensions), dtype=np.float32)
        vectors += rng.standard_normal((CLASSES, dimensions), dtype=np.float32)[classes]
        return cls(vectors[:candidates], vectors[candidates:], classes[:candidates], classes[candidates:], n)


def _probcover(x: Given, rng: np.random.Generator) -> np.ndarray:
    return probcover(x.candidates, x.annotated, x.n, rng, candidate_class=x.own, annotated_class=x.known, classes=CLASSES - 1)


def _sisom(x: Given, rng: np.random.Generator) -> np.ndarray:
    ratios = sisom_ratios(x.candidates, x.annotated, x.own, x.known)
    return largest(ratios.r, ratios, np.zeros(len(x.own)), x.n)


def _sisom_search(x: Given, rng: np.random.Generator) -> np.ndarray:
    cuts = np.linspace(0, x.annotated.shape[1], LAYERS + 1).astype(int)
    layers = [slice(a, b) for a, b in pairwise(cuts)]
    steepness = searched_steepness([x.annotated[:, part] for part in layers], x.known)
    u, bank = (weighted_activations([v[:, part] for part in layers], steepness) for v in (x.candidates, x.annotated))
    return _sisom(Given(u, bank, x.own, x.known, x.n), rng)


SELECTIONS: dict[str, Callable[[Given, np.random.Generator], np.ndarray]] = {
    "k-center (coreset, kmeans_bald)": lambda x, rng: k_center(x.candidates, x.annotated, x.n, rng),
    "k-means++ (badge)": lambda x, rng: k_means_plus_plus(x.candidates, x.n, rng),
    "typiclust": lambda x, rng: typiclust(x.candidates, x.annotated, x.n, rng),
    "probcover": _probcover,
    "sisom": _sisom,
    "sisom, steepness=search": _sisom_search,
}


def measure(name: str, sizes: tuple[int, int, int, int]) -> dict[str, Any]:
    """The cost of one selection, in this process."""
    import sklearn.cluster  # noqa: F401, or its import would be measured

    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        SELECTIONS[name](Given.made(300, 100, 8, 20), rng)  # warm up
        given = Given.made(*sizes)
        begin = process_time()
        chosen, seconds, memory = watched(lambda: SELECTIONS[name](given, rng))
    return {
        "name": name,
        "chosen": len(set(chosen.tolist())),
        "processor_seconds": process_time() - begin,
        "seconds": seconds,
        "memory_bytes": memory,
    }


def measure_apart(name: str, sizes: tuple[int, int, int, int]) -> dict[str, Any]:
    """:func:`measure` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.selection", "--one", name, "-sizes", *map(str, sizes)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def report(command: str, sizes: tuple[int, int, int, int], rows: list[dict[str, Any]]) -> str:
    """The table, and whether the goal is met."""
    about = description()
    candidates, annotated, dimensions, n = sizes
    lines = ["| selection | processor s | s on the clock | peak, GB |", "|---|---|---|---|"]
    for row in rows:
        memory = "unknown" if row["memory_bytes"] is None else f"{row['memory_bytes'] / 1e9:.2f}"
        lines.append(f"| {row['name']} | {row['processor_seconds']:.1f} | {row['seconds']:.1f} | {memory} |")
    met = all(
        row["processor_seconds"] <= SECONDS and (row["memory_bytes"] is None or row["memory_bytes"] <= GIGABYTES * 1e9)
        for row in rows
    )
    return (
        f"`{command}`, {about['date'][:10]}, commit {about['commit'] or 'unknown'}. {about['machine']['cores']} cores of "
        f"{about['machine']['cpu']}. {n} of {candidates} candidates, {annotated} annotated patches, {dimensions} dimensions."
        "\n\n" + "\n".join(lines) + f"\n\nThe goal, at most {SECONDS:g} processor seconds and {GIGABYTES:g} GB, is "
        f"{'met' if met else '**not** met'}."
    )


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measures what it costs to choose among descriptors.")
    parser.add_argument(
        "-sizes",
        type=int,
        nargs=4,
        default=(10000, 2000, 320, 500),
        metavar=("N", "M", "D", "PICKS"),
        help="(default: %(default)s)",
    )
    parser.add_argument("--one", choices=SELECTIONS, metavar="NAME", help="measure one selection and print JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="replace the text between this benchmark's two markers")
    options = parser.parse_args(args)
    sizes = tuple(options.sizes)
    if options.one:
        print(json.dumps(measure(options.one, sizes)))
        return
    if options.markdown:
        check_markers(options.markdown, MARKS)
    rows = [measure_apart(name, sizes) for name in SELECTIONS]
    text = report(shlex.join(["python", "-m", "benchmarks.selection", *(sys.argv[1:] if args is None else args)]), sizes, rows)
    print(text)
    if options.markdown:
        insert(options.markdown, text, MARKS)


if __name__ == "__main__":
    main()
