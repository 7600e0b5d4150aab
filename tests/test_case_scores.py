"""An evaluation that was stopped continues, and several may share the test cases."""

from __future__ import annotations

import itertools
import os

import numpy as np
import pytest
from fake_members import FakeEnsemble, fake_train

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.result import result_file
from nnactive_ext.members import evaluation
from nnactive_ext.members.evaluation import evaluate


class Counting(FakeEnsemble):
    """Notes whom it segments, and fails at one case; what it says of a class leaves no surface in one case."""

    def __init__(self, experiment, seen: list, fails: str = ""):
        super().__init__(experiment)
        self.seen, self.fails = seen, fails

    def segment(self, case, inference=None) -> np.ndarray:
        if case.name == self.fails:
            raise RuntimeError("out of memory")
        self.seen.append(case.name)
        found = super().segment(case)
        return np.zeros_like(found) if case.name == self.experiment.plan.test[0] else found


def run(experiment, fails: str = "", parts=(0, 1)) -> list[str]:
    """Evaluate; the cases that had to be segmented."""
    seen: list[str] = []
    evaluate(experiment, lambda folds: Counting(experiment, seen, fails), experiment.folds(), False, parts)
    return seen


def written(experiment) -> bytes:
    return result_file(experiment.results, 0).read_bytes()


def test_a_stopped_evaluation_continues(trained):
    test = list(trained.plan.test)
    with pytest.raises(NnActiveError, match=test[-1]):
        run(trained, fails=test[-1])
    assert not result_file(trained.results, 0).exists()
    assert run(trained) == test[-1:]
    resumed = written(trained)
    for file in (trained.results / "cycle_000" / "evaluated").iterdir():
        file.unlink()
    assert run(trained) == test
    assert written(trained) == resumed


def test_parts_share_the_cases(trained):
    test = list(trained.plan.test)
    assert len(test) > 1
    shares = [run(trained, parts=(part, 2)) for part in range(2)]
    assert not result_file(trained.results, 0).exists(), "no part knows all cases"
    assert all(shares)
    assert sorted(itertools.chain(*shares)) == sorted(test)
    assert run(trained) == []
    shared = written(trained)
    for file in (trained.results / "cycle_000" / "evaluated").iterdir():
        file.unlink()
    run(trained)
    assert written(trained) == shared


@pytest.mark.parametrize("what", ["member", "image", "reference", "tolerance"])
def test_scores_of_something_else_do_not_count(trained, what):
    run(trained)
    case = trained.test_cases()[0]
    if what == "member":
        fake_train(trained, trained.folds()[0])
    elif what == "tolerance":
        object.__setattr__(trained.plan, "tolerances_mm", {"lesion": 9.0})
    expected = list(trained.plan.test) if what in ("member", "tolerance") else [case.name]
    file = case.images[0] if what == "image" else case.label
    before = file.stat()
    if what in ("image", "reference"):
        os.utime(file, ns=(1, 1))
    try:
        assert run(trained) == expected
    finally:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_the_environment_is_looked_at_once_and_not_for_each_case(trained, monkeypatch):
    looked: list[str] = []
    known = evaluation.observe
    monkeypatch.setattr(evaluation, "observe", lambda *given: looked.append("") or known(*given))
    with pytest.raises(NnActiveError):
        run(trained, fails=trained.plan.test[-1])
    looked.clear()
    assert len(run(trained)) == 1
    for_one = len(looked)
    for file in (trained.results / "cycle_000" / "evaluated").iterdir():
        file.unlink()
    looked.clear()
    assert len(run(trained)) > 1
    assert len(looked) == for_one
