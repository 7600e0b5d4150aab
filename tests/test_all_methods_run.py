"""Every query method through the cycles of `nnactive_run`: two cycles of a tiny experiment, with members that cost nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_members import FakeEnsemble, fake_tools

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import entry, loop_file, write_loop
from nnactive_ext.experiment.result import read_results
from nnactive_ext.files import read_json
from nnactive_ext.loop.cycles import run_cycles
from nnactive_ext.members.tools import Tools
from nnactive_ext.query_methods import methods
from nnactive_ext.querying.pool import pool_cases, request_for


def run(planned, line: str) -> Experiment:
    """Plan the experiment for a method, as `nnactive_plan` would have written it, and run its two cycles."""
    name, *options = line.split()
    options = dict(option.split("=", 1) for option in options)
    methods.get(name, **options)
    replace(planned.plan, method=name, method_options=options, cycles=2).write(planned.raw)
    experiment = Experiment.find(101)
    tools = Tools(train=fake_tools().train, open_ensemble=lambda experiment, folds: FakeEnsemble(experiment, classes=3))
    run_cycles(experiment, tools, progress=False, say=lambda text: None)
    return experiment


@pytest.fixture
def source(planned):
    """The loop files of an earlier experiment with the same starting budget, which had asked `random`."""
    folder = planned.raw.parent / "earlier"
    folder.mkdir()
    query = methods.get("random").draw(pool_cases(planned, references=False), request_for(planned, 4, 0))
    write_loop(loop_file(folder, 1), [entry(choice.patch, ".nii.gz") for choice in query.patches], {})
    return folder


@pytest.mark.parametrize("name", methods.names())
def test_it_runs(planned, source, name):
    experiment = run(planned, f"{name} source={source}" if name == "precomputed" else name)
    loop = read_json(experiment.raw / "loop_001.json")
    assert (loop["method"], len(loop["patches"]), loop["missing"]) == (name, 4, 0)
    results = read_results(experiment.results)
    assert [result.patches for result in results] == [6, 10]
    assert results[1].annotated_voxels > results[0].annotated_voxels


@pytest.mark.parametrize(
    "line",
    ["clasp_pe overlap=0.5 stride=2", "clasp_pe blocking=image aggregation=threshold", "predictive_entropy overlap=0.9"],
)
def test_variants_run_too(planned, line):
    experiment = run(planned, line)
    assert len(read_json(experiment.raw / "loop_001.json")["patches"]) == 4


def test_overlapping_patches_are_counted_once(planned):
    experiment = run(planned, "predictive_entropy overlap=0.9")
    patches = experiment.annotated_patches()
    assert any(patch.overlaps_any(patches[:i]) for i, patch in enumerate(patches)), "nothing overlaps, so nothing is tested"
    painted = sum(len({v for p in patches if p.case == case for v in _voxels(p)}) for case in experiment.plan.pool)
    assert read_results(experiment.results)[-1].annotated_voxels == painted < sum(p.voxels for p in patches)


def test_the_same_patch_twice_is_refused(planned):
    patch = planned.annotated_patches()[0]
    with pytest.raises(NnActiveError, match=r"loop_009.json: .* has been chosen before"):
        planned.plan.check([patch, patch], Path("loop_009.json"))


def _voxels(patch):
    z, y, x = patch.start
    return [(z + a, y + b, x + c) for a in range(patch.size[0]) for b in range(patch.size[1]) for c in range(patch.size[2])]
