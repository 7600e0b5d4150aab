"""The ranking of a pool: images come one ahead, logits one at a time, and errors say which case and which member."""

from __future__ import annotations

import shutil
import threading
import time
import weakref
from collections import defaultdict
from functools import partial

import numpy as np
import pytest
from fake_members import FakeEnsemble

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.timing import read_times
from nnactive_ext.nnunet.preprocessing import Preprocessed
from nnactive_ext.query_methods import selection
from nnactive_ext.query_methods.uncertainty import Uncertainty
from nnactive_ext.querying.query import query_cycle


@pytest.fixture
def loads(monkeypatch):
    """The cases in the order in which their images were loaded."""
    done, load = [], Preprocessed.load

    def counting(self, case, data_folder=None):
        done.append(case)
        return load(self, case, data_folder)

    monkeypatch.setattr(Preprocessed, "load", counting)
    return done


def query(experiment, logits=None, **options):
    """With members whose logits come from ``logits(image)``, or from the fake ones."""

    def open_ensemble(experiment, folds):
        ensemble = FakeEnsemble(experiment, classes=3)
        if logits is not None:
            ensemble.logits = logits
        return ensemble

    chosen = query_cycle(experiment, open_ensemble, experiment.folds(), progress=False, **options)
    (experiment.raw / "loop_001.json").unlink()  # or its patches were annotated to the next query
    return chosen


def candidates(experiment):
    return {file.stem: file.read_bytes() for file in (experiment.results / "cycle_000" / "candidates").iterdir()}


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith(("one_ahead", "one_behind"))]


def test_images_are_loaded_one_ahead_and_in_order(trained, loads):
    ahead, fake = [], FakeEnsemble(trained, classes=3)

    def logits(image, case=""):
        end = time.monotonic() + 5
        while len(loads) < min(len(ahead) + 2, len(trained.plan.pool)) and time.monotonic() < end:
            time.sleep(0.001)
        ahead.append(len(loads))
        return fake.logits(image)

    query(trained, logits)
    assert loads == list(trained.plan.pool)
    assert ahead == [2, 3, 4, 5, 6, 6]


def test_nothing_is_loaded_for_cases_that_are_ranked(trained, loads):
    first = query(trained)
    pool = list(trained.plan.pool)
    before = candidates(trained)
    for case in (pool[1], pool[4]):
        (trained.results / "cycle_000" / "candidates" / f"{case}.json").unlink()
    loads.clear()
    assert query(trained) == first
    assert loads == [pool[1], pool[4]]
    after = candidates(trained)
    assert all(after[case] == before[case] for case in set(pool) - {pool[1], pool[4]})


def test_a_case_that_cannot_be_loaded_is_named_after_those_before_it_are_ranked(trained):
    pool = list(trained.plan.pool)
    file = trained.preprocessed.data_folder / f"{pool[2]}.b2nd"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(NnActiveError, match=rf"{pool[2]}\.b2nd.*cannot be read"):
        query(trained)
    assert sorted(candidates(trained)) == sorted(pool[:2])
    assert not threads()


def test_no_memory_for_a_case_is_named(trained, monkeypatch):
    def load(self, case, data_folder=None):
        raise MemoryError

    monkeypatch.setattr(Preprocessed, "load", load)
    with pytest.raises(NnActiveError, match=rf"{next(iter(trained.plan.pool))}: not enough memory"):
        query(trained)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError("out of memory")])
def test_the_loading_thread_ends_when_the_prediction_fails(trained, error):
    def logits(image, case=""):
        raise error

    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else NnActiveError) as caught:
        query(trained, logits)
    assert not threads()
    if error is not KeyboardInterrupt:
        message = str(caught.value)
        assert message.startswith(f"{next(iter(trained.plan.pool))}: ")
        assert "out of memory" in message
        assert "-precision half" in message


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_no_numbers_name_case_and_member(trained, value):
    fake, pool = FakeEnsemble(trained, classes=3), list(trained.plan.pool)
    asked = []

    def logits(image, case=""):
        asked.append(image)
        for fold in range(3):
            _, member = next(fake.logits(image))
            if len(asked) == 2 and fold == 1:
                member[1, 2, 3, 4] = value
            yield f"fold {fold}", member

    with pytest.raises(NnActiveError, match=rf"^{pool[1]}: the logits of fold 1 hold NaN or infinite .*diverged training"):
        query(trained, logits)
    assert sorted(candidates(trained)) == sorted(pool[:1])


