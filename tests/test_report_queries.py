"""Where queried patches lie, how much they repeat, and how unsure the ensemble was about what was left."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
import report_facts
from hypothesis import given
from hypothesis import strategies as st
from report_crops import _space

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import loop_file, read_loop
from nnactive_ext.files import read_json, write_json
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.labelling.precision import Precision
from nnactive_ext.report.disagreement import disagreement
from nnactive_ext.report.page import write_report
from nnactive_ext.report.places import AXES, BINS, covered, overlaps, place_in, places

TURNS = [(order, flips) for order in permutations(range(3)) for flips in product((False, True), repeat=3)]
BOXES = st.tuples(st.tuples(*[st.integers(0, 6)] * 3), st.tuples(*[st.integers(1, 5)] * 3))


@pytest.mark.parametrize(("order", "flips"), TURNS)
def test_a_place_does_not_depend_on_the_order_of_storage(order, flips):
    space = _space(order, flips)
    # Head, front and right: high z, low y, low x of the 12 x 20 x 24 voxels as stored at first.
    marked = np.zeros((12, 20, 24), bool)
    marked[9:12, 0:4, 0:6] = True
    inside = np.argwhere(np.flip(marked.transpose(order), [a for a in range(3) if flips[a]]))
    start, stop = inside.min(0), inside.max(0) + 1
    patch = Patch("case", tuple(start.tolist()), tuple((stop - start).tolist()))
    assert place_in(space, patch) == pytest.approx((3 / 24, 2 / 20, 1.5 / 12))


def test_places_of_an_experiment(finished):
    found = places(finished)
    chosen = [(c, patch) for c in range(3) for patch in read_loop(loop_file(finished.raw, c), ".nii.gz")]
    assert [(place.cycle, place.case) for place in found.patches] == [(cycle, patch.case) for cycle, patch in chosen]
    assert found == places(Experiment(finished.name))
    assert not found.unknown
    for axis in AXES:
        for cycle, counts in found.histograms[axis].items():
            values = [getattr(place, axis) for place in found.patches if place.cycle == cycle]
            assert all(0 < value < 1 for value in values)
            assert len(counts) == BINS
            assert [sum(int(value * BINS) == i for value in values) for i in range(BINS)] == list(counts)
    # The tiny images are stored with head, back and left at the high ends.
    for place, (_, patch) in zip(found.patches, chosen, strict=True):
        shape = finished.plan.pool[patch.case].shape
        z, y, x = ((a + n / 2) / whole for a, n, whole in zip(patch.start, patch.size, shape, strict=True))
        assert (place.right_left, place.front_back, place.head_foot) == pytest.approx((x, y, 1 - z))


def test_a_case_whose_image_is_gone_has_no_place(finished):
    case = places(finished).patches[0].case
    os.remove(finished.dataset.entries[case].images[0])
    found = places(Experiment(finished.name))
    assert found.unknown == (case,)
    assert all(place.case != case for place in found.patches)
    assert found.patches


@given(BOXES, st.lists(BOXES, max_size=4))
def test_covered_share(box, others):
    patch = Patch("a", *box)
    voxels = {tuple(v) for v in (np.argwhere(np.ones(patch.size)) + patch.start).tolist()}
    taken = {tuple(v) for start, size in others for v in (np.argwhere(np.ones(size)) + start).tolist()}
    earlier = [Patch("a", *other) for other in others]
    assert covered(patch, earlier) == pytest.approx(len(voxels & taken) / len(voxels))
    assert covered(patch, [replace(other, case="b") for other in earlier]) == 0


def test_overlaps_of_an_experiment(finished):
    file = loop_file(finished.raw, 2)
    content = read_json(file)
    before = [patch for c in (0, 1) for patch in read_loop(loop_file(finished.raw, c), ".nii.gz")]
    first = before[0]
    moved = [first.start[0] + (1 if first.stop[0] < finished.plan.pool[first.case].shape[0] else -1), *first.start[1:]]
    content["patches"][0].update(file=f"{first.case}.nii.gz", coords=moved, size=list(first.size))
    write_json(file, content)
    start, _, last = overlaps(finished)
    assert (start.patches, start.mean, start.highest) == (6, 0, 0)
    assert start.cases == start.new_cases
    assert last.highest >= 1 - 1 / first.size[0] - 1e-9
    assert last.mean == pytest.approx(last.highest / 4, abs=0.3)
    now = read_loop(file, ".nii.gz")
    assert last.patches == len(now) == 4
    assert last.cases == len({patch.case for patch in now})
    assert last.new_cases == len({patch.case for patch in now} - {patch.case for patch in before})


def test_disagreement_is_of_the_best_candidate_of_each_case(finished):
    found = disagreement(finished)
    assert found is not None
    assert [one.cycle for one in found] == [0, 1]
    folder = finished.results / "cycle_000" / "candidates"
    best = [max(row[3] for row in read_json(file)["candidates"]) for file in folder.glob("*.json")]
    assert found[0].cases == len(best) == 6
    assert found[0].median == pytest.approx(np.median(best))
    assert found[0].high == pytest.approx(np.quantile(best, 0.9))
    assert found[0].query == read_json(loop_file(finished.raw, 1))["method"]


def test_leftover_and_damaged_candidates_do_not_count(finished):
    folder = finished.results / "cycle_000" / "candidates"
    stale, damaged, empty, *others = sorted(folder.glob("*.json"))
    write_json(stale, {**read_json(stale), "for": "an earlier query"})
    damaged.write_text("{")
    write_json(empty, {**read_json(empty), "candidates": []})
    write_json(folder / "no_case_of_the_pool.json", {**read_json(others[0]), "candidates": [["all", [0] * 3, [1] * 3, 99, 0]]})
    found = disagreement(finished)
    assert found is not None
    assert found[0].cases == len(others)
    assert found[0].high < 99


def test_candidates_described_in_files_are_each_for_a_file_of_its_own(finished):
    loop = loop_file(finished.raw, 1)
    write_json(loop, {**read_json(loop), "method": "coreset", "options": {"features": "file:vectors"}})
    files = sorted((finished.results / "cycle_000" / "candidates").glob("*.json"))
    for file in files:
        write_json(file, {**read_json(file), "for": file.stem})
    assert disagreement(finished)[0].cases == len(files)


@pytest.mark.parametrize("rows", [[[1, 2]], [["a", 0, 0, "high", 0]], 7, [3], {"a": 1}])
def test_candidates_in_another_form_are_passed_over(finished, rows):
    file, *others = sorted((finished.results / "cycle_000" / "candidates").glob("*.json"))
    write_json(file, {**read_json(file), "candidates": rows})
    assert disagreement(finished)[0].cases == len(others)


def test_methods_that_ask_no_member_tell_nothing(planned):
    assert disagreement(planned) is None


def test_how_many_patches_belonged(tmp_path):
    gone = ({"what": "irrelevant", "before": None, "after": ["knee"], "who": "anna", "after_cycle": 0, "when": "", "left": {}},)
    shown = replace(
        report_facts.facts(changes=gone, dropped=("knee",)),
        precision=[Precision(0, 6, 0), Precision(1, 40, 7)],
        strangers="Look for images that do not belong.",
    )
    write_report(shown, file := tmp_path / "report.html")
    page = " ".join(file.read_text().split())
    for words in (
        "<td>40</td><td>7</td><td>82.5 %</td>",
        "left the pool as irrelevant: knee",
        "do not belong.",
        "knee irrelevant",
    ):
        assert words in page, words
    write_report(report_facts.facts(), file)
    assert "do not belong" not in file.read_text()
