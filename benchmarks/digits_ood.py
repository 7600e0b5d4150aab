"""What scores of strange images are worth on scikit-learn's digits, and how far verdicts help to ask for relevant ones.

    python -m benchmarks.digits_ood

Digits take the place of cases. Seven classes are known; strangers are the other three, and altered or empty images. The scores
are those of nnactive_ext.ood and nnactive_ext.selection; AbeT and the rounds are in digits_abet.py and digits_open_set.py.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import digits_abet, digits_open_set
from benchmarks.digits import Digits, Network, table
from benchmarks.machine import description
from benchmarks.report import check_markers, insert
from nnactive_ext.members.quantiles import quantiles
from nnactive_ext.metrics import auroc
from nnactive_ext.ood import (
    Gaussian,
    energy,
    entropy,
    histogram_scores,
    knn_distances,
    mahalanobis_squared,
    max_logit,
    msp,
    tanl,
)
from nnactive_ext.selection import (
    Ratios,
    automatic_steepness,
    normalised,
    sisom_ratios,
    sisome_score,
    weighted_activations,
)
from nnactive_ext.selection.sisom import Origin

MARKS = ("<!-- benchmarks.digits_ood: begin -->", "<!-- benchmarks.digits_ood: end -->")
KNOWN = 7
NOISE = 300
STRANGERS = ("near", "noise", "inverted", "blank", "dimmed")
SHARES = (0.05, 0.2, 0.4)
CENTRES, BETA = 50, 10
PAIRS = (("energy", "msp"), ("sisome", "sisom"), ("knn", "energy"), ("sisom", "sisom, from the candidate"))


@dataclass(frozen=True)
class Known:
    """A network that knows seven classes, and what it says about every image; ``parts``: name -> rows of ``digits.x``."""

    digits: Digits
    network: Network
    parts: dict[str, np.ndarray]

    @classmethod
    def drawn(cls, seed: int, classes: Sequence[int] = ()) -> Known:
        """Two thirds of the known classes (default: seven drawn) are for training, a third is what strangers are told from."""
        every = Digits.split(seed)
        x, y = np.concatenate([every.x, every.test_x]), np.concatenate([every.y, every.test_y])
        rng = np.random.default_rng([seed, 7])
        inside = np.isin(y, classes or rng.permutation(10)[:KNOWN])
        own, n = np.flatnonzero(inside), 2 * inside.sum() // 3
        test = x[own[n:]]
        images = {
            "train": x[own[:n]],
            "inside": test,
            "near": x[~inside],
            "noise": rng.random((NOISE, x.shape[1]), np.float32),
            "inverted": 1 - test,
            "blank": np.zeros_like(test[:1]),
            "dimmed": 0.3 * test,
        }
        ends = np.cumsum([len(part) for part in images.values()])
        parts = {name: np.arange(end - len(part), end) for end, (name, part) in zip(ends, images.items(), strict=True)}
        digits = Digits(np.concatenate(list(images.values())), y[own[:n]], test, y[own[n:]])
        return cls(digits, Network(digits, parts["train"], seed), parts)

    @cached_property
    def steep(self) -> np.ndarray:
        """The vectors of SISOM."""
        layers = (self.network.h1, self.network.h2)
        products = [h * g for h, g in zip(layers, self.network.gradients, strict=True)]
        return weighted_activations(products, automatic_steepness([p[self.parts["train"]] for p in products]))

    @cached_property
    def ratios(self) -> Ratios:
        """From the neighbour, as screening takes them."""
        return self.compared("neighbour")

    def compared(self, origin: Origin) -> Ratios:
        return sisom_ratios(self.steep, self.steep[self.parts["train"]], self.network.predicted, self.digits.y, origin=origin)


def _unit(k: Known) -> np.ndarray:
    return knn_distances(*normalised(k.network.h2, k.network.h2[k.parts["train"]], "unit"))


def _all_components(k: Known) -> np.ndarray:
    return mahalanobis_squared(k.network.h2, k.network.h2[k.parts["train"]], components=k.network.h2.shape[1])


def _histogram(k: Known) -> np.ndarray:
    return histogram_scores(quantiles(k.digits.x)[:, None], np.arange(len(k.digits.x)) < len(k.parts["train"]))


def _sisome(k: Known) -> np.ndarray:
    e = energy(k.network.logits.T)
    return sisome_score(k.ratios, e, e[k.parts["train"]])


SCORES: dict[str, Callable[[Known], np.ndarray]] = {
    "msp": lambda k: msp(k.network.p.T),
    "entropy": lambda k: entropy(k.network.p.T),
    "maxlogit": lambda k: max_logit(k.network.logits.T),
    "energy": lambda k: energy(k.network.logits.T),
    "knn": lambda k: knn_distances(k.network.h2, k.network.h2[k.parts["train"]]),
    "knn, unit length": _unit,
    "mahalanobis": lambda k: mahalanobis_squared(k.network.h2, k.network.h2[k.parts["train"]]),
    "mahalanobis, all components": _all_components,
    "sisom": lambda k: k.ratios.r,
    "sisom, from the candidate": lambda k: k.compared("query").r,
    "sisome": _sisome,
    "histogram": _histogram,
}


def scores(k: Known) -> np.ndarray:
    """AUROC in % (scores, kinds of strangers); strangers are the positive class."""
    found = np.empty((len(SCORES), len(STRANGERS)))
    for row, score in enumerate(SCORES.values()):
        values = score(k)
        for column, kind in enumerate(STRANGERS):
            found[row, column] = 100 * auroc(values[k.parts[kind]].tolist(), values[k.parts["inside"]].tolist())
    return found


def labels_without_words(k: Known, seed: int) -> np.ndarray:
    """AUROC in % (3, shares): TANL, all negatives, and kNN, on a pool that holds a share of unseen classes.

    Nobody has words for digits: class means of the features are the texts, and k-means centres of the pool the corpus.
    """
    from sklearn.cluster import KMeans

    rng, unit = np.random.default_rng([seed, 8]), normalised(k.network.h2, k.network.h2[:0], "unit")[0]
    train, inside = unit[k.parts["train"]], k.parts["inside"]
    texts = np.stack([train[k.digits.y == digit].mean(0) for digit in np.unique(k.digits.y)])
    found = np.empty((3, len(SHARES)))
    for column, share in enumerate(SHARES):
        number = min(len(k.parts["near"]), round(share / (1 - share) * len(inside)))
        pool = np.concatenate([inside, rng.choice(k.parts["near"], number, replace=False)])
        centres = KMeans(CENTRES, n_init=1, random_state=seed).fit(unit[pool]).cluster_centers_
        relevant, corpus = (unit[pool] @ (v / np.linalg.norm(v, axis=1, keepdims=True)).T for v in (texts, centres))
        every = -activated(relevant, corpus)
        judged = (
            tanl(relevant, corpus, beta=BETA).score,
            every,
            knn_distances(k.network.h2[pool], k.network.h2[k.parts["train"]]),
        )
        found[:, column] = [100 * auroc(v[len(inside) :].tolist(), v[: len(inside)].tolist()) for v in judged]
    return found


def activated(relevant: np.ndarray, corpus: np.ndarray) -> np.ndarray:
    """The share of texts among texts and all negatives: step 1 of TANL."""
    from scipy.special import softmax

    return softmax(100 * np.concatenate([relevant, corpus], axis=1), axis=1)[:, : relevant.shape[1]].sum(1)


@dataclass(frozen=True)
class Measured:
    """``auroc`` (seeds, scores, strangers), ``words`` (seeds, 3, shares), ``facts`` (seeds, 3): accuracy, r_avg and
    Mahalanobis' components; AbeT's table (seeds, 2, steps, 2); relevant digits by way, (seeds, rounds)."""

    auroc: np.ndarray
    words: np.ndarray
    facts: np.ndarray
    abet: np.ndarray
    rounds: dict[str, np.ndarray]
    similarity: float


def measure(seeds: int, classes: Sequence[int] = ()) -> Measured:
    known: list[tuple[object, ...]] = []
    for seed in range(seeds):
        k = Known.drawn(seed, classes)
        abet = digits_abet.learning(k, seed)
        components = len(Gaussian.fitted(k.network.h2[k.parts["train"]]).variances)
        facts = k.network.accuracy, k.ratios.average, components
        known.append((scores(k), labels_without_words(k, seed), facts, abet))
        print(f"seed {seed} of {seeds}", file=sys.stderr, flush=True)
    found = [np.array(column) for column in zip(*known, strict=True)]
    rounds, similarity = digits_open_set.rounds(seeds)
    return Measured(*found, rounds=rounds, similarity=similarity)


def _cells(values: np.ndarray, digits: int = 1) -> list[str]:
    return [f"{value:.{digits}f}" for value in values]


def _paired(m: Measured, name: str, other: str) -> str:
    """The mean difference of two scores' AUROC for unseen classes, and its standard error."""
    column, rows = STRANGERS.index("near"), list(SCORES)
    difference = m.auroc[:, rows.index(name), column] - m.auroc[:, rows.index(other), column]
    error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else np.nan
    return f"{name} - {other} {difference.mean():+.1f} ({error:.1f})"


