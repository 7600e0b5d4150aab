"""AUBC, the final value and the budget to a target against values worked out by hand and slow, obvious versions."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnactive_ext.metrics import trajectory
from nnactive_ext.metrics.trajectory import aubc, budget_to_target, final

NAN = math.nan
curves = st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1)), min_size=1, max_size=8)
"""(step of the budget, value) of each cycle."""


def test_aubc_by_hand():
    # Between 10 and 20 the mean is 0.5, between 20 and 40 it is 0.9: (10 * 0.5 + 20 * 0.9) / 30.
    assert aubc([10, 20, 40], [0.2, 0.8, 1.0]) == pytest.approx(23 / 30)


def test_aubc_of_one_cycle_is_its_value():
    assert aubc([20], [0.3]) == 0.3


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=8, unique=True), st.floats(0, 1))
def test_aubc_of_a_constant_is_the_constant(budgets, value):
    assert aubc(sorted(budgets), [value] * len(budgets)) == pytest.approx(value)


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1)), min_size=2, max_size=8))
def test_aubc_equals_a_fine_sum(steps):
    budgets = np.cumsum([s for s, _ in steps])
    values = [v for _, v in steps]
    fine = np.arange(budgets[0], budgets[-1], 0.5) + 0.25  # midpoints: exact on straight pieces
    assert aubc(budgets, values) == pytest.approx(np.interp(fine, budgets, values).mean())


def test_aubc_of_nan_is_nan():
    assert math.isnan(aubc([1, 2, 3], [0.1, NAN, 0.3]))


@pytest.mark.parametrize(("budgets", "values"), [([], []), ([1, 2], [0.5]), ([1, 1], [0.5, 0.5]), ([2, 1], [0.5, 0.5])])
def test_impossible_budgets_are_refused(budgets, values):
    with pytest.raises(ValueError, match="budget"):
        aubc(budgets, values)
    with pytest.raises(ValueError, match="budget"):
        budget_to_target(budgets, values, 0.5)


def test_final_is_the_last_cycle_even_where_it_has_no_value():
    assert final([0.9, 0.4]) == 0.4
    assert math.isnan(final([0.9, NAN]))
    with pytest.raises(ValueError, match="without cycles"):
        final([])


@pytest.mark.parametrize(
    ("values", "target", "expected"),
    [
        ([0.2, 0.6, 0.8], 0.7, 30),  # half way between 20 and 40
        ([0.2, 0.6, 0.8], 0.6, 20),  # just there
        ([0.2, 0.6, 0.8], 0.8, 40),
        ([0.2, 0.6, 0.8], 0.81, None),
        ([0.5, 0.6, 0.8], 0.1, 10),  # there from the start
        ([0.4, 0.8, 0.2], 0.6, 15),  # falls again
        ([0.8, 0.2, 0.6], 0.7, 10),
        ([0.4, 0.2, 0.6], 0.4, 10),
        ([0.4, 0.2, 0.6], 0.5, 35),
        ([NAN, 0.2, 0.6], 0.2, 20),
        ([0.2, NAN, 0.8], 0.5, 25),  # the line joins the neighbours, 10 and 40
        ([0.2, 0.6, NAN], 0.7, None),
        ([NAN, NAN, NAN], 0.1, None),
        ([0.2, 0.6, 0.8], math.inf, None),
    ],
)
def test_budget_to_target_by_hand(values, target, expected):
    assert budget_to_target([10, 20, 40], values, target) == (None if expected is None else pytest.approx(expected))


def test_one_cycle_has_reached_its_target_or_not():
    assert budget_to_target([20], [0.3], 0.3) == 20
    assert budget_to_target([20], [0.3], 0.31) is None


def test_a_target_that_is_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        budget_to_target([1, 2], [0.1, 0.2], NAN)


@given(curves, st.floats(0, 1))
def test_the_curve_is_at_the_target_there_and_below_it_before(steps, target):
    budgets = np.cumsum([s for s, _ in steps])
    values = [v for _, v in steps]
    found = budget_to_target(budgets, values, target)
    if found is None:
        assert max(values) < target
        return
    before = np.linspace(budgets[0], found, 200)[:-1]
    assert np.interp(found, budgets, values) >= target - 1e-9
    assert found == budgets[0] or (np.interp(before, budgets, values) < target + 1e-9).all()


def test_examples_in_docstrings():
    results = doctest.testmod(trajectory)
    assert results.attempted > 0
    assert results.failed == 0
