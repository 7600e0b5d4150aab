"""``shares=earned``: what a class has earned, counted the slow way, and what that changes of a query and what it does not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from fake_members import FakeEnsemble, fake_train
from fakes import CLASSES, patches_of, ranked, world
from hypothesis import given
from hypothesis import strategies as st

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import entry, loop_file, read_loop_content, write_loop
from nnactive_ext.experiment.result import CrossValidation
from nnactive_ext.loop.cycles import run_cycles
from nnactive_ext.members.cross_validation import cross_validate
from nnactive_ext.members.tools import Tools
from nnactive_ext.query_methods import methods
from nnactive_ext.query_methods.base import Request
from nnactive_ext.query_methods.stratification import class_shares, earned_shares
from nnactive_ext.querying import earned as module
from nnactive_ext.querying.earned import OVERLAP, UNKNOWN, YIELD, earned_by_class
from nnactive_ext.querying.pool import request_for
from nnactive_ext.querying.query import query_cycle

EARNED = {"shares": "earned"}


@given(st.lists(st.integers(0, 50), max_size=15), st.integers(0, 2**31))
def test_shares_are_within_one_of_what_is_earned(shares, seed):
    rng = np.random.default_rng(seed)
    equal = dict(enumerate(shares, start=1))
    earned = {c: float(rng.choice([0, 1, rng.random()])) for c in equal if rng.random() < 0.8}
    found = earned_shares(equal, earned, rng)
    assert found.keys() == equal.keys()
    for c, share in equal.items():
        exact = share * earned.get(c, 1.0)
        assert abs(found[c] - exact) < 1
        assert found[c] <= share
        if exact == int(exact):
            assert found[c] == exact, "nothing to round"


def test_single_patches_are_earned_as_often_as_they_should():
    """With 13 classes and a small query a share is one patch, which rounding would give always or never."""
    rng = np.random.default_rng(0)
    kept = Counter()
    for _ in range(2000):
        kept.update(earned_shares({1: 1, 2: 1}, {1: 0.3, 2: 0.8}, rng))
    assert kept[1] == pytest.approx(600, abs=4 * (2000 * 0.21) ** 0.5)
    assert kept[2] == pytest.approx(1600, abs=4 * (2000 * 0.16) ** 0.5)


def merged(method, w, request):
    plain = replace(request, earned={})
    return method.merge({name: ranked(method, w, name, plain) for name in w.pool()}, w.pool(), request)


@pytest.mark.parametrize("earned", [{}, {1: 1.0, 2: 1.0}, {2: 1.0}])
def test_whoever_earns_all_gets_the_query_of_equal_shares(earned):
    for seed in range(3):
        request = Request(9, CLASSES, seed)
        equal = merged(methods.get("clasp_pe"), world(), request)
        assert merged(methods.get("clasp_pe", **EARNED), world(), replace(request, earned=earned)) == equal


@pytest.mark.parametrize("name", ["clasp_pe", "cla_pe_66", "clasp_pe perturbation=softrank"])
def test_what_is_not_earned_goes_to_the_rest(name):
    name, *words = name.split()
    method = methods.get(name, **EARNED, **dict(word.split("=") for word in words))
    request = Request(12, CLASSES, seed=5)  # 4 for each class, 4 for the rest
    shares = class_shares(12, 0.66, CLASSES, request.rng("shares"))
    assert shares == {1: 4, 2: 4}
    for earned, expected in (
        ({1: 0.5, 2: 1.0}, {"liver": 2, "tumour": 4, "all": 6}),
        ({1: 0.0, 2: 0.25}, {"tumour": 1, "all": 11}),
        ({1: 0.0, 2: 0.0}, {"all": 12}),
    ):
        query = merged(method, world(6), replace(request, earned=earned))
        assert Counter(choice.stratum for choice in query.patches) == expected
        assert not query.warnings
    entropy = merged(methods.get("predictive_entropy", beta=methods.get(name).beta), world(6), request)
    if name == "cla_pe_66":
        assert patches_of(query) == patches_of(entropy), "without any class share it is the unstratified method"


def test_candidates_do_not_depend_on_what_was_earned():
    """So parts of a query, on several machines, need not know it."""
    method, w = methods.get("clasp_pe", **EARNED), world(1)
    rankings = [method.rank(w.scored("case_0"), Request(9, CLASSES, earned=earned)) for earned in ({}, {1: 0.0, 2: 0.1})]
    assert rankings[0] == rankings[1]
    assert rankings[0] == methods.get("clasp_pe").rank(w.scored("case_0"), Request(9, CLASSES))
    assert repr(Request(9, CLASSES, earned={1: 0.3})) == repr(Request(9, CLASSES))


@pytest.mark.parametrize(
    ("name", "options"), [("predictive_entropy", {}), ("clasp_pe", {"alpha": "0"}), ("clasp_pe", {"blocking": "image"})]
)
def test_earned_shares_of_no_stratified_part_are_refused(name, options):
    with pytest.raises(NnActiveError, match=r"shares=earned.*alpha above 0"):
        methods.get(name, **EARNED, **options)
    with pytest.raises(NnActiveError, match="shares"):
        methods.get("clasp_pe", shares="bought")


def opened(experiment, folds):
    return FakeEnsemble(experiment, classes=3)


def planned_with(experiment: Experiment, **options) -> Experiment:
    plan = replace(experiment.plan, method="clasp_pe", method_options={**EARNED, **options}, query_size=6)
    plan.write(experiment.raw)
    return Experiment(experiment.name)


def known(experiment: Experiment):
    request = request_for(experiment, 6, experiment.state["cycle"])
    return earned_by_class(experiment, request, partial(opened, experiment), experiment.folds(), progress=False)


def by_hand(experiment: Experiment, cycle: int) -> dict[str, list[bool]]:
    """Of each patch of a class's stratum, from the partial labels: whether it holds the class."""
    found: dict[str, list[bool]] = {}
    labels = experiment.dataset.labels
    for one in read_loop_content(loop_file(experiment.raw, cycle))["patches"]:
        if one["stratum"] in labels.classes:
            whole = experiment.dataset.label_map(one["file"].removesuffix(experiment.dataset.file_ending))
            here = whole[tuple(slice(a, a + n) for a, n in zip(one["coords"], one["size"], strict=True))]
            found.setdefault(one["stratum"], []).append(bool(np.isin(here, labels.classes[one["stratum"]]).any()))
    return found