def test_the_logits_of_two_members_are_never_in_memory_together(trained):
    fake, alive = FakeEnsemble(trained, classes=3), []

    def logits(image, case=""):
        for fold in range(3):
            assert not [tensor for tensor in alive if tensor() is not None], "the member before is still there"
            member = next(fake.logits(image))[1].half()
            alive.append(weakref.ref(member))
            yield f"fold {fold}", member
            del member

    query(trained, logits)
    assert len(alive) == 3 * len(trained.plan.pool)


def test_the_pipeline_changes_no_file(trained):
    found = []
    for overlapped in (True, False):
        for file in (trained.results / "cycle_000" / "candidates").glob("*"):
            file.unlink()
        chosen = query_cycle(trained, lambda e, folds: FakeEnsemble(e, classes=3), trained.folds(), None, overlapped=overlapped)
        loop = trained.raw / "loop_001.json"
        found.append((chosen, loop.read_bytes(), candidates(trained)))
        loop.unlink()
    assert found[0] == found[1]


def test_a_case_is_ranked_while_the_next_is_predicted_and_no_third_one_has_means(trained, monkeypatch):
    fake, events, means, rank = FakeEnsemble(trained, classes=3), [], [], Uncertainty.rank
    together = threading.Event()

    def logits(image, case=""):
        assert sum(mean() is not None for mean in means) <= 1, "this case's are the second ones"
        events.append(("predict", case))
        if len(events) > 1 and ("predict", case) != events[0]:
            assert together.wait(5), "the case before is ranked meanwhile"
            together.clear()
        yield from fake.logits(image)

    def watched(self, case, request):
        means.append(weakref.ref(case.statistics.mean))
        together.set()
        events.append(("rank", case.name))
        return rank(self, case, request)

    monkeypatch.setattr(Uncertainty, "rank", watched)
    query(trained, logits)
    pool = list(trained.plan.pool)
    assert [case for step, case in events if step == "predict"] == pool
    assert [case for step, case in events if step == "rank"] == pool


def test_a_case_that_cannot_be_ranked_is_named_after_those_before_it_are_written(trained, monkeypatch):
    pool, rank = list(trained.plan.pool), Uncertainty.rank

    def failing(self, case, request):
        if case.name == pool[2]:
            raise MemoryError
        return rank(self, case, request)

    monkeypatch.setattr(Uncertainty, "rank", failing)
    with pytest.raises(NnActiveError, match=rf"{pool[2]}: not enough memory to score"):
        query(trained)
    assert sorted(candidates(trained)) == sorted(pool[:2])
    assert not threads()


def test_an_interrupt_ends_the_ranking_too(trained, monkeypatch):
    fake, ranking = FakeEnsemble(trained, classes=3), threading.Event()

    def logits(image, case=""):
        if ranking.is_set() or case != next(iter(trained.plan.pool)):
            assert ranking.wait(5)
            raise KeyboardInterrupt
        yield from fake.logits(image)

    def endless(self, case, request):
        ranking.set()
        while True:
            time.sleep(0.001)

    monkeypatch.setattr(Uncertainty, "rank", endless)
    with pytest.raises(KeyboardInterrupt):
        query(trained, logits)
    assert not threads()
    assert not candidates(trained)


def test_each_case_has_a_line_per_step(trained):
    query(trained)
    lines = [line for line in read_times(trained) if "case" in line]
    assert [line["case"] for line in lines[::4]] == list(trained.plan.pool)
    assert [line["step"] for line in lines] == ["load", "predict", "statistics", "score"] * len(trained.plan.pool)
    assert all(line["seconds"] >= 0 for line in lines)


def test_half_accumulators_rank_anew_and_nearly_alike(trained):
    ask = partial(query, trained, method="predictive_entropy")
    single, before = ask(), candidates(trained)
    half = ask(accumulators="half")
    assert all(candidates(trained)[case] != content for case, content in before.items())
    assert [p.score for p in half.patches] == pytest.approx([p.score for p in single.patches], abs=1e-3)


def test_cases_whose_candidates_were_left_out_are_ranked_again_when_the_query_needs_them(trained, monkeypatch, loads):
    whole = query(trained)
    cases = len(trained.plan.pool)
    assert len(loads) == cases
    shutil.rmtree(trained.results / "cycle_000" / "candidates")
    monkeypatch.setattr(selection, "usable", lambda request, alpha: defaultdict(lambda: 1))
    assert query(trained) == whole
    assert 2 * cases < len(loads) <= 3 * cases
    assert query(trained) == whole
    assert len(loads) <= 3 * cases  # the files are whole now
