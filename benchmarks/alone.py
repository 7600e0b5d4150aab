"""One contender in a process of its own: no other's threads, memory or imports are in its way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.design import Point
from benchmarks.inputs import Inputs, load
from benchmarks.measure import best_of, watched

SEED = 0


@dataclass(frozen=True)
class Job:
    """What one process measures, in order, on the inputs in ``folder``; "stages" splits ours into its parts."""

    folder: str
    contender: str
    points: tuple[Point, ...]
    repeats: int
    seconds: float


def run(job: Job) -> list[dict[str, Any]]:
    """A row for each point: see :func:`_timed` and :func:`_stages`."""
    inputs = load(Path(job.folder))
    measure = _stages if job.contender == "stages" else _timed
    return [measure(inputs, point, job) for point in job.points]


def apart(job: Job, **environment: str) -> list[dict[str, Any]]:
    """:func:`run` in a fresh process."""
    return _process(asdict(job), environment)


def first_call(**environment: str) -> float:
    """Seconds from importing the engine to the candidates of a tiny image, in a fresh process."""
    return _process({}, environment)


def _timed(inputs: Inputs, point: Point, job: Job) -> dict[str, Any]:
    """seconds, runs, peak_bytes, found (picks in each stratum).

    The first run is the warm-up and its memory is watched; its time counts only if it is longer than ``job.seconds``.
    """
    from benchmarks.contenders import CONTENDERS

    contender = CONTENDERS[job.contender]
    _prepare(job.contender, point.beta)

    def call():
        return contender.run(inputs, point.size, point.picks, point.beta, SEED)

    chosen, seconds, peak = watched(call)
    runs = 1
    if seconds < job.seconds:
        seconds, runs = best_of(call, job.repeats, job.seconds)
    return {"seconds": seconds, "runs": runs, "peak_bytes": peak, "found": [len(starts) for starts in chosen]}


def _stages(inputs: Inputs, point: Point, job: Job) -> dict[str, Any]:
    """Seconds of one copy of the map, and of the parts of the engine; weighted_mean is that of a class's map."""
    from nnactive_ext.engine import box_means, select

    _prepare("ours", point.beta)
    size = point.size
    scores = box_means(inputs.entropy, size)
    kept, target = scores.copy(), inputs.entropy.copy()

    def choose():
        rng = np.random.default_rng(SEED)
        select(scores, size, point.picks, beta=point.beta, rng=rng, overwrite_scores=True)

    def shortest(call, before=lambda: None):
        return best_of(call, job.repeats, job.seconds, before)[0]

    return {
        "copy": shortest(lambda: np.copyto(target, inputs.entropy)),
        "mean": shortest(lambda: box_means(inputs.entropy, size)),
        "weighted_mean": shortest(lambda: box_means(inputs.entropy, size, inputs.mean[1])),
        "select": shortest(choose, lambda: np.copyto(scores, kept)),
    }


def _prepare(contender: str, beta: float | None) -> None:
    """Import, compile and load what the contender needs, on an image of 16 x 16 x 16."""
    from benchmarks.contenders import CONTENDERS

    p = np.random.default_rng(SEED).random((16, 16, 16), dtype=np.float32)
    CONTENDERS[contender].run(Inputs(np.stack([1 - p, p]), p), (8, 8, 8), 2, beta, SEED)


def _process(job: dict[str, Any], environment: dict[str, str]) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.alone"],
        cwd=Path(__file__).resolve().parent.parent,
        env={**os.environ, **environment},
        input=json.dumps(job),
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the process that measured {job} ended with status {done.returncode}; its messages are above")
    return json.loads(done.stdout.splitlines()[-1])


def _main() -> None:
    job = json.load(sys.stdin)
    if job:
        points = tuple(Point(**{**point, "shape": tuple(point["shape"])}) for point in job["points"])
        answer: Any = run(Job(**{**job, "points": points}))
    else:
        start = perf_counter()
        _prepare("ours", 1.0)
        answer = perf_counter() - start
    print(json.dumps(answer))


if __name__ == "__main__":
    _main()
