"""What a benchmark will cost, and what of it is done: trainings, hours, gigabytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnactive_ext.bench.definition import Benchmark
from nnactive_ext.bench.outcomes import exists
from nnactive_ext.bench.runs import Run, starts_of
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.result import result_file
from nnactive_ext.experiment.timing import read_times
from nnactive_ext.pages.terminal import paragraph, table
from nnactive_ext.planning.ensembles import decided_folds


@dataclass(frozen=True)
class Estimate:
    """Of all experiments of a benchmark; ``cycles`` count those that are trained, so a shared cycle 0 counts once."""

    experiments: int
    complete: int
    cycles: int
    done: int
    trainings_per_cycle: int
    seconds_per_cycle: float | None
    """All steps of a cycle, from those measured in this benchmark, else from ``minutes_per_training``; None: unknown."""
    measured: int
    """Cycles that ``seconds_per_cycle`` rests on; 0 where it is the file's."""

    @property
    def hours_left(self) -> float | None:
        return None if self.seconds_per_cycle is None else (self.cycles - self.done) * self.seconds_per_cycle / 3600


def estimate(benchmark: Benchmark, runs: Sequence[Run]) -> Estimate:
    """Look at the files of ``runs`` and their starts."""
    starts = starts_of(runs)
    cycles = [(run, cycle) for run in [*starts, *runs] for cycle in _own_cycles(run)]
    done = [(run, cycle) for run, cycle in cycles if result_file(Experiment(run.folder).results, cycle).is_file()]
    seconds = [spent for run, cycle in done if (spent := _seconds(run, cycle))]
    minutes = benchmark.minutes_per_training
    given = None if minutes is None else 60 * minutes * decided_folds(benchmark.settings)
    return Estimate(
        experiments=len(runs),
        complete=sum((run, max(_own_cycles(run))) in done for run in runs),
        cycles=len(cycles),
        done=len(done),
        trainings_per_cycle=decided_folds(benchmark.settings),
        seconds_per_cycle=sum(seconds) / len(seconds) if seconds else given,
        measured=len(seconds),
    )


def _own_cycles(run: Run) -> range:
    """The cycles that are trained in this experiment: without the one that comes with its start."""
    if run.start is not None:
        return range(1, run.settings.cycles)
    return range(1)


def _seconds(run: Run, cycle: int) -> float:
    """Of all steps of a cycle, and of the query that led to it; training and evaluation in cycle 0 are its start's."""
    total = 0.0
    for line in read_times(Experiment(run.folder)):
        asked = line["step"] not in ("plan", "train", "evaluate")
        if line["cycle"] == (cycle - 1 if asked else cycle):
            total += line["seconds"]
    return total


def overview(benchmark: Benchmark, runs: Sequence[Run], num_parts: int) -> str:
    """What the benchmark consists of and what it will take, for people."""
    found = estimate(benchmark, runs)
    left = found.cycles - found.done
    rows = [("what", "how much", "of which done")]
    rows.append(("experiments", str(found.experiments), str(found.complete)))
    rows.append(("starts, each shared by all methods", str(len(starts_of(runs))), ""))
    rows.append(("cycles to train", str(found.cycles), str(found.done)))
    per = found.trainings_per_cycle
    rows.append((f"trainings ({per} members a cycle)", str(per * found.cycles), str(per * found.done)))
    lines = [f"Benchmark {benchmark.name}", "", table(rows), ""]
    methods, seeds = ", ".join(benchmark.methods), ", ".join(map(str, benchmark.seeds))
    lines.append(paragraph(f"Methods: {methods}. Seeds: {seeds}. {benchmark.settings.cycles} cycles each."))
    for dataset in benchmark.datasets:
        regimes = ", ".join(f"{r.name} {r.starting_budget} + {r.query_size} a query" for r in dataset.regimes)
        sizes = ", ".join(dataset.patch_sizes)
        lines.append(paragraph(f"{dataset.dataset}: patches of {sizes} (z y x); label regimes: {regimes}."))
    if not left:
        lines.append("Everything is done.")
    elif found.hours_left is None:
        lines.append(
            "How long it takes is not known before a cycle is done: set minutes_per_training in the file to have it estimated."
        )
    else:
        why = f"the mean of {found.measured} cycles so far" if found.measured else "minutes_per_training, without predictions"
        shared = f", {found.hours_left / num_parts:.1f} in each of {num_parts} parts" if num_parts > 1 else ""
        lines.append(f"About {found.hours_left:.1f} hours of computing are left{shared} ({why}).")
    lines.append(_disk(found, runs))
    return "\n".join(lines)


def _disk(found: Estimate, runs: Sequence[Run]) -> str:
    """Preprocessed images are made for each start, and experiments link to them where the file system can; the members of
    every cycle are kept."""
    starts = starts_of(runs)
    made = {start.dataset: Experiment(start.folder) for start in starts if exists(start)}
    members = [file for experiment in made.values() for file in experiment.model_folder.glob("fold_*/checkpoint_final.pth")]
    if not members or len(made) < len({start.dataset for start in starts}):
        return f"Disk: the preprocessed pool for each of {len(starts)} starts, and the members of every cycle, which are kept."
    cases = {dataset: _size(experiment.preprocessed.folder) for dataset, experiment in made.items()}
    preprocessed = sum(cases[start.dataset] for start in starts)
    kept = found.cycles * found.trainings_per_cycle * sum(file.stat().st_size for file in members) / len(members)
    return f"Disk, in the end: about {preprocessed / 1e9:.1f} GB of preprocessed cases, and {kept / 1e9:.1f} GB of members."


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
