"""A regions_class_order is accepted if and only if nnU-Net's own decoding of a perfect network gives every label back."""

from __future__ import annotations

import json
import re
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from test_errors import OPTIONS, edit_json, rewrite

from nnactive_ext.cli import plan, status
from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import write_json
from nnactive_ext.nnunet.dataset import Dataset
from nnactive_ext.nnunet.regions import order_problem

BRATS = {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]}
KITS = {"background": 0, "kidney": [1, 2, 3], "masses": [2, 3], "tumor": 2}
RIGHT = {
    "BraTS 2021, nnU-Net's documentation": (BRATS, [1, 2, 3]),
    "KiTS 2023": (KITS, [1, 3, 2]),
    "with ignore": ({**BRATS, "ignore": 4}, [1, 2, 3]),
    "disjoint and nested": ({"background": 0, "organ": [1, 3], "vessel": 2, "lesion": 3}, [1, 2, 3]),
    "more regions than labels": ({"background": 0, "all": [1, 2], "rim": 1, "core": 2}, [2, 1, 2]),
    "a region with background": ({"background": 0, "body": [0, 1], "organ": 1}, [0, 1]),
}


def perfect(names: dict, order: list, label_map: np.ndarray) -> np.ndarray:
    """What nnU-Net makes of the regions of ``label_map``."""
    manager = LabelManager(names, order)
    regions = [np.isin(label_map, region) for region in manager.foreground_regions]
    return manager.convert_probabilities_to_segmentation(np.stack(regions).astype(np.float32))


def every_label(names: dict) -> np.ndarray:
    return np.array(LabelManager(names, None, force_use_labels=True).all_labels)


def printed(problem: str, names: dict) -> tuple[dict, list] | None:
    """The labels and the order of a message; None where it says that there is none."""
    if "no order" in problem:
        return None
    labels = re.search(r'"labels": (\{.*?\})', problem)
    order = re.search(r'"regions_class_order": (\[.*?\])', problem)
    return json.loads(labels[1]) if labels else names, json.loads(order[1])


@pytest.mark.parametrize("name", RIGHT)
def test_right_orders(name):
    names, order = RIGHT[name]
    np.testing.assert_array_equal(perfect(names, order, every_label(names)), every_label(names))
    assert order_problem(names, order) == ""


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (BRATS, [1, 2]),
        (BRATS, [1, 2, 3, 4]),
        (BRATS, []),
        (BRATS, [1, 2, 2]),
        (BRATS, [3, 2, 1]),
        (BRATS, ["1", "2", "3"]),
        (BRATS, [1, 2, 3.0]),
        (KITS, [1, 2, 3]),
        ({"background": 0, "enhancing": 3, "core": [2, 3], "whole": [1, 2, 3], "ignore": 4}, [3, 2, 1]),
        ({"background": 0, "all": [1, 2], "rim": 1, "core": 2}, [0, 1, 2]),
    ],
)
def test_wrong_orders_come_with_right_ones(names, order):
    problem = order_problem(names, order)
    assert problem
    right = printed(problem, names)
    assert right[0] == names
    np.testing.assert_array_equal(perfect(*right, every_label(names)), every_label(names))
    assert order_problem(*right) == ""


def test_labels_that_nothing_tells_apart():
    problem = order_problem({"background": 0, "organ": [1, 2, 3], "lesion": [2, 3]}, [1, 2])
    assert "labels 2 and 3 lie in exactly the same regions (lesion, organ)" in problem
    assert printed(problem, {}) is None
    cycle = {"background": 0, "a": [1, 2], "b": [2, 3], "c": [1, 3]}
    assert "regions a, b, c" in order_problem(cycle, [1, 2, 3])


@st.composite
def described(draw):
    """A region of all labels, up to two others, and any order: right, wrong, too long or too short."""
    labels = draw(st.integers(2, 3))
    region = st.lists(st.integers(1, labels), min_size=1, max_size=labels, unique=True)
    regions = draw(st.permutations([list(range(1, labels + 1)), *draw(st.lists(region, max_size=2))]))
    names = {"background": 0, **{f"r{i}": r[0] if len(r) == 1 and draw(st.booleans()) else r for i, r in enumerate(regions)}}
    order = draw(st.lists(st.integers(0, labels), min_size=max(0, len(regions) - 1), max_size=len(regions) + 1))
    return names, order


