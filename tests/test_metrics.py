"""Dice against values worked out by hand and against a slow, obvious version."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nnactive_ext.metrics import overlap
from nnactive_ext.metrics.overlap import Confusion, aggregate, dice_per_case

SHAPE = (2, 3, 2)
CLASSES = {"one": 1, "two": 2, "both": (1, 2), "far": 7}


def test_dice_by_hand():
    reference = np.array([[0, 1, 1, 1], [0, 0, 2, 2]])
    prediction = np.array([[0, 1, 1, 0], [1, 0, 2, 1]])
    # one: TP 2, FP 2, FN 1; two: TP 1, FN 1; both: TP 4, FP 1, FN 1
    expected = {"one": 4 / 7, "two": 2 / 3, "both": 8 / 10}
    assert dice_per_case(prediction, reference, {"one": 1, "two": 2, "both": (1, 2)}) == pytest.approx(expected)


def test_absent_in_one_is_zero_and_absent_in_both_is_nan():
    empty, full = np.zeros(SHAPE, int), np.ones(SHAPE, int)
    assert dice_per_case(full, empty, {"one": 1}) == {"one": 0}
    assert dice_per_case(empty, full, {"one": 1}) == {"one": 0}
    assert math.isnan(dice_per_case(empty, empty, {"one": 1})["one"])


def test_ignored_voxels_count_nowhere():
    reference = np.array([1, 1, 0, 9, 9])
    prediction = np.array([1, 0, 0, 1, 0])
    assert dice_per_case(prediction, reference, {"one": 1}, ignore=9)["one"] == pytest.approx(2 / 3)
    assert dice_per_case(prediction, reference, {"one": 1})["one"] == pytest.approx(1 / 2)


def test_all_ignored_is_nan():
    scores = dice_per_case(np.ones(SHAPE, int), np.full(SHAPE, 9), CLASSES, ignore=9)
    assert all(math.isnan(v) for v in scores.values())


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shape"):
        dice_per_case(np.zeros((2, 3)), np.zeros((3, 2)), {"one": 1})


def slow_dice(prediction, reference, labels, ignore):
    tp = fp = fn = 0
    for p, r in zip(prediction.ravel(), reference.ravel(), strict=True):
        if r == ignore:
            continue
        tp += p in labels and r in labels
        fp += p in labels and r not in labels
        fn += p not in labels and r in labels
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else math.nan


label_maps = arrays(np.int16, SHAPE, elements=st.integers(0, 3))


@given(label_maps, label_maps, st.sampled_from([None, 3]))
def test_dice_equals_the_slow_version(prediction, reference, ignore):
    scores = dice_per_case(prediction, reference, CLASSES, ignore)
    for name, labels in CLASSES.items():
        labels = np.atleast_1d(labels)
        assert scores[name] == pytest.approx(slow_dice(prediction, reference, labels, ignore), nan_ok=True)


def by_masks(prediction, reference, classes, ignore):
    """Class by class, as the Dice was computed before there was a confusion matrix."""
    kept = np.ones(reference.shape, bool) if ignore is None else reference != ignore
    scores = {}
    for name, labels in classes.items():
        predicted, true = np.isin(prediction[kept], labels), np.isin(reference[kept], labels)
        either = int(predicted.sum() + true.sum())
        scores[name] = 2 * int((predicted & true).sum()) / either if either else math.nan
    return scores


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64, np.float32])
@given(data=st.data())
def test_one_confusion_matrix_gives_the_same_bits_as_masks(kind, data):
    """Regions that overlap, labels that are absent, far apart or twice in a region, values that are no label."""
    values = st.sampled_from([0, 1, 2, 3, 7, 200])
    prediction, reference = (data.draw(arrays(kind, (4, 5, 6), elements=values)) for _ in range(2))
    if kind == np.float32 and data.draw(st.booleans()):
        reference.ravel()[:3] = 1.5, np.nan, np.inf
    classes = {"whole": (1, 2, 3), "core": [3, 2, 3], "far": 7, "farther": 3_000_000, "ignored": 3, "none": 5, "background": 0}
    if data.draw(st.booleans()):
        del classes["farther"]
    ignore = data.draw(st.sampled_from([None, 3, 200]))
    found = Confusion(prediction, reference, classes, ignore)
    assert np.array_equal(list(found.dice.values()), list(by_masks(prediction, reference, classes, ignore).values()), True)
    assert found.predicted == {name: int(np.isin(prediction, labels).sum()) for name, labels in classes.items()}


def test_a_confusion_of_several_chunks(monkeypatch):
    prediction, reference = np.random.default_rng(0).integers(0, 4, (2, 7, 8, 9))
    whole = dice_per_case(prediction, reference, CLASSES, 3)
    monkeypatch.setattr(overlap, "_CHUNK", 50)
    assert dice_per_case(prediction, reference, CLASSES, 3) == pytest.approx(whole, rel=0, abs=0, nan_ok=True)


@given(label_maps)
def test_a_perfect_prediction_scores_one_or_nan(labels):
    assert all(v == 1 or math.isnan(v) for v in dice_per_case(labels, labels, CLASSES).values())


def test_mean_over_cases_then_classes():
    nan = math.nan
    result = aggregate(
        {
            "a": {"organ": 0.9, "lesion": nan, "never": nan},
            "b": {"organ": 0.8, "lesion": 0.2, "never": nan},
            "c": {"organ": 0.7, "lesion": 0.0, "never": nan},
        }
    )
    assert result.per_class == pytest.approx({"organ": 0.8, "lesion": 0.1, "never": nan}, nan_ok=True)
    assert result.cases == {"organ": 3, "lesion": 2, "never": 0}
    assert result.left_out == ("never",)
    # The mean of the two classes' means, not of the five numbers, which would be 0.52.
    assert result.mean == pytest.approx(0.45)


def test_nothing_to_find_anywhere():
    result = aggregate({"a": {"organ": math.nan}})
    assert math.isnan(result.mean)
    assert result.left_out == ("organ",)


@pytest.mark.parametrize("per_case", [{}, {"a": {"organ": 1.0}, "b": {"lesion": 1.0}}])
def test_aggregate_refuses(per_case):
    with pytest.raises(ValueError, match=r"no case|case b"):
        aggregate(per_case)


def test_the_order_of_cases_does_not_matter():
    cases = {f"case{i}": {"organ": v} for i, v in enumerate(np.random.default_rng(0).random(100).tolist())}
    assert aggregate(cases) == aggregate(dict(reversed(cases.items())))
