"""What the selections are worth on scikit-learn's digits: the first labels, and five rounds with a small network.

    python -m benchmarks.digits

Vectors take the place of patches, and the selections are those of the query methods (nnactive_ext.selection).
"""

from __future__ import annotations

import argparse
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import entr
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from benchmarks.machine import description
from benchmarks.report import check_markers, insert
from nnactive_ext.selection import (
    automatic_steepness,
    k_center,
    k_means_plus_plus,
    largest,
    normalised,
    probcover,
    sisom_ratios,
    sisome_score,
    typiclust,
    weighted_activations,
)

MARKS = ("<!-- benchmarks.digits: begin -->", "<!-- benchmarks.digits: end -->")
TEST = 600
FIRST = (10, 20, 50, 100)
START, QUERY = 20, 20
CLASSES = 10


@dataclass(frozen=True)
class Digits:
    """Pixels in 0 .. 1 and digits, of the pool and of the test set."""

    x: np.ndarray
    y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray

    @classmethod
    def split(cls, seed: int) -> Digits:
        x, y = load_digits(return_X_y=True)
        order = np.random.default_rng(seed).permutation(len(x))
        x, y = (x[order] / 16).astype(np.float32), y[order]
        return cls(x[TEST:], y[TEST:], x[:TEST], y[:TEST])


class Network:
    """A perceptron with two hidden layers, trained on the labelled digits; what it says about given ones."""

    def __init__(self, data: Digits, labelled: np.ndarray, seed: int):
        self.model = MLPClassifier((64, 32), learning_rate_init=3e-3, max_iter=200, random_state=seed)
        self.model.fit(data.x[labelled], data.y[labelled])
        self.accuracy = 100 * float(self.model.score(data.test_x, data.test_y))
        w, b = self.model.coefs_, self.model.intercepts_
        self.h1 = np.maximum(data.x @ w[0] + b[0], 0)
        self.h2 = np.maximum(self.h1 @ w[1] + b[1], 0)
        self.logits = logits = self.h2 @ w[2] + b[2]
        shifted = np.exp(logits - logits.max(1, keepdims=True))
        self.p = shifted / shifted.sum(1, keepdims=True)
        self.energy = -np.log(shifted.sum(1)) - logits.max(1)
        self.entropy = entr(self.p).sum(1)
        self.predicted = self.model.classes_[self.p.argmax(1)]
        g2 = (self.p - 1 / self.p.shape[1]) @ w[2].T  # of KL(u || p), by hand
        g1 = (g2 * (self.h2 > 0)) @ w[1].T
        self.gradients = (g1, g2)

    def badge(self) -> np.ndarray:
        """The gradient of the last layer for each digit, (N, classes x 32): badge_gradient of one voxel, all at once."""
        residual = self.p - np.eye(self.p.shape[1])[self.p.argmax(1)]
        return (residual[:, :, None] * self.h2[:, None, :]).reshape(len(self.p), -1)


@dataclass(frozen=True)
class Round:
    """One query: the network, the indices that are free and labelled, and the digits of the labelled."""

    network: Network
    free: np.ndarray
    labelled: np.ndarray
    known: np.ndarray
    rng: np.random.Generator

    def features(self, how: str) -> tuple[np.ndarray, np.ndarray]:
        return normalised(self.network.h2[self.free], self.network.h2[self.labelled], how)  # type: ignore[arg-type]


def _uncertain_k_center(q: Round) -> np.ndarray:
    most = np.argsort(-q.network.entropy[q.free], kind="stable")[: 4 * QUERY]
    u, annotated = q.features("standard")
    return most[k_center(u[most], annotated, QUERY, q.rng)]


def _probcover(q: Round) -> np.ndarray:
    own = q.network.predicted[q.free]
    u, annotated = q.features("unit")
    return probcover(u, annotated, QUERY, q.rng, candidate_class=own, annotated_class=q.known, classes=CLASSES - 1)


def _sisom(q: Round, origin: str = "query", weighted: bool = True, energy: bool = False) -> np.ndarray:
    network = q.network
    layers = (network.h1, network.h2)
    products = [h * g for h, g in zip(layers, network.gradients, strict=True)] if weighted else list(layers)
    steepness = automatic_steepness([p[q.labelled] for p in products])
    z = weighted_activations(products, steepness)
    own = network.predicted[q.free]
    ratios = sisom_ratios(z[q.free], z[q.labelled], own, q.known, origin=origin)  # type: ignore[arg-type]
    score = sisome_score(ratios, network.energy[q.free], network.energy[q.labelled]) if energy else ratios.r
    return largest(score, ratios, network.entropy[q.free], QUERY)


METHODS: dict[str, Callable[[Round], np.ndarray]] = {
    "random": lambda q: q.rng.choice(len(q.free), QUERY, replace=False),
    "entropy": lambda q: np.argsort(-q.network.entropy[q.free], kind="stable")[:QUERY],
    "coreset": lambda q: k_center(*q.features("none"), QUERY, q.rng),
    "badge": lambda q: k_means_plus_plus(q.network.badge()[q.free], QUERY, q.rng),
    "kmeans_bald (entropy for BALD)": _uncertain_k_center,
    "typiclust": lambda q: typiclust(*q.features("unit"), QUERY, q.rng),
    "probcover": _probcover,
    "sisom": _sisom,
    "sisom from=neighbour": lambda q: _sisom(q, origin="neighbour"),
    "sisom without gradients": lambda q: _sisom(q, weighted=False),
    "sisome": lambda q: _sisom(q, energy=True),
}