@given(described())
def test_what_is_accepted_is_right_and_what_is_printed_is_accepted(given_labels):
    names, order = given_labels
    problem = order_problem(names, order)
    right = printed(problem, names) if problem else (names, order)
    if right is not None:
        assert right[0] == names
        assert order_problem(*right) == ""
        np.testing.assert_array_equal(perfect(*right, every_label(names)), every_label(names))


@given(described())
def test_what_is_impossible_is_impossible(given_labels):
    """By trying all orders of the regions with all values."""
    names, order = given_labels
    regions = {name: r for name, r in names.items() if name != "background"}
    values = every_label(names)
    found = any(
        np.array_equal(perfect({"background": 0, **dict(arranged)}, list(painted), values), values)
        for arranged in permutations(regions.items())
        for painted in product(values[1:].tolist(), repeat=len(regions))
    )
    problem = order_problem(names, order)
    assert (not problem or printed(problem, names) is not None) == found


def regions_in(dataset, names: dict, order) -> None:
    """The tiny dataset with three labels, of which the third is a part of the second."""
    for number in range(8):
        file = dataset / f"labelsTr/tiny_{number}.nii.gz"
        rewrite(file, lambda array: _halved(array))
    edit_json(dataset / "dataset.json", lambda content: content.update(labels=names, regions_class_order=order))


def _halved(array: np.ndarray) -> np.ndarray:
    lesion = np.argwhere(array == 2)
    array[tuple(lesion[: len(lesion) // 2].T)] = 3
    return array


REGIONS = {"background": 0, "organ": [1, 2, 3], "lesion": [2, 3], "core": 2}


@pytest.mark.parametrize("order", [[1, 2, 3], [1, 3], [3, 3, 2], None])
def test_planning_refuses_a_wrong_order_before_cases_are_read(tiny, monkeypatch, capsys, order):
    regions_in(tiny, REGIONS, order)
    monkeypatch.setattr("nnactive_ext.planning.measure.map_cases", lambda *_, **__: pytest.fail("cases were read"))
    with pytest.raises(SystemExit):
        plan.main(f"-d 100 -o 101 {OPTIONS}".split())
    assert '"regions_class_order": [1, 3, 2]' in capsys.readouterr().err


def test_planning_refuses_an_order_that_is_no_list(tiny, capsys):
    regions_in(tiny, REGIONS, "132")
    with pytest.raises(SystemExit):
        plan.main(f"-d 100 -o 101 {OPTIONS}".split())
    assert "dataset.json: damaged (regions_class_order" in capsys.readouterr().err


def test_the_printed_order_is_planned_with(tiny, quick_planning):
    regions_in(tiny, REGIONS, [1, 3, 2])
    plan.main(f"-d 100 -o 101 {OPTIONS}".split())
    # An experiment of an earlier version, which accepted any order.
    file = next(tiny.parent.glob("Dataset101_*")) / "dataset.json"
    status.main("-d 101".split())
    edit_json(file, lambda content: content.update(regions_class_order=[1, 2, 3]))
    with pytest.raises(SystemExit):
        status.main("-d 101".split())


def test_labels_of_a_folder(tmp_path):
    folder = tmp_path / "Dataset001_A"
    folder.mkdir()
    content = {"channel_names": {"0": "CT"}, "file_ending": ".nii.gz", "labels": BRATS, "regions_class_order": [2, 1, 3]}
    write_json(folder / "dataset.json", content)
    with pytest.raises(NnActiveError, match=r"\[1, 2, 3\]"):
        _ = Dataset(folder).labels
    # Where no label is a region, nnU-Net does not look at the order.
    write_json(folder / "dataset.json", {**content, "labels": {"background": 0, "a": 1}, "regions_class_order": [1, 2]})
    assert Dataset(folder).labels.order is None
