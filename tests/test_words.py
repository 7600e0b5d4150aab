"""Lists and sentences as people read them: names in their natural order, repeated warnings once."""

from __future__ import annotations

import phantoms
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnactive_ext.exchange.tallies import in_order
from nnactive_ext.words import folded, natural, warned


@pytest.mark.parametrize(
    "names",
    [
        ["case_1", "case_2", "case_10", "case_11", "case_100"],
        ["patient2_frame1", "patient2_frame12", "patient10_frame2", "Patient11"],
        ["7", "12", "a", "a1", "a01b", "b"],
        ["img-3.nii.gz", "img-20.nii.gz"],
    ],
)
def test_numbers_in_names_count(names):
    assert sorted(names[::-1], key=natural) == names


@given(st.lists(st.text("aA01_²٣", max_size=6)))
def test_any_names_have_one_order(names):
    assert sorted(names, key=natural) == sorted(reversed(names), key=natural)


def test_sentences_that_differ_in_a_name_become_one():
    texts = [f"Nothing is annotated as {organ}: mark points of it." for organ in phantoms.ORGANS]
    (line,) = folded(["Another one.", *texts])[1:]
    assert line.startswith(texts[0])
    assert "12 more" in line
    assert "right_kidney" in line
    assert line.index("left_kidney") < line.index("gallbladder"), "in the order of their values"


def test_a_name_and_a_number_may_differ():
    texts = [f"ward_{n}.nii.gz: {3 * n + 1} voxels are not finite numbers." for n in (12, 3, 7, 20)]
    assert folded(texts, most=2) == [
        "ward_12.nii.gz: 37 voxels are not finite numbers. "
        "(and 3 more like this: ward_3.nii.gz 10, ward_7.nii.gz 22 and 1 more)"
    ]


@pytest.mark.parametrize(
    "texts",
    [
        ["Only 3 cases are annotated: 3 folds instead of 5.", "fewer than 5", "4 of 10 patches are missing: no room is left."],
        ["a b", "a c", "a d"],  # too little in common
        ["The dose of case_1 is too high.", "The size of case_2 was unknown then."],
        ["No liver in case_1 at all.", "No liver in case_2 at all."],  # two can be read
    ],
)
def test_others_stay(texts):
    assert folded(texts) == texts
    assert warned(texts) == [f"WARNING: {text}" for text in texts]


def test_equal_ones_are_said_once():
    assert folded(["One.", "Two.", "One.", "One."]) == ["One.", "Two."]
    assert folded([]) == []


def test_rows_are_strata_and_then_classes_by_their_values():
    labels = {"background": 0, **{name: i for i, name in enumerate(phantoms.ORGANS, start=1)}, "ignore": 14}
    names = ["random", "liver", "marked: liver", "all", "aorta", "background", "marked: aorta", "spleen", "border", "oedema"]
    first = ["all", "border", "oedema", "random", "background"]
    for some in (names, names[::-1], sorted(names)):
        assert in_order(some, labels) == [*first, "spleen", "liver", "marked: liver", "aorta", "marked: aorta"]
    regions = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": [3], "edge": 4}
    assert in_order(["edge", "whole", "all"], regions) == ["all", "whole", "edge"]
