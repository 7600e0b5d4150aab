"""The estimate against examples worked by hand, and Eq 4.1 on both sides of its break-even."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnactive_ext.errors import NnActiveError
from nnactive_ext.planning.cost import estimate, rows

USUAL = {
    "patches": 200,
    "patch_voxels": 66_560,
    "pool_voxels": 1_100_000_000,
    "cycles": 5,
    "folds": 5,
    "minutes_per_patch": 3,
    "training_hours": 2,
    "expert_rate": 120,
    "machine_rate": 2,
}


def test_a_usual_experiment():
    """200 x 3 min = 10 h; 5 x 5 x 2 h = 50 h at 2 are 100; a patch costs 3 / 60 x 120 = 6; 100 / 6 = 16.7."""
    cost = estimate(**USUAL)
    assert cost.annotation_hours == pytest.approx(10)
    assert cost.training_hours == 50
    assert cost.overhead == 100
    assert cost.patch_cost == pytest.approx(6)
    assert cost.break_even == pytest.approx(100 / 6)
    assert cost.patches_to_save == 17
    annotation, complete, training, pays = rows(cost)
    assert annotation[:2] == ("annotation", "200 patches, 13.3 M voxels (1.2 % of the pool), 10.0 h")
    assert complete[:2] == ("complete labelling", "826.3 h")  # 10 h x 1,100 M / 13.312 M voxels
    assert training[:2] == ("training", "5 cycles x 5 trainings x 2 h = 50 h")
    assert pays == (
        "active learning pays",
        "if it saves 17 patches or more",
        "training costs 100.00, a patch 6.00 (Eq 4.1 of the thesis of C. T. Lüth, see docs/methods.md)",
    )


def test_at_the_break_even_nothing_is_won():
    """50 h at 2 are 100; a patch costs 3 / 60 x 100 = 5: 20 saved patches cost as much as the training, 21 are a gain."""
    assert estimate(**{**USUAL, "expert_rate": 100}).patches_to_save == 21


def test_a_machine_for_nothing():
    assert estimate(**{**USUAL, "machine_rate": 0}).patches_to_save == 1
    assert rows(estimate(**{**USUAL, "machine_rate": 0}))[3][1] == "if it saves 1 patch or more"


def test_quick_boxes_and_long_trainings():
    """20 patches of half a minute at 60 an hour cost 0.5 each; 4 x 5 x 10 h at 1 are 200: 400 patches, 401 to gain."""
    cost = estimate(20, 1000, 1_000_000, 4, 5, 0.5, 10, 60, 1)
    assert cost.patches_to_save == 401
    annotation, _, _, pays = rows(cost)
    assert annotation[1] == "20 patches, 20,000 voxels (2 % of the pool), 0.2 h"
    assert pays[1] == "hardly: only if it saves 401 patches, more than it asks for"
    assert "random_fg_66" in pays[2]


def test_as_many_as_it_asks_for_is_not_too_many():
    """1 x 1 x 19 h at 1 are 19; a patch costs 1: 20 patches must be saved."""
    assert rows(estimate(20, 1, 100, 1, 1, 60, 19, 1, 1))[3][1] == "if it saves 20 patches or more"
    assert rows(estimate(19, 1, 100, 1, 1, 60, 19, 1, 1))[3][1].startswith("hardly")


@given(
    st.floats(0.1, 60),
    st.floats(0, 100),
    st.floats(1, 300),
    st.floats(0, 20),
    st.integers(1, 10),
    st.integers(1, 10),
)
def test_eq_4_1_changes_sign_there(minutes, hours, expert, machine, cycles, folds):
    cost = estimate(100, 1000, 10**9, cycles, folds, minutes, hours, expert, machine)

    def gain(r: int) -> float:
        return r * minutes / 60 * expert - cycles * folds * hours * machine

    assert gain(cost.patches_to_save) > 0
    assert gain(cost.patches_to_save - 1) <= 1e-6 * (1 + cost.overhead)


@pytest.mark.parametrize(
    "name", ["minutes_per_patch", "expert_rate", "patches", "patch_voxels", "pool_voxels", "cycles", "folds"]
)
@pytest.mark.parametrize("value", [0, -1])
def test_what_must_be_more_than_0(name, value):
    with pytest.raises(NnActiveError, match=f"{name} is {value}: it must be more than 0"):
        estimate(**{**USUAL, name: value})


@pytest.mark.parametrize("name", ["training_hours", "machine_rate"])
@pytest.mark.parametrize("value", [-0.5, math.nan, math.inf])
def test_what_must_not_be_negative(name, value):
    with pytest.raises(NnActiveError, match=f"{name} is {value}: it must be 0 or more"):
        estimate(**{**USUAL, name: value})
