"""Advice: its intervals against scipy, and its headline in the situations that it has to tell apart."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nnactive_ext.experiment.plan import ALL_LABELS, START
from nnactive_ext.experiment.result import CrossValidation, CycleResult
from nnactive_ext.metrics.overlap import aggregate
from nnactive_ext.report.advice import ClassChange, advice
from nnactive_ext.report.disagreement import Disagreement
from nnactive_ext.report.improvement import Change, paired, slope
from nnactive_ext.report.verdict import EARLY, EMPTY, FELL, GO_ON, LIMIT, NOTHING, STOP, TEST, USED_UP, verdict

CLASSES = ("organ", "lesion")
TESTED = SimpleNamespace(dataset="Dataset511_X", test=("a",), cycles=5, purpose="", human=False)
ROLLOUT = SimpleNamespace(dataset="Dataset511_X", test=(), cycles=5, purpose="", human=True)
FULL = SimpleNamespace(dataset="Dataset511_X", test=("a",), cycles=1, purpose=ALL_LABELS, human=False)


def result(cycle: int, table, cross_validation: CrossValidation | None = None) -> CycleResult:
    """``table``: (case, class) of Dice, NaN where a class is absent."""
    table = np.asarray(table, float)
    per_case = {f"case_{i}": dict(zip(CLASSES, row, strict=True)) for i, row in enumerate(table.tolist())}
    mean = aggregate(per_case)
    return CycleResult(
        cycle=cycle,
        mean_dice=None if np.isnan(mean.mean) else mean.mean,
        dice_per_class=known(mean.per_class),
        dice_per_case={case: known(row) for case, row in per_case.items()},
        patches=10 * (cycle + 1),
        new_patches=10,
        annotated_cases=4,
        annotated_voxels=20_000 * (cycle + 1),
        annotated_voxels_per_label={"background": 10_000, "organ": 9_000, "lesion": 1_000},
        foreground_share=0.5,
        cross_validation=cross_validation,
    )


def known(values: dict[str, float]) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else value for name, value in values.items()}


def cross_validated(cycle: int, mean: float | None) -> CycleResult:
    found = CrossValidation(mean_dice=mean, dice_per_class={"organ": mean, "lesion": mean}, cases=4, folds=2)
    return result(cycle, [[np.nan, np.nan]], found)


def cases(organ: float, lesion: float, n: int = 12, spread: float = 0.02, seed: int = 0) -> np.ndarray:
    """Of the same patients whatever the means: some are harder than others."""
    rng = np.random.default_rng(seed)
    return np.array([organ, lesion]) + rng.normal(0, 0.1, (n, 1)) * 0.5 + rng.normal(0, spread, (n, 2))


def per_case(table) -> dict:
    return result(0, table).dice_per_case


@given(st.integers(5, 20), st.integers(0, 2**31), st.sampled_from([0.95, 0.99]))
def test_the_interval_is_the_paired_t_interval_where_all_cases_have_all_classes(n, seed, level):
    rng = np.random.default_rng(seed)
    before, after = rng.random((2, n, 2))
    found = paired(per_case(before), per_case(after), CLASSES, level)
    expected = stats.ttest_rel(after.mean(1), before.mean(1)).confidence_interval(level)
    assert found.value == pytest.approx((after - before).mean())
    assert (found.low, found.high) == pytest.approx((max(-1, expected.low), min(1, expected.high)))
    assert (found.cases, found.left_out) == (n, ())


@given(st.integers(6, 15), st.integers(0, 2**31))
def test_the_change_is_that_of_mean_dice_whatever_is_absent(n, seed):
    rng = np.random.default_rng(seed)
    tables = rng.random((2, n, 2))
    tables[:, 5:][rng.random((2, n - 5, 2)) < 0.4] = np.nan  # the first five cases have everything
    before, after = (result(cycle, table) for cycle, table in enumerate(tables))
    found = paired(before.dice_per_case, after.dice_per_case, CLASSES)
    assert found.value == pytest.approx(after.mean_dice - before.mean_dice)
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize("rare", [1, 4])
def test_a_class_of_few_cases_is_left_out_where_others_have_enough(rare):
    before = np.column_stack([np.linspace(0.5, 0.7, 6), np.where(np.arange(6) < rare, 0.0, np.nan)])
    after = np.add(before, [0.1, 1.0])
    found = paired(per_case(before), per_case(after), CLASSES)
    assert found.left_out == ("lesion",)
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))


@pytest.mark.parametrize("n", [1, 2, 4])
def test_few_cases_have_no_interval_whatever_they_say(n):
    """Two cases that differ much gave 15 times the range of Dice."""
    before, after = np.tile([0.9, 0.2], (n, 1)), np.tile([0.5, 0.6], (n, 1))
    before[0], after[0] = [0.2, 0.9], [0.9, 0.1]
    found = paired(per_case(before), per_case(after), CLASSES)
    assert (found.low, found.high, found.left_out) == (None, None, ())
    assert found.value == pytest.approx(after.mean() - before.mean())
    made = advice([result(0, before), result(1, after)], TESTED, None)
    assert made.headline == EARLY
    assert any("no interval" in point for point in made.points)


@pytest.mark.parametrize("low", [0.0, 0.4])
def test_limits_lie_where_a_change_of_a_dice_can_lie(low):
    """Five cases, of which one is found and lost again: t would reach beyond what Dice can do."""
    before, after = np.full((5, 2), low), np.full((5, 2), low)
    before[0], after[1], after[2] = 1.0, 1.0, 1.0
    for one, other in ((before, after), (after, before)):
        found = paired(per_case(one), per_case(other), CLASSES, level=0.999)
        assert -1 <= found.low <= found.value <= found.high <= 1
        assert -1 in (found.low, found.high) or 1 in (found.low, found.high)


def test_classes_without_a_change_to_tell_have_no_row():
    """One is found neither before nor after, one is in no test case."""
    table = np.column_stack([np.linspace(0.5, 0.7, 6), np.zeros(6)])
    made = advice([result(0, table), result(1, np.add(table, [0.1, 0.0]))], TESTED, None)
    assert [one.told for one in made.classes] == [True, False]
    table[:, 1] = np.nan
    made = advice([result(0, table), result(1, np.add(table, [0.1, 0.0]))], TESTED, None)
    assert [one.told for one in made.classes] == [True, False]


def test_what_was_found_besides_comes_first():
    made = advice(RISING, TESTED, None, nothing="No class.", missed="No lesion.")
    assert made.points[:2] == ("No class.", "No lesion.")
    assert made.headline == EMPTY
    assert advice(RISING, TESTED, None, missed="No lesion.").headline == GO_ON


def test_one_case_has_no_interval_and_none_has_no_change():
    found = paired(per_case([[0.5, 0.1]]), per_case([[0.6, 0.4]]), CLASSES)
    assert (found.value, found.low, found.high) == (pytest.approx(0.2), None, None)
    assert paired(per_case([[np.nan, np.nan]]), per_case([[0.5, np.nan]]), CLASSES) is None
    assert paired({}, {}, CLASSES) is None


@pytest.mark.parametrize(("n", "rare"), [(20, 5), (20, 6), (6, 5), (12, 12)])
def test_the_interval_holds_the_change_as_often_as_it_says_where_a_class_is_rare(n, rare):
    """Nothing changes but by chance; 95 % of the intervals should hold 0, or more where they are too wide."""
    rng, held = np.random.default_rng(n + rare), 0
    for _ in range(400):
        before, after = rng.normal(0.5, 0.1, (2, n, 2))
        before[rare:, 1] = after[rare:, 1] = np.nan
        found = paired(per_case(before), per_case(after), CLASSES)
        held += found.low <= 0 <= found.high
    assert held / 400 > 0.92


@pytest.mark.parametrize("purpose", ["", START])
def test_only_an_experiment_that_goes_on_itself_is_told_how_to_plan_more_cycles(purpose):
    plan = SimpleNamespace(**{**vars(TESTED), "cycles": 1, "purpose": purpose})
    assert any("nnactive_change" in point for point in advice(RISING[:1], plan, None).points) == (not purpose)


def test_slope_by_hand():
    line = slope([0, 1000, 2000, 3000], [0.5, 0.6, 0.7, 0.8])
    assert line.value == pytest.approx(1e-4)
    assert slope([0, 1000], [0.1, 0.2]) is None
    assert slope([0, 1000, 2000], [0.5, 0.7, 0.6]).value == pytest.approx(
        stats.linregress([0, 1000, 2000], [0.5, 0.7, 0.6]).slope
    )


def test_rates():
    step = Change(0, 1, 0.05, None, None, 0, 20, 40_000)
    assert step.per_patch == pytest.approx(0.0025)
    assert step.per_voxels(10_000) == pytest.approx(0.0125)
    assert Change(0, 1, 0.05, None, None, 0, 0, 0).per_patch is None


def stalled(third: CycleResult) -> CycleResult:
    """A fourth cycle, as good as the third."""
    return replace(third, cycle=3, patches=40, annotated_voxels=80_000)


RISING = [result(i, cases(0.5 + 0.1 * i, 0.3 + 0.1 * i, seed=i % 2)) for i in range(4)]
FLAT = [result(i, cases(0.9 + 0.001 * i, 0.8, spread=0.001)) for i in range(4)]
FALLING = [result(i, cases(0.9 - 0.1 * i, 0.8 - 0.1 * i, spread=0.001)) for i in range(4)]
SINKING = [result(i, cases(0.9 - 0.01 * i, 0.8 - 0.01 * i, spread=0.001)) for i in range(4)]
UNSURE = [result(i, cases(0.9 + 0.02 * i, 0.7, n=4, spread=0.15, seed=i)) for i in range(4)]


@pytest.mark.parametrize(
    ("results", "headline"),
    [
        ([], NOTHING + "a first training"),
        (RISING[:1], EARLY),
        (RISING[:2], GO_ON),
        (RISING, GO_ON),
        (FLAT[:2], EARLY),
        (FLAT, STOP),
        (FALLING[:2], FELL),
        (FALLING, FELL),
        ([*FALLING[:3], stalled(FALLING[2])], EARLY),
        (SINKING, STOP),
        (UNSURE, EARLY),
        ([*RISING[:3], stalled(RISING[2])], EARLY),
        ([result(i, [[np.nan, np.nan]]) for i in range(3)], NOTHING + "a test case that has any class"),
    ],
    ids=[
        "nothing",
        "one",
        "two rising",
        "rising",
        "two flat",
        "flat",
        "fell",
        "falling",
        "fell before",
        "within noise",
        "unsure",
        "stalled once",
        "no value",
    ],
)
def test_headlines_with_a_test_set(results, headline):
    made = advice(results, TESTED, None)
    assert made.headline == headline
    assert len(made.steps) == max(0, len([r for r in results if r.mean_dice is not None]) - 1)
    assert all(point.strip() and "None" not in point and "nan" not in point for point in made.points)


def test_one_rising_class_is_a_reason_to_go_on():
    """A rare class that is learnt late hardly moves the mean, and sets off what another loses."""
    first, second, third = cases(0.9, 0.1, spread=0.001), cases(0.9, 0.1, spread=0.001), cases(0.85, 0.15, spread=0.001)
    made = advice([result(i, table) for i, table in enumerate((first, second, third))], TESTED, None)
    assert made.headline == GO_ON
    assert [one.rises for one in made.classes] == [False, True]


@pytest.mark.parametrize(("value", "headline"), [(0.0, GO_ON), (-0.01, GO_ON), (-0.032, EARLY)])
def test_one_rising_class_does_not_outweigh_a_mean_that_went_down(value, headline):
    """Few cases with large differences: the mean may have risen, too, but one cannot say that the query helped."""
    step = Change(0, 1, value, value - 0.05, value + 0.05, 6, 16, 10_000)
    rising = ClassChange("organ", 0.8, Change(0, 1, 0.034, 0.02, 0.05, 6, 16, 10_000), None)
    assert verdict([step], [rising], None, TEST) == headline


def test_after_a_fall_there_is_something_to_check():
    made = advice(FALLING, TESTED, None)
    (said,) = (point for point in made.points if point.startswith("The Dice fell"))
    assert all(word in said for word in ("annotations", "logs of the training", "noise"))
    assert [one.falls for one in made.classes] == [True, True]
    assert any(point.startswith("Worse") and "organ (−10.0)" in point for point in made.points)
    for results in (RISING, FLAT, SINKING, UNSURE):
        assert not any("fell" in point or point.startswith("Worse") for point in advice(results, TESTED, None).points)


def test_without_a_test_set_a_fall_may_only_mean_harder_boxes():
    made = advice([cross_validated(i, mean) for i, mean in enumerate((0.8, 0.7))], ROLLOUT, None)
    assert made.headline == EARLY
    assert any(point.startswith("The Dice fell, which may only mean") for point in made.points)


def test_a_pool_that_is_used_up_has_no_next_query():
    for results in (RISING, FLAT, FALLING):
        made = advice(results, TESTED, pool(0.4, 0.2), missing=3)
        assert made.headline == USED_UP
        assert "3 patches fewer" in made.points[0]
        assert not any(word in point for point in made.points for word in ("to come", "nnactive_change", "most uncertain"))
    behind = [result(i, np.column_stack([np.full(6, 0.8), np.zeros(6)])) for i in range(2)]
    for missing in (0, 3):
        points = advice(behind, TESTED, None, missing=missing).points
        assert any("lags" in point for point in points)
        assert any("quer" in point and "lags" in point for point in points) == (missing == 0)
    assert any(point.startswith("The Dice fell") for point in made.points), "that is still worth a look"
    (said, *_) = advice([cross_validated(0, 0.5)], ROLLOUT, None, missing=1).points
    assert "1 patch fewer" in said
    assert "nnactive_change -d 511 -add FOLDER" in said


def test_the_last_boxes_of_the_pool_are_still_to_be_annotated():
    made = advice(RISING, TESTED, None, missing=3, unanswered=True)
    assert made.headline == GO_ON
    assert "still open" in made.points[0]
    assert not any("to come" in point for point in made.points)


def test_all_labels_are_a_limit_and_have_no_next_query():
    made = advice(RISING[:1], FULL, None)
    assert made.headline == LIMIT
    assert f"{100 * RISING[0].mean_dice:.1f} %" in made.points[0]
    assert not any(word in point for point in made.points for word in ("cycle", "no query", "Nothing is known"))
    assert advice([], FULL, None).headline == NOTHING + "a first training"


def test_patches_are_called_patches_as_on_the_rest_of_the_page():
    for results in (RISING, FALLING, FLAT):
        assert not any("box" in point for point in advice(results, TESTED, pool(0.4, 0.2)).points)


def test_training_noise_is_always_named_with_a_change():
    for results in (RISING[:2], FLAT):
        assert any("same labels" in point for point in advice(results, TESTED, None).points)
    assert not any("same labels" in point for point in advice(RISING[:1], TESTED, None).points)


def test_a_lagging_class_is_named():
    tables = [np.column_stack([np.full(6, 0.8 + 0.05 * i), np.zeros(6)]) for i in range(2)]
    made = advice([result(i, table) for i, table in enumerate(tables)], TESTED, None)
    assert any(point.startswith("lesion lags") and "not seen to rise" in point for point in made.points)
    assert not any("lags" in point for point in advice(FLAT, TESTED, None).points)


def pool(*medians: float, query: str = "clasp_pe") -> list[Disagreement]:
    return [Disagreement(i, query, 9, median, median * 1.2) for i, median in enumerate(medians)]


@pytest.mark.parametrize(
    ("means", "left", "headline"),
    [
        ([None, None], None, NOTHING + "a test set or a cross-validation"),
        ([0.5], None, EARLY),
        ([0.5, 0.6], None, GO_ON),
        ([0.5, 0.53], None, EARLY),
        ([0.8, 0.81, 0.8], pool(0.4, 0.39), EARLY),
        ([0.8, 0.81, 0.8], pool(0.4, 0.15), STOP),
        ([0.8, 0.81, 0.8], [*pool(0.4), *pool(0.15, query="bald")], EARLY),
        ([0.8, 0.81, 0.8], None, EARLY),
    ],
)
def test_headlines_of_a_rollout(means, left, headline):
    made = advice([cross_validated(i, mean) for i, mean in enumerate(means)], ROLLOUT, left)
    assert made.headline == headline
    assert all(step.low is None and step.high is None for step in made.steps)
    if made.basis:
        assert any("which the query method chose" in point for point in made.points)


def test_without_what_later_versions_measure():
    """A cross-validation, and per case what an interval rests on."""
    assert advice(RISING, ROLLOUT, None).headline.startswith(NOTHING)
    old = [replace(one, dice_per_case={}, annotated_voxels_per_label={}, foreground_share=None) for one in RISING]
    made = advice(old, TESTED, None)
    assert made.headline == EARLY
    assert all(step.low is None for step in made.steps)
    assert all(point.strip() and "None" not in point for point in made.points)


def test_disagreement_is_compared_only_with_its_like():
    def said(left):
        (point,) = (point for point in advice(RISING, TESTED, left).points if "pool" in point)
        return point

    assert "50 % less than after cycle 0" in said(pool(0.4, 0.2))
    assert "about as much" in said(pool(0.4, 0.41))
    assert "do not compare" in said([*pool(0.4), Disagreement(1, "bald", 9, 0.1, 0.2)])
    assert "missing" in said(pool(0.4))
    assert "no query" in said(None)
