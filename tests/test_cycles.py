"""The cycles with fake members: results, resuming, parts, and the end of the pool."""

from __future__ import annotations

import os
from functools import partial

import numpy as np
import pytest
from fake_members import FakeEnsemble, fake_tools, fake_train
from forked import PROCESSES

from nnactive_ext.errors import NnActiveError, PoolExhausted
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import by_case
from nnactive_ext.experiment.result import read_results
from nnactive_ext.experiment.timing import STEPS, seconds_per_step
from nnactive_ext.files import read_json
from nnactive_ext.loop.cycles import run_cycles
from nnactive_ext.loop.tables import final_report
from nnactive_ext.querying.query import query_cycle

quiet = {"progress": False, "say": lambda text: None}


def open_ensemble(experiment, folds):
    return FakeEnsemble(experiment, classes=3)


def tools():
    made = fake_tools()
    return type(made)(train=made.train, open_ensemble=open_ensemble)


def trained(experiment):
    for fold in experiment.folds():
        fake_train(experiment, fold)
    return partial(query_cycle, experiment, open_ensemble, experiment.folds(), progress=False)


def test_a_whole_run(planned):
    run_cycles(planned, tools(), **quiet)
    results = read_results(planned.results)
    assert [r.cycle for r in results] == [0, 1, 2]
    assert [r.patches for r in results] == [6, 10, 14]
    assert [r.new_patches for r in results] == [6, 4, 4]
    for patches in by_case(planned.annotated_patches()).values():
        assert not any(a.overlaps(b) for a in patches for b in patches if a is not b)
        assert all(p.inside(planned.plan.pool[p.case].shape) for p in patches)
    voxels = [r.annotated_voxels for r in results]
    assert voxels[0] < voxels[1] < voxels[2]
    assert voxels[2] == sum(p.voxels for p in planned.annotated_patches())
    assert 0 < results[2].foreground_share < 1
    assert results[2].cases_per_class["organ"] == len(planned.plan.test)
    assert all(seconds_per_step(planned)[step] > 0 for step in STEPS if step not in ("evaluate", "describe"))
    assert "AUBC" in final_report(planned)


def test_done_is_not_done_again(planned):
    run_cycles(planned, tools(), **quiet)

    def never(*_):
        raise AssertionError("there was nothing left to do")

    run_cycles(planned, type(tools())(train=never, open_ensemble=never), **quiet)


def test_labels_are_annotated_only_inside_the_patches(planned):
    run_cycles(planned, tools(), **quiet)
    source, ignore = planned.source, planned.source.labels.ignore
    patches = by_case(planned.annotated_patches())
    for case in planned.plan.pool:
        partial_label = source.reader_writer.read_seg(str(planned.dataset.cases[case].label))[0][0]
        reference = source.reader_writer.read_seg(str(source.cases[case].label))[0][0]
        expected = np.full_like(reference, ignore)
        for patch in patches.get(case, []):
            expected[patch.slices] = reference[patch.slices]
        np.testing.assert_array_equal(partial_label, expected)


def rank_part(environment: dict[str, str], part: int, of: int) -> None:
    """In a process of its own, as parts run."""
    os.environ.update(environment)
    experiment = Experiment.find(101)
    query_cycle(experiment, open_ensemble, experiment.folds(), parts=(part, of), progress=False)


def test_three_parts_and_then_the_query_equal_one(planned):
    query = trained(planned)
    query()
    whole = (planned.raw / "loop_001.json").read_bytes()
    (planned.raw / "loop_001.json").unlink()
    for file in (planned.results / "cycle_000" / "candidates").iterdir():
        file.unlink()
    assert query(parts=(2, 3)) is None
    for part in (0, 1):
        process = PROCESSES.Process(target=rank_part, args=(dict(os.environ), part, 3))
        process.start()
        process.join()
        assert process.exitcode == 0
    assert not (planned.raw / "loop_001.json").exists()

    def never(*_):
        raise AssertionError("every case has been ranked")

    query_cycle(planned, never, planned.folds(), progress=False)
    assert (planned.raw / "loop_001.json").read_bytes() == whole


def test_parts_of_a_random_query_draw_nothing(planned):
    assert query_cycle(planned, open_ensemble, planned.folds(), "random", parts=(0, 2), progress=False) is None
    assert not (planned.raw / "loop_001.json").exists()


def test_rankings_of_other_members_or_options_are_not_used(planned):
    query = trained(planned)
    query()
    candidates = planned.results / "cycle_000" / "candidates"
    before = {file.name: file.read_bytes() for file in candidates.iterdir()}
    query(method="predictive_entropy")
    changed = {file.name: file.read_bytes() for file in candidates.iterdir()}
    assert all(before[name] != changed[name] for name in before)
    trained(planned)(method="predictive_entropy")
    assert all(changed[file.name] != file.read_bytes() for file in candidates.iterdir()), "members were trained anew"


def test_a_query_that_finds_too_little_takes_it_and_ends_the_experiment(planned):
    room = sum(np.prod(np.array(g.shape) // planned.plan.patch_size(c)) for c, g in planned.plan.pool.items())
    experiment = type(planned)(planned.name, planned=type(planned.plan)(**{**vars(planned.plan), "query_size": int(room)}))
    with pytest.raises(PoolExhausted):
        run_cycles(experiment, tools(), **quiet)
    loop = read_json(experiment.raw / "loop_001.json")
    assert 0 < len(loop["patches"]) < room
    assert loop["missing"] == room - len(loop["patches"])
    assert len(read_results(experiment.results)) == 2, "the last labels are trained on and evaluated"


def test_a_second_query_without_new_members_is_refused(planned):
    run_cycles(planned, tools(), **quiet)
    (planned.raw / "loop_002.json").unlink()
    # The labels are those of cycle 2, and so are the members. Ask in the name of an older state.
    state = planned.preprocessed.folder / "nnactive_state.json"
    state.write_text(state.read_text().replace('"cycle": 2', '"cycle": 1'))
    with pytest.raises(NnActiveError, match="trained in cycle"):
        query_cycle(planned, open_ensemble, planned.folds(), progress=False)


def test_method_and_options_are_noted(planned):
    trained(planned)(method="clasp_pe", options={"alpha": "0.5"}, n=3)
    loop = read_json(planned.raw / "loop_001.json")
    assert (loop["method"], loop["options"], len(loop["patches"])) == ("clasp_pe", {"alpha": "0.5"}, 3)
    assert {"file", "coords", "size", "score", "stratum"} <= set(loop["patches"][0])
    assert loop["seed"] == planned.plan.seed
    assert "nnunetv2" in loop["versions"]
