"""The starting budget holds every class."""

import numpy as np
import pytest
from fakes import World, blobs, disjoint, patches_of, statistics
from slow_drawing import Slow

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.query_methods import references
from nnactive_ext.query_methods.base import Request
from nnactive_ext.query_methods.starting_budget import starting_budget

CLASSES = {1: "liver", 2: "tumour", 3: "vessel"}


def of_references(size, **references):
    return World(size, references, {name: statistics(r.shape) for name, r in references.items()})


def usual(cases=6, shape=(12, 16, 16), size=(3, 4, 4)):
    """Class 3 is one voxel in each of two cases, so only a search can find it."""
    references = {f"case_{i}": blobs(shape, seed=i) for i in range(cases)}
    references["case_1"][3, 3, 3] = references["case_4"][9, 12, 12] = 3
    return of_references(size, **references)


def containing(query, w, label):
    return sum((w.references[p.case][p.slices] == label).any() for p in patches_of(query))


@pytest.mark.parametrize("seed", range(5))
def test_every_class_is_in_two_patches_at_least(seed):
    w = usual()
    query = starting_budget(w.pool(), Request(20, CLASSES, seed))
    assert len(query.patches) == 20
    assert disjoint(patches_of(query))
    assert all(containing(query, w, label) >= 2 for label in (0, 1, 2, 3))
    assert not query.warnings
    for patch in patches_of(query):
        assert patch.inside(w.references[patch.case].shape)


def test_the_order_of_cases_does_not_matter_but_the_seed_does():
    w = usual()
    query = starting_budget(w.pool(), Request(12, CLASSES))
    assert starting_budget(w.pool(reversed(list(w.references))), Request(12, CLASSES)) == query
    assert starting_budget(w.pool(), Request(12, CLASSES, seed=1)) != query


def test_the_rarest_class_comes_first_and_a_small_budget_says_what_it_lacks():
    w = usual()
    query = starting_budget(w.pool(), Request(1, CLASSES))
    assert containing(query, w, 3) == 1
    assert len(query.patches) == 1
    assert query.warnings


def test_one_patch_for_each_class_before_a_second_for_any():
    reference = np.zeros((1, 4, 40), dtype=int)
    reference[0, :, 0:2], reference[0, :, 12:16], reference[0, :, 24:30] = 1, 2, 3
    w = of_references((1, 1, 1), a=reference)
    query = starting_budget(w.pool(), Request(4, CLASSES))
    assert [containing(query, w, label) for label in (1, 2, 3, 0)] == [1, 1, 1, 1]


def test_a_patch_counts_for_every_class_in_it():
    # Both classes and the background lie together twice: two patches are enough for all, so nothing is lacking.
    reference = np.zeros((1, 3, 30), dtype=int)
    reference[0, 1, [5, 6, 7, 22, 23, 24]] = [1, 2, 3, 1, 2, 3]
    w = of_references((1, 3, 7), a=reference)
    query = starting_budget(w.pool(), Request(2, CLASSES))
    assert [containing(query, w, label) for label in (0, 1, 2, 3)] == [2, 2, 2, 2]
    assert not query.warnings


def test_a_class_that_is_nowhere_is_an_error_that_names_it():
    w = of_references((3, 4, 4), a=blobs((12, 16, 16)))
    with pytest.raises(NnActiveError, match="vessel"):
        starting_budget(w.pool(), Request(10, CLASSES))


def test_no_background_is_no_error():
    w = of_references((2, 2, 2), a=np.ones((6, 6, 6), dtype=int))
    assert len(starting_budget(w.pool(), Request(4, {1: "liver"})).patches) == 4


def test_no_room_is_said():
    w = usual(cases=5)
    w.annotated = {name: [Patch(name, (0, 0, 0), (12, 16, 16))] for name in w.references if name != "case_4"}
    query = starting_budget(w.pool(), Request(8, CLASSES))
    assert {p.case for p in patches_of(query)} == {"case_4"}
    assert any("vessel" in warning for warning in query.warnings)


def test_a_pool_too_small_gives_what_it_has():
    w = usual(cases=5, size=(12, 16, 16))
    query = starting_budget(w.pool(), Request(9, CLASSES))
    assert (len(query.patches), query.missing) == (5, 4)


def test_labels_stand_in_for_the_classes_of_regions():
    w = usual()
    query = starting_budget(w.pool(), Request(12, {0: "whole", 1: "core"}, labels=CLASSES))
    assert containing(query, w, 3) == 2


def test_without_a_reference_it_is_an_error():
    pool = {name: type(case)(name, case.shape, case.patch_size) for name, case in usual().pool().items()}
    with pytest.raises(NnActiveError, match="case_0"):
        starting_budget(pool, Request(4, CLASSES))


@pytest.mark.parametrize("seed", range(20))
def test_patches_are_those_of_the_slow_way(seed, monkeypatch):
    """Classes scattered, in bars and in boxes, some of them absent, and patches that are annotated already."""
    monkeypatch.setattr(references, "_SMALL", seed % 2 * references._SMALL)  # half of them compressed
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(1, 8, 3).tolist())
    labelled, annotated = {}, {}
    for name in "abc"[: rng.integers(1, 4)]:
        shape = rng.integers(8, 22, 3)
        labels = labelled[name] = np.zeros(shape, np.int16 if seed % 3 else np.uint8)
        for label in (1, 2, 3):
            z, y, x = rng.integers(0, shape)
            kind = rng.integers(4)
            if kind == 0:
                labels[rng.random(shape) < 0.02] = label
            elif kind == 1:
                labels[z : z + 9, y : y + 6, x : x + 9] = label
            elif kind == 2:
                labels[z, :, x] = labels[:, y, x] = label
        some = Patch(name, tuple(rng.integers(0, shape // 2).tolist()), tuple(np.minimum(size, shape // 2).tolist()))
        annotated[name] = [some][: rng.integers(2)]
    present = sorted({label for labels in labelled.values() for label in np.unique(labels).tolist()} - {0})
    w = of_references(size, **labelled)
    w.annotated = annotated
    for share in (0.0, 0.1, 0.5):
        request = Request(int(rng.integers(1, 30)), {label: CLASSES[label] for label in present}, seed)
        query = starting_budget(w.pool(), request, share)
        assert [(p.patch, p.stratum) for p in query.patches] == Slow(w.pool(), request, share).starting_budget()


def test_a_reference_is_read_once():
    w = usual()
    starting_budget(w.pool(), Request(20, CLASSES))
    assert sorted(w.loads) == sorted(w.references)