def test_before_the_first_query_it_is_the_overlap_on_annotated_voxels(trained):
    """The starting budget holds every class, but no map chose it."""
    overlap = cross_validate(trained, partial(opened, trained), trained.folds(), progress=False).dice_per_class
    found = known(trained)
    assert {one.by for one in found.values()} == {OVERLAP}
    assert [one.part for one in found.values()] == [overlap["organ"], overlap["lesion"]]
    assert 0 < found[2].part < 1
    unheld = earned_by_class(trained, request_for(trained, 6, 0), partial(opened, trained), ["all"], progress=False)
    assert {(one.part, one.by) for one in unheld.values()} == {(None, UNKNOWN)}, "it was trained on all cases"


def test_a_class_that_nobody_annotated_in_held_out_cases_is_unknown(trained, monkeypatch):
    """One voxel that is taken for it has a Dice of 0 there, which is no evidence."""
    voxels = {"organ": 40, "lesion": 0}
    there = CrossValidation(dice_per_class={"organ": 0.7, "lesion": 0.0}, mean_dice=0.35, voxels_per_class=voxels)
    monkeypatch.setattr(module, "cross_validated", lambda *arguments: (there, []))
    found = known(trained)
    assert (found[1].part, found[1].by) == (0.7, OVERLAP)
    assert (found[2].part, found[2].by) == (None, UNKNOWN)


