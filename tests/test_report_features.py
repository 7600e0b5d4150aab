"""Where chosen patches lie in feature space: what is gathered, what is passed over, and what the page says of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import report_facts
from fake_members import FakeEnsemble, fake_train

from nnactive_ext.experiment.loops import loop_file, read_loop
from nnactive_ext.files import read_json, write_json
from nnactive_ext.geometry.patch import Patch, triple
from nnactive_ext.pages.templates import render
from nnactive_ext.querying.query import query_cycle
from nnactive_ext.report import feature_space as module
from nnactive_ext.report.feature_space import MOST, FeatureSpace, Point, feature_space, principal
from nnactive_ext.report.section_features import features


@pytest.fixture
def asked(planned):
    """The experiment after a query of coreset, whose patches nobody has annotated yet."""
    for fold in planned.folds():
        fake_train(planned, fold)
    query_cycle(planned, lambda e, folds: FakeEnsemble(e, classes=3), planned.folds(), "coreset", progress=False)
    return planned


def stored(experiment):
    return sorted((experiment.results / "cycle_000" / "candidates").glob("*.npz"))


def test_the_share_of_variance_and_the_sign():
    rng = np.random.default_rng(0)
    turned = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    scores = rng.normal(size=(400, 5))
    scores -= scores.mean(axis=0)
    scores = np.linalg.qr(scores)[0] * [4, 2, 1, 1, 0]  # variances 16, 4, 1, 1, 0 without correlation
    places, shares = principal(scores @ turned)
    assert shares == pytest.approx((16 / 22, 4 / 22))
    for axis in range(2):
        weights = turned[axis] * np.sign(turned[axis][np.abs(turned[axis]).argmax()])
        assert places[:, axis] == pytest.approx((scores @ turned) @ weights)
    again, _ = principal((scores @ turned)[::-1])
    assert again[::-1] == pytest.approx(places)


def test_one_dimension_and_no_variance():
    places, shares = principal(np.array([[0.0], [1], [5]]))
    assert shares == pytest.approx((1, 0))
    assert places[:, 0] == pytest.approx([-2, -1, 3])
    assert principal(np.ones((9, 4))) is None
    assert principal(np.eye(2)) is None


def test_chosen_dots_are_the_patches_of_the_loop_file(asked):
    found = feature_space(asked)
    patches = read_loop(loop_file(asked.raw, 1), ".nii.gz")
    assert (found.cycle, found.method, found.normalise) == (1, "coreset", "none")
    assert sorted(one.case for one in found.chosen) == sorted(patch.case for patch in patches)
    rows, own, other = [], [], []
    for file in stored(asked):
        with np.load(file) as content:
            own.append(content["candidate"])
            other.append(content["annotated"])
        content = read_json(file.with_suffix(".json"))["candidates"]
        rows += [Patch(file.stem, triple(start), triple(size)) for _, start, size, _, _ in content]
    places, shares = principal(np.concatenate([*own, *other]))
    assert found.shares == shares
    expected = sorted(places[rows.index(patch)].tolist() for patch in patches)
    assert sorted([one.x, one.y] for one in found.chosen) == expected
    assert len(found.candidates) == len(rows) - len(patches)
    assert found.undescribed == 0


def test_classes_are_those_of_annotated_voxels(asked):
    """The chosen patches are not annotated, so nothing is known of them, although the source has their reference labels."""
    found = feature_space(asked)
    assert {one.label for one in (*found.chosen, *found.candidates)} == {""}
    assert {one.label for one in found.annotated} <= {"background", *asked.dataset.labels.classes}
    start = read_loop(loop_file(asked.raw, 0), ".nii.gz")
    assert sorted((one.case, one.cycle) for one in found.annotated) == sorted((patch.case, 0) for patch in start)


def test_damaged_and_outdated_files_are_passed_over(asked):
    whole = feature_space(asked)
    damaged, outdated, *_ = stored(asked)
    damaged.write_bytes(damaged.read_bytes()[:300])
    content = read_json(outdated.with_suffix(".json"))
    write_json(outdated.with_suffix(".json"), {**content, "for": "an earlier query"})
    found = feature_space(asked)
    gone = {damaged.stem, outdated.stem}
    assert {one.case for one in found.candidates} == {one.case for one in whole.candidates} - gone
    lost = sum(one.case in gone for one in whole.chosen)
    assert (len(found.chosen), found.undescribed) == (len(whole.chosen) - lost, lost)


def test_without_descriptors_of_this_query_nothing_is_shown(asked):
    loop = loop_file(asked.raw, 1)
    content = read_json(loop)
    patches = [{**one, "coords": [n + 1 for n in one["coords"]]} for one in content["patches"][:1]]
    write_json(loop, {**content, "patches": patches})
    assert feature_space(asked) is None  # the candidates of another query
    write_json(loop, content)
    assert feature_space(asked) is not None
    for file in stored(asked):
        file.unlink()
    assert feature_space(asked) is None
    assert features(report_facts.facts()) is None


def space(**more):
    point = Point("case_0", 0.0, 1.0)
    annotated = [Point("case_1", 1.0, 0.0, cycle, name) for cycle, name in ((0, "liver"), (1, "tumour"), (None, ""))]
    chosen = [Point("<b>", 2.0, 2.0, 2, "liver")]
    return replace(FeatureSpace(2, "coreset", "none", [point], annotated, chosen, (1, 3, 1), 0, (0.5, 0.25)), **more)


def test_the_page_says_the_share_and_names_cases():
    facts = replace(report_facts.facts(), feature_space=space(undescribed=2, found=(900, 3, 1)))
    shown = features(facts)
    page = render("report", "queries_features.html", queries={"features": shown})
    assert "75" in page
    assert "case_1, annotated, cycle 1: tumour" in page
    assert "&lt;b&gt;, chosen, cycle 2: liver" in page
    assert "2 chosen patches have" in page
    assert "900 candidates" in page
    assert [name for name, _ in shown["classes"]] == ["liver", "tumour", "not annotated"]


def test_each_of_the_last_cycles_has_a_shape_of_its_own():
    """Earlier ones share one, with those that are not known, and the legend says which."""
    annotated = [Point("case_1", float(cycle or 0), 0.0, cycle, "liver") for cycle in (None, -1, *range(9))]
    shown = features(replace(report_facts.facts(), feature_space=space(cycle=9, annotated=annotated)))
    named, signs = zip(*shown["cycles"], strict=True)
    assert len(set(signs) | {shown["chosen"]}) == len(signs) + 1
    assert [name for name in named if "," not in name] == [f"cycle {cycle}" for cycle in range(8, 2, -1)]
    assert named[-1].split(", ")[:3] == ["cycle 2", "cycle 1", "cycle 0"]


def test_many_dots_are_thinned_and_stay_small():
    points = [Point(f"a_case_with_a_name_{i}", float(i), float(-i), 1, "liver") for i in range(5 * MOST)]
    thin = module._thinned(points, MOST)
    assert len(set(thin)) == MOST
    assert thin == module._thinned(points, MOST)
    facts = replace(report_facts.facts(), feature_space=space(candidates=thin[:700], annotated=thin[700:], found=(4000, 3, 1)))
    assert len(render("report", "queries_features.html", queries={"features": features(facts)})) < 200_000