def _first(name: str, data: Digits, n: int, rng: np.random.Generator) -> np.ndarray:
    """The first ``n`` labels, from the pixels alone."""
    x, unit = data.x, normalised(data.x, data.x[:0], "unit")
    if name == "typiclust":
        return typiclust(*unit, n, rng)
    if name == "coreset":
        return k_center(x, x[:0], n, rng)
    if name == "probcover":
        zero, none = np.zeros(len(x), int), np.zeros(0, int)
        return probcover(*unit, n, rng, candidate_class=zero, annotated_class=none, classes=CLASSES - 1)
    return rng.choice(len(x), n, replace=False)


def cold_start(seeds: int, sizes: Sequence[int] = FIRST) -> dict[str, np.ndarray]:
    """Per selection: accuracy in % (seeds, sizes) of a logistic regression on the first labels."""
    found = {name: np.empty((seeds, len(sizes))) for name in ("random", "coreset", "typiclust", "probcover")}
    for seed in range(seeds):
        data = Digits.split(seed)
        for name, accuracies in found.items():
            for k, n in enumerate(sizes):
                chosen = _first(name, data, n, np.random.default_rng([seed, n]))
                model = LogisticRegression(max_iter=500).fit(data.x[chosen], data.y[chosen])
                accuracies[seed, k] = 100 * model.score(data.test_x, data.test_y)
    return found


def rounds(seeds: int, queries: int) -> dict[str, np.ndarray]:
    """Per method: accuracy in % (seeds, queries + 1) of the network after each query; all start from the same labels."""
    found = {name: np.empty((seeds, queries + 1)) for name in METHODS}
    for seed in range(seeds):
        data = Digits.split(seed)
        start = np.random.default_rng([seed, 1]).choice(len(data.x), START, replace=False)
        first = Network(data, start, seed)
        for name, accuracies in found.items():
            labelled, network, rng = start, first, np.random.default_rng([seed, 2])
            accuracies[seed, 0] = network.accuracy
            for k in range(queries):
                free = np.setdiff1d(np.arange(len(data.x)), labelled)
                query = Round(network, free, labelled, data.y[labelled], rng)
                labelled = np.concatenate([labelled, free[METHODS[name](query)]])
                network = Network(data, labelled, seed)
                accuracies[seed, k + 1] = network.accuracy
    return found


def area(accuracies: np.ndarray) -> np.ndarray:
    """Area under each curve (seeds, queries + 1) over its width: in %."""
    return (accuracies[:, 1:] + accuracies[:, :-1]).mean(1) / 2


def _paired(curves: dict[str, np.ndarray], name: str, other: str) -> str:
    """The mean difference of the areas of two methods over seeds, and its standard error."""
    difference = area(curves[name]) - area(curves[other])
    error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else np.nan
    return f"{difference.mean():+.2f} ({error:.2f})"


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))


def report(command: str, cold: dict[str, np.ndarray], curves: dict[str, np.ndarray]) -> str:
    about = description()
    seeds, queries = len(cold["random"]), curves["random"].shape[1] - 1
    first = [[name, *(f"{a:.0f}" for a in accuracies.mean(0))] for name, accuracies in cold.items()]
    lines = []
    for name, accuracies in curves.items():
        gain = "" if name == "random" else _paired(curves, name, "random")
        lines.append([name, *(f"{a:.1f}" for a in accuracies.mean(0)), f"{area(accuracies).mean():.2f}", gain])
    lines = [lines[0], *sorted(lines[1:], key=lambda line: -float(line[-2]))]
    return "\n\n".join(
        [
            f"`{command}`, {about['date'][:10]}, commit {about['commit'] or 'unknown'}. {seeds} seeds; accuracy in %.",
            "The first labels, chosen from the pixels; accuracy of a logistic regression:",
            table(["selection", *(f"{n} labels" for n in FIRST)], first),
            f"{queries} queries of {QUERY} after {START} random labels; accuracy of the network, area under the curve, and its "
            "paired difference to random (standard error):",
            table(["method", *map(str, range(START, START + QUERY * queries + 1, QUERY)), "area", "difference"], lines),
            f"The same difference of sisom to sisom without gradients: {_paired(curves, 'sisom', 'sisom without gradients')}; "
            f"to entropy: {_paired(curves, 'sisom', 'entropy')}.",
        ]
    )


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Compares the selections on scikit-learn's digits.")
    parser.add_argument("-seeds", type=int, default=20, metavar="N", help="(default: %(default)s)")
    parser.add_argument("-queries", type=int, default=5, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="replace the text between this benchmark's two markers")
    options = parser.parse_args(args)
    if options.markdown:
        check_markers(options.markdown, MARKS)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # trainings that stop early, and what selections say about few labels
        cold, curves = cold_start(options.seeds), rounds(options.seeds, options.queries)
    text = report(shlex.join(["python", "-m", "benchmarks.digits", *(sys.argv[1:] if args is None else args)]), cold, curves)
    print(text)
    if options.markdown:
        insert(options.markdown, text, MARKS)


if __name__ == "__main__":
    main()