def test_cycles_earn_by_their_last_strata_and_say_so(planned):
    """The whole loop, three cycles, against the loop files and the partial labels."""
    experiment = planned_with(planned, alpha="1")
    run_cycles(experiment, Tools(lambda e, fold: fake_train(e, fold), opened), progress=False, say=lambda text: None)
    first, second = (read_loop_content(loop_file(experiment.raw, cycle)) for cycle in (1, 2))
    assert {one["by"] for one in first["earned"].values()} == {OVERLAP}
    held = by_hand(experiment, 1)
    assert held
    for name, one in second["earned"].items():
        if name in held:
            assert one == {"part": sum(held[name]) / len(held[name]), "by": YIELD}
        else:
            assert one["by"] == OVERLAP, "without a stratum in the last query"
    for content in (first, second):
        strata = Counter(one["stratum"] for one in content["patches"])
        for name, one in content["earned"].items():
            assert strata[name] == pytest.approx(3 * one["part"], abs=1)
        assert sum(strata.values()) == 6


def test_a_class_whose_patches_missed_it_earns_nothing_and_one_without_patches_its_overlap(trained):
    """A query by hand: for the organ a patch that holds it and one that does not, for the lesion none."""
    run_to_cycle_one(trained, [("organ", (8, 8, 5)), ("organ", (0, 0, 0)), ("all", (0, 20, 9))])
    experiment = Experiment(trained.name)
    for fold in experiment.folds():
        fake_train(experiment, fold)
    overlap = cross_validate(experiment, partial(opened, experiment), experiment.folds(), progress=False).dice_per_class
    found = known(experiment)
    assert (found[1].part, found[1].by) == (0.5, YIELD)
    assert (found[2].part, found[2].by) == (overlap["lesion"], OVERLAP)


def run_to_cycle_one(experiment: Experiment, patches) -> None:
    """Annotate these patches, (stratum, start), of a case without any as the query of cycle 1."""
    from nnactive_ext.geometry.patch import Patch
    from nnactive_ext.loop.cycles import finish_annotation

    taken = {patch.case for patch in experiment.annotated_patches()}
    case = next(name for name in experiment.plan.pool if name not in taken)
    size = experiment.plan.patch_size(case)
    entries = [entry(Patch(case, start, size), ".nii.gz", stratum=stratum, score=0.1) for stratum, start in patches]
    write_loop(loop_file(experiment.raw, 1), entries, {"method": "clasp_pe", "cycle": 1})
    finish_annotation(Experiment(experiment.name), progress=False, say=lambda text: None)


def ask(experiment: Experiment, **more):
    return query_cycle(experiment, opened, experiment.folds(), "clasp_pe", EARNED, progress=False, **more)


def test_parts_and_kills_give_the_same_query(trained):
    file = trained.raw / "loop_001.json"
    ask(trained)
    whole = file.read_bytes()
    file.unlink()
    results = trained.results / "cycle_000"
    for stored in (results / "candidates").iterdir():
        stored.unlink()
    (results / "cross_validation.json").unlink()
    for part in (1, 0):
        assert ask(Experiment(trained.name), parts=(part, 2)) is None
    assert not (results / "cross_validation.json").exists(), "parts need not know what was earned"
    candidates = {stored.name: stored.stat().st_mtime_ns for stored in (results / "candidates").iterdir()}
    with pytest.raises(KeyboardInterrupt):
        query_cycle(trained, killed, trained.folds(), "clasp_pe", EARNED, progress=False)
    assert not file.exists()
    ask(trained)
    assert file.read_bytes() == whole
    assert {stored.name: stored.stat().st_mtime_ns for stored in (results / "candidates").iterdir()} == candidates
    file.unlink()
    query_cycle(trained, killed, trained.folds(), "clasp_pe", EARNED, progress=False)
    assert file.read_bytes() == whole, "the cross-validation was kept, and no member is opened"


def killed(experiment, folds):
    raise KeyboardInterrupt


def test_the_option_is_part_of_what_candidates_are_good_for(trained):
    ask(trained)
    candidates = trained.results / "cycle_000" / "candidates"
    before = {file.name: file.read_text() for file in candidates.iterdir()}
    (trained.raw / "loop_001.json").unlink()
    query_cycle(trained, opened, trained.folds(), "clasp_pe", progress=False)
    assert all(file.read_text() != before[file.name] for file in candidates.iterdir())
    assert "earned" not in read_loop_content(trained.raw / "loop_001.json"), "equal shares are written as before"
