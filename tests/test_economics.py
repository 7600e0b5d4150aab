"""What active learning saves at equal Dice, and when it pays: the specification's numbers, and degenerate curves."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnactive_ext.metrics.economics import Saved, mean_saved, patches_saved
from nnactive_ext.metrics.prices import Prices

RANDOM, METHOD = ([20, 40, 60], [0.5, 0.6, 0.7]), ([20, 40, 60], [0.6, 0.7, 0.75])
PRICES = Prices(minutes_per_patch=5, expert_rate=100, machine_rate=2)


def test_saved_patches_of_the_specification():
    assert patches_saved(METHOD, RANDOM, 0.6)[:2] == (20, "")
    assert patches_saved(METHOD, RANDOM, 0.7)[:2] == (20, "")
    assert patches_saved(METHOD, RANDOM, 0.75)[:2] == (0, "at least")
    assert patches_saved(METHOD, RANDOM, 0.8) is None
    assert patches_saved(RANDOM, METHOD, 0.75) == Saved(0, "at most", 60)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.lists(st.floats(0, 1), min_size=3, max_size=3), st.floats(0, 1))
def test_two_methods_save_opposite_numbers(first, second, target):
    one, other = ([10, 20, 40], first), ([10, 20, 40], second)
    there, back = patches_saved(one, other, target), patches_saved(other, one, target)
    if there is None or back is None:
        assert there is back
        return
    assert there.patches == pytest.approx(-back.patches)
    assert {there.bound, back.bound} in ({""}, {"at least", "at most"})
    assert -30 <= there.patches <= 30


def test_prices_of_the_specification():
    assert PRICES.patch_cost == pytest.approx(8.3333, abs=5e-5)
    assert PRICES.break_even(1) == pytest.approx(0.24)
    assert PRICES.difference(1, 0.24) == pytest.approx(0)


@given(st.floats(0.1, 100), st.floats(0.5, 100), st.integers(1, 40))
def test_what_breaks_even_costs_the_same(hours, saved, trainings):
    minutes = PRICES.break_even_minutes(hours, saved)
    assert Prices(minutes, 100, 2).difference(hours, saved) == pytest.approx(0, abs=1e-9)
    each = PRICES.break_even_hours(saved, trainings, hours)
    assert PRICES.difference(hours + trainings * each, saved) == pytest.approx(0, abs=1e-6)


def test_what_never_pays_and_what_always_does():
    assert PRICES.break_even_minutes(1, 0) == math.inf
    assert PRICES.break_even_minutes(1, -3) == math.inf
    assert PRICES.break_even_hours(0, 10, others=1) < 0
    assert Prices(5, 100, 0).break_even_hours(1, 5) == math.inf


def test_the_mean_over_seeds_and_whether_it_is_above_zero():
    from scipy.stats import ttest_1samp

    r = [4.0, 6.0, 11.0]
    found = mean_saved([Saved(one, "", 20) for one in r])
    interval = ttest_1samp(r, 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.pays is None
    assert mean_saved([Saved(one + 10, "", 20) for one in r]).pays is True
    assert mean_saved([Saved(one + 10, "at least", 20) for one in r]).pays is True
    assert mean_saved([Saved(one + 10, "at most", 20) for one in r]).pays is None
    assert mean_saved([Saved(one - 30, "at most", 20) for one in r]).pays is False
    assert mean_saved([Saved(5, "", 20)]).pays is None
    mixed = mean_saved([Saved(15, "at least", 20), Saved(16, "at most", 20)])
    assert mixed.bound is None
    assert mixed.pays is None
