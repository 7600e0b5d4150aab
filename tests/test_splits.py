"""Folds: every annotated case validates once, and classes are trained on in as many folds as possible."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnactive_ext.errors import NnActiveError
from nnactive_ext.nnunet.splits import make_splits


def named(warnings, label, fold) -> bool:
    """Whether a warning says that ``fold`` does not train on ``label``."""
    parts = [[re.findall(r"\d+", part) for part in re.split(r" (?:is|are) not ", warning)] for warning in warnings]
    return any(str(label) in labels and str(fold) in folds for labels, folds in (p for p in parts if len(p) == 2))


def rng(seed=0):
    return np.random.default_rng(seed)


def lacking(splits, voxels, label):
    """Folds that never train on ``label``."""
    return [i for i, split in enumerate(splits) if not any(voxels[case].get(label) for case in split["train"])]


counts = st.dictionaries(st.integers(0, 4), st.integers(1, 99), min_size=1)
pools = st.integers(2, 14).flatmap(
    lambda n: st.lists(counts, min_size=n, max_size=n).map(lambda rows: {f"c{i:02d}": r for i, r in enumerate(rows)})
)


@given(pools, st.integers(2, 6), st.integers(0, 99))
def test_every_case_validates_once_and_never_trains_and_validates(voxels, folds, seed):
    splits, warnings = make_splits(voxels, folds, rng(seed))
    assert len(splits) == min(folds, len(voxels))
    assert sorted(case for split in splits for case in split["val"]) == sorted(voxels)
    for split in splits:
        assert set(split) == {"train", "val"}
        assert split["train"]
        assert split["val"]
        assert sorted(split["train"] + split["val"]) == sorted(voxels)
    assert bool(warnings) or len(voxels) >= folds


@given(pools, st.integers(2, 6), st.integers(0, 99))
def test_only_a_class_in_one_case_may_be_missing_and_only_in_one_fold(voxels, folds, seed):
    splits, warnings = make_splits(voxels, folds, rng(seed))
    for label in {label for counts in voxels.values() for label in counts}:
        holders = [case for case in voxels if voxels[case].get(label)]
        missing = lacking(splits, voxels, label)
        assert len(missing) <= 1
        if len(holders) == 1:
            assert missing == [i for i, split in enumerate(splits) if split["val"] == holders or holders[0] in split["val"]]
        if missing:
            assert named(warnings, label, missing[0])


@given(st.integers(4, 12), st.integers(2, 5), st.integers(0, 99), st.data())
def test_a_class_in_only_two_cases_is_trained_on_in_every_fold(cases, folds, seed, data):
    rare = data.draw(st.permutations(range(cases)))[:2]
    voxels = {f"c{i:02d}": {0: 50, 1: 9, **({2: 1} if i in rare else {})} for i in range(cases)}
    splits, warnings = make_splits(voxels, folds, rng(seed))
    assert lacking(splits, voxels, 2) == []
    assert not any("Label 2" in warning for warning in warnings)


def test_the_two_cases_of_several_rare_classes_validate_different_folds():
    """Cases 0-5 hold three rare classes, in overlapping pairs."""
    holders = {1: (0, 1), 2: (2, 3), 3: (1, 2)}
    voxels = {f"c{i}": {0: 5, **{k: 1 for k, v in holders.items() if i in v}} for i in range(10)}
    for seed in range(20):
        splits, _ = make_splits(voxels, 5, rng(seed))
        assert all(lacking(splits, voxels, label) == [] for label in holders)


def test_rarer_classes_do_not_put_all_cases_of_another_into_one_fold():
    """Whether c1 and c2 part is left open by classes 1 and 2, and matters to class 3."""
    voxels = {"c1": {1: 1, 3: 1}, "c2": {2: 1, 3: 1}, "c3": {1: 1}, "c4": {2: 1}}
    for seed in range(50):
        splits, warnings = make_splits(voxels, 2, rng(seed))
        assert [lacking(splits, voxels, label) for label in (1, 2, 3)] == [[], [], []]
        assert warnings == ()


def test_folds_are_of_even_size_where_classes_do_not_matter():
    voxels = {f"c{i:02d}": {0: 5, 1: 5} for i in range(13)}
    splits, warnings = make_splits(voxels, 5, rng())
    assert sorted(len(split["val"]) for split in splits) == [2, 2, 3, 3, 3]
    assert warnings == ()


def test_a_class_with_no_voxel_left_in_a_case_does_not_count():
    voxels = {"a": {0: 5, 1: 0}, "b": {0: 5, 1: 3}, "c": {0: 5}, "d": {0: 5}}
    splits, warnings = make_splits(voxels, 2, rng())
    assert len(lacking(splits, voxels, 1)) == 1
    assert any("Label 1 " in warning for warning in warnings)


def test_fewer_cases_than_folds_give_fewer_folds_and_a_warning():
    voxels = {case: {0: 5, 1: 5} for case in "abc"}
    splits, warnings = make_splits(voxels, 5, rng())
    assert len(splits) == 3
    assert any("3" in warning and "5" in warning for warning in warnings)
    assert make_splits({case: {0: 5} for case in "abcde"}, 5, rng())[1] == ()


@pytest.mark.parametrize("voxels", [{}, {"a": {0: 5}}])
def test_fewer_than_two_cases_are_an_error(voxels):
    with pytest.raises(NnActiveError, match=str(len(voxels))):
        make_splits(voxels, 5, rng())


@given(pools, st.integers(0, 99))
def test_equal_arguments_give_equal_splits_whatever_the_order_of_cases(voxels, seed):
    turned = dict(reversed(voxels.items()))
    assert make_splits(voxels, 5, rng(seed)) == make_splits(turned, 5, rng(seed))


def test_the_seed_matters():
    voxels = {f"c{i:02d}": {0: 5} for i in range(10)}
    assert len({str(make_splits(voxels, 5, rng(seed))) for seed in range(5)}) > 1


grouped_pools = pools.flatmap(
    lambda voxels: st.tuples(
        st.just(voxels),
        st.lists(st.sampled_from("pqrstu"), min_size=len(voxels), max_size=len(voxels)).map(
            lambda drawn: dict(zip(voxels, drawn, strict=True))
        ),
    )
)


@given(grouped_pools, st.integers(2, 6), st.integers(0, 99))
def test_a_group_is_never_in_both_halves_of_a_fold(pool, folds, seed):
    voxels, groups = pool
    there = set(groups.values())
    if len(there) < 2:
        with pytest.raises(NnActiveError, match=f"group {there.pop()}"):
            make_splits(voxels, folds, rng(seed), groups)
        return
    splits, warnings = make_splits(voxels, folds, rng(seed), groups)
    assert len(splits) == min(folds, len(there))
    assert sorted(case for split in splits for case in split["val"]) == sorted(voxels)
    for split in splits:
        assert split["train"]
        assert split["val"]
        assert sorted(split["train"] + split["val"]) == sorted(voxels)
        assert {groups[case] for case in split["train"]}.isdisjoint(groups[case] for case in split["val"])
    assert any("group" in warning for warning in warnings) == (len(there) < folds)


@given(grouped_pools, st.integers(2, 6), st.integers(0, 99))
def test_a_class_of_several_groups_is_missing_in_one_fold_at_most(pool, folds, seed):
    voxels, groups = pool
    if len(set(groups.values())) < 2:
        return
    splits, warnings = make_splits(voxels, folds, rng(seed), groups)
    for label in {label for counts in voxels.values() for label in counts}:
        missing = lacking(splits, voxels, label)
        assert len(missing) <= 1
        holders = {groups[case] for case in voxels if voxels[case].get(label)}
        if len(holders) == 1:
            assert len(missing) == 1
        if missing:
            assert named(warnings, label, missing[0])


@given(pools, st.integers(2, 6), st.integers(0, 99))
def test_groups_of_one_case_each_change_nothing(voxels, folds, seed):
    alone = {case: case for case in voxels}
    assert make_splits(voxels, folds, rng(seed), alone)[0] == make_splits(voxels, folds, rng(seed))[0]
    assert make_splits(voxels, folds, rng(seed), {}) == make_splits(voxels, folds, rng(seed))


def test_splits_without_groups_are_those_they_always_were():
    """What version 358f4dd wrote."""
    voxels = {f"c{i:02d}": {0: 50, 1: 9, **({2: 1} if i in (3, 7) else {})} for i in range(9)}
    splits, _ = make_splits(voxels, 3, rng(4))
    assert [split["val"] for split in splits] == [["c01", "c06", "c07"], ["c02", "c03", "c04"], ["c00", "c05", "c08"]]


def test_folds_are_of_even_size_though_groups_are_not():
    sizes = {"a": 1, "b": 1, "c": 1, "d": 1, "e": 4, "f": 4}
    groups = {f"{group}{i}": group for group, size in sizes.items() for i in range(size)}
    for seed in range(20):
        splits, _ = make_splits({case: {0: 5, 1: 5} for case in groups}, 3, rng(seed), groups)
        assert [len(split["val"]) for split in splits] == [4, 4, 4]


def test_a_case_without_a_group_is_refused():
    with pytest.raises(NnActiveError, match="b"):
        make_splits({"a": {0: 5}, "b": {0: 5}, "c": {0: 5}}, 2, rng(), {"a": "x", "c": "y"})


def test_classes_that_the_same_folds_lack_are_named_in_one_warning():
    """Ten classes in one case, two in another one: two warnings and not twelve."""
    voxels = {f"c{i}": {0: 50} for i in range(6)}
    voxels["c1"] |= dict.fromkeys(range(1, 11), 5)
    voxels["c4"] |= {11: 5, 12: 5}
    organs = {label: f"organ_{label}" for label in range(1, 13)}
    splits, warnings = make_splits(voxels, 5, rng(), names=organs)
    assert {fold for label in organs for fold in lacking(splits, voxels, label)} == set(range(len(splits))) & {
        i for i, split in enumerate(splits) if {"c1", "c4"} & set(split["val"])
    }
    assert len(warnings) == len({tuple(lacking(splits, voxels, label)) for label in organs})
    assert all(any(re.search(rf"\b{name}\b", warning) for warning in warnings) for name in organs.values())