def report(command: str, m: Measured) -> str:
    about = description()
    machine = about["machine"]
    accuracy, average, components = m.facts.mean(0)
    kinds = [[name, *_cells(row)] for name, row in zip(SCORES, m.auroc.mean(0), strict=True)]
    words = [[name, *_cells(row)] for name, row in zip(("tanl", "all negatives", "knn"), m.words.mean(0), strict=True)]
    learning = []
    for row, name in enumerate(("energy of AbeT", "energy")):
        learning.append([f"{name}: AUROC of unseen classes", *_cells(m.abet[:, row, :, 0].mean(0))])
        learning.append([f"{name}: training accuracy", *_cells(m.abet[:, row, :, 1].mean(0))])
    asked = digits_open_set.ASKED
    ways = [[name, *_cells(found.mean(0) / asked, 2), f"{found.sum(1).mean():.0f}"] for name, found in m.rounds.items()]
    return "\n\n".join(
        [
            f"`{command}`, {about['date'][:10]}, commit {about['commit'] or 'unknown'}. {machine['cores']} cores of "
            f"{machine['cpu']}. {len(m.auroc)} seeds; the network is right on {accuracy:.1f} % of the known classes, r_avg of "
            f"SISOM is {average:.3f}, and `mahalanobis` keeps {components:.1f} components.",
            "AUROC in %, strangers against unseen images of the known classes:",
            table(["score", *STRANGERS], kinds),
            f"Paired differences for unseen classes (standard error): {'; '.join(_paired(m, *pair) for pair in PAIRS)}.",
            "The same for unseen classes after some steps of training, with AbeT's last layer and with the plain one, in %:",
            table(["", *(f"{n} steps" for n in digits_abet.STEPS)], learning),
            "The same for unseen classes in a pool that holds a share of them, without words (texts are class means, negatives "
            f"are {CENTRES} k-means centres of the pool):",
            table(["score", *(f"{share:.0%}" for share in SHARES)], words),
            f"Rounds of {asked} questions; {digits_open_set.RELEVANT} of ten digits are relevant, and the similarity to texts "
            f"has an AUROC of {m.similarity:.2f}. Precision of each round, and relevant digits found in all:",
            table(["way", *(str(n + 1) for n in range(digits_open_set.ROUNDS)), "found"], ways),
        ]
    )


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measures scores of strange images on scikit-learn's digits.")
    parser.add_argument("-seeds", type=int, default=10, metavar="N", help="(default: %(default)s)")
    parser.add_argument("-known", type=int, nargs="+", default=(), metavar="D", help="the known digits (default: seven drawn)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="replace the text between this benchmark's two markers")
    options = parser.parse_args(args)
    if options.known and not (1 < len(set(options.known)) < 10 and set(options.known) <= set(range(10))):
        parser.error("-known: give two to nine of the digits 0 to 9; the others are the unseen classes.")
    if options.markdown:
        check_markers(options.markdown, MARKS)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # trainings that stop early
        measured = measure(options.seeds, options.known)
    text = report(shlex.join(["python", "-m", "benchmarks.digits_ood", *(sys.argv[1:] if args is None else args)]), measured)
    print(text)
    if options.markdown:
        insert(options.markdown, text, MARKS)


if __name__ == "__main__":
    main()
