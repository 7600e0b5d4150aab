"""The test set and the groups of cases that all experiments of a benchmark on one dataset share."""

from __future__ import annotations

from nnactive_ext.bench.runs import NUMBERS, Run, benchmark_folder, read_numbers
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.plan import PLAN_FILE, Plan
from nnactive_ext.nnunet.dataset import Dataset, find_dataset
from nnactive_ext.planning.division import Division, divide, division_of
from nnactive_ext.planning.options import dataset_keys
from nnactive_ext.planning.settings import Settings


def division(run: Run, benchmark: str) -> Division:
    """The one that the benchmark's file asks for; where it leaves the test set open, that of experiments of the benchmark that
    are there already, whatever labels imagesTs has got since."""
    source = find_dataset(run.dataset)
    asked = any(getattr(run.settings, key) for key in dataset_keys(Settings))
    before = None if asked else _planned(source, benchmark)
    return division_of(before, source) if before else divide(source, run.settings)


def differing(plan: Plan, run: Run) -> list[tuple[str, object, object]]:
    """What, planned and wanted value, where the plan does not have the test set or the groups that the file asks for."""
    asked = {key: getattr(run.settings, key) for key in dataset_keys(Settings)}
    planned = {key: plan.settings.get(key) for key in asked}
    found = [(key, planned[key], value) for key, value in asked.items() if bool(value) != bool(planned[key])]
    if found or not any(asked.values()):
        return [(key, before, value and str(value)) for key, before, value in found]
    wanted = divide(find_dataset(run.dataset), run.settings).of(plan)
    pairs = [("test set", list(plan.test), list(wanted.test)), ("groups", dict(plan.groups), dict(wanted.groups))]
    return [(key, before, value) for key, before, value in pairs if before != value]


def _planned(source: Dataset, benchmark: str) -> Plan | None:
    """The plan of an experiment of the benchmark on this dataset."""
    file = benchmark_folder(benchmark) / NUMBERS
    for name, number in read_numbers(file).items():
        experiment = Experiment(f"Dataset{number:03d}_{name}")
        if (experiment.raw / PLAN_FILE).is_file():
            folder = experiment.source.folder
            if folder.is_dir() and folder.samefile(source.folder):
                return experiment.plan
    return None
