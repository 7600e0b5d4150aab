"""Answers how many seeds a benchmark needs, from those of its experiments that are finished; nothing is trained or written."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from nnactive_ext.bench.definition import Benchmark
from nnactive_ext.bench.outcomes import is_complete
from nnactive_ext.bench.runs import runs_of
from nnactive_ext.compare.sample_size import FEWEST_SEEDS, SettingNoise, noise_of
from nnactive_ext.compare.sample_size_text import Question, as_json, as_text, too_few
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment


def seeds_needed(
    benchmark: Benchmark, file: str, differences: Sequence[float], saved: float = 20.0, machine: bool = False
) -> str:
    """How many paired seeds tell differences between the methods of a benchmark.

    Args:
        benchmark: the content of the benchmark file.
        file: the name of that file, for messages.
        differences: differences in points of Dice (percentage points); above 0, at most 100.
        saved: percent of the annotated patches that a method saves; above 0, below 100.
        machine: answer with JSON.

    Returns:
        The answer as text.

    Raises:
        NnActiveError: a number is out of range, or fewer than three seeds are complete for two methods in every setting.
    """
    for value in differences:
        if not (math.isfinite(value) and 0 < value <= 100):
            raise NnActiveError(f"-difference {value:g}: it must be above 0 and at most 100 points of Dice.")
    if not (math.isfinite(saved) and 0 < saved < 100):
        raise NnActiveError(f"-saved {saved:g}: it must be above 0 and below 100 percent of the patches.")
    runs = [run for run in runs_of(benchmark, remember=False) if not run.purpose and is_complete(run)]
    noises = noise_of([Experiment(run.folder).results for run in runs]) if runs else []
    if not any(noise.metrics for noise in noises):
        raise NnActiveError(_refusal(benchmark, file, noises))
    question = Question(len(benchmark.seeds), tuple(dict.fromkeys(differences)), saved / 100)
    if machine:
        return json.dumps({"benchmark": benchmark.name, **as_json(noises, question)}, indent=1, ensure_ascii=False)
    return as_text(noises, question)


def _refusal(benchmark: Benchmark, file: str, noises: Sequence[SettingNoise]) -> str:
    """Why there is no answer, and how a pilot is made."""
    if not noises:
        found = "no experiment with a query method is finished"
    elif any(len(noise.seeds) >= FEWEST_SEEDS for noise in noises):
        return f"{file}: the results of the methods differ by the same in all seeds, so their noise cannot be estimated."
    else:
        found = "; ".join(f"{noise.setting}: {too_few(noise)}" for noise in noises).rstrip(".")
    methods = "" if len(benchmark.methods) > 1 else " Give it at least two methods."
    seeds = f"Give it at least {FEWEST_SEEDS} seeds" if len(benchmark.seeds) < FEWEST_SEEDS else "Run it"
    run = f", and run nnactive_bench {file}" if len(benchmark.seeds) < FEWEST_SEEDS else f": nnactive_bench {file}"
    pilot = "The seeds of this pilot count in the study and are not run again."
    return f"{file}: the noise cannot be estimated ({found}).{methods} {seeds}{run}. {pilot}"
