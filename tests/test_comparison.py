"""What methods that compare patches do with their candidates, beside what all methods promise: degenerate pools and files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fakes import CLASSES, disjoint, from_members, patches_of, ranked, run, statistics, world

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.query_methods import methods
from nnactive_ext.query_methods.base import Content, Request
from nnactive_ext.query_methods.comparison import UNIFORM, Comparison
from nnactive_ext.query_methods.described import with_vectors
from nnactive_ext.querying.descriptor_files import DescriptorFiles

ALL = [method.name for method in methods.METHODS if isinstance(method, Comparison)]
WITHOUT_MEMBERS = ["coreset", "kmeans_bald", "typiclust", "probcover"]


@pytest.fixture(params=ALL)
def method(request):
    return methods.get(request.param)


def test_there_are_seven():
    assert sorted(ALL) == ["badge", "coreset", "kmeans_bald", "probcover", "sisom", "sisome", "typiclust"]


def test_one_case_with_one_candidate(method):
    w = world(1, shape=(4, 5, 6), size=(4, 5, 6))
    assert patches_of(run(method, w, Request(3, CLASSES))) == [Patch("case_0", (0, 0, 0), (4, 5, 6))]


def test_all_candidates_are_chosen_and_then_gaps(method):
    w = world(2)
    query = run(replace(method, candidates=3), w, Request(9, CLASSES))
    assert [choice.stratum for choice in query.patches] == ["all"] * 6 + ["random"] * 3
    assert disjoint(patches_of(query))
    assert "drawn at random between the others" in query.warnings[-1]


def test_identical_images(method):
    w = world(3)
    w.statistics = dict.fromkeys(w.references, from_members(np.full((1, 3, 12, 16, 14), 1 / 3)))
    w.annotated = {"case_1": [Patch("case_1", (0, 0, 0), (4, 5, 6))]}
    query = run(method, w, Request(5, CLASSES))
    assert (len(query.patches), query.missing) == (5, 0)
    assert query.warnings


def test_descriptors_that_are_no_numbers_name_the_case(method):
    w = world(2)
    rankings = {name: ranked(method, w, name, Request(2, CLASSES)) for name in w.references}
    rankings["case_1"].described.vectors[0][0, 0] = np.nan
    with pytest.raises(NnActiveError, match="case_1"):
        method.merge(rankings, w.pool(), Request(2, CLASSES))


def test_the_number_of_candidates_and_how_they_are_drawn(method):
    w, request = world(1, shape=(40, 40, 40)), Request(100, CLASSES, cases=500)
    candidates = ranked(method, w, "case_0", request).candidates
    assert len(candidates) == 10
    assert [candidate.stratum for candidate in candidates].count(UNIFORM) == 2
    assert len(ranked(method, w, "case_0", Request(150, CLASSES, cases=20)).candidates) == 30
    assert len(ranked(replace(method, uniform=1.0), w, "case_0", request).candidates) == 10
    assert disjoint([candidate.patch for candidate in candidates])


def test_without_any_foreground_predicted_candidates_are_uniform():
    method, w = methods.get("coreset"), world(1)
    certain = np.zeros((1, 3, 12, 16, 14))
    certain[:, 0], certain[:, 1] = 0.9, 0.1
    w.statistics = {"case_0": from_members(certain)}
    assert {c.stratum for c in ranked(method, w, "case_0", Request(2, CLASSES)).candidates} == {UNIFORM}


def test_patches_whose_image_voxels_overlap_are_passed_over():
    """Boxes that touch on the network's grid may share a voxel of the image."""
    method, w, request = methods.get("coreset"), world(2), Request(4, CLASSES)
    rankings = {name: ranked(method, w, name, request) for name in w.references}
    moved = [replace(c, patch=Patch(c.patch.case, (0, 0, 0), c.patch.size)) for c in rankings["case_0"].candidates]
    rankings["case_0"] = replace(rankings["case_0"], candidates=tuple(moved))
    query = method.merge(rankings, w.pool(), request)
    assert len(query.patches) == 4
    assert disjoint(patches_of(query))


def test_the_labels_of_annotated_patches_decide_their_class():
    assert Content((0, 0), 0, 100).label() == 0
    assert Content((0, 2), 2, 100).label() == 2
    assert Content((0, 2), 2, 1000).label() == 0
    assert Content((3, 3), 4, 100).label() == 1
    assert Content((0, 0), 0, 0).label() == -1


def test_sisom_without_labels_says_so_and_chooses_by_entropy():
    method, w = methods.get("sisom"), world(2)
    query = run(method, w, Request(3, CLASSES))
    assert "entropy" in query.warnings[0].lower()
    scores = [choice.score for choice in query.patches]
    assert scores == sorted(scores, reverse=True)


def files_of(folder, w, boxes):
    """Descriptors in files, of the given boxes: the means of the probabilities."""
    for name, found in boxes.items():
        vectors = np.zeros((len(found), 5), np.float32)
        for row, box in enumerate(found):
            p = w.statistics[name].mean[(slice(None), *box.slices)]
            vectors[row] = np.resize(np.concatenate([p.mean(axis=(1, 2, 3)), p.std(axis=(1, 2, 3))]), 5)
        start, size = ([getattr(box, what) for box in found] for what in ("start", "size"))
        np.savez(folder / f"{name}.npz", start=np.array(start), size=np.array(size), descriptor=vectors)
    return DescriptorFiles(folder, {name: reference.shape for name, reference in w.references.items()})


@pytest.mark.parametrize("name", WITHOUT_MEMBERS)
def test_the_members_own_descriptors_in_files_give_the_same_query(name, tmp_path):
    w, request = world(3), Request(5, CLASSES, seed=1)
    w.annotated = {"case_1": [Patch("case_1", (0, 0, 0), (4, 5, 6)), Patch("case_1", (4, 5, 6), (4, 5, 6))]}
    method = methods.get(name)
    rankings = {case: method.rank(w.scored(case), request) for case in w.references}
    boxes = {c: [*(one.patch for one in r.candidates), *w.annotated.get(c, ())] for c, r in rankings.items()}
    files = files_of(tmp_path, w, boxes)
    read = {case: with_vectors(ranking, *files(case, boxes[case])) for case, ranking in rankings.items()}
    assert method.merge(read, w.pool(), request) == run(method, w, request)


@pytest.mark.parametrize("name", WITHOUT_MEMBERS)
def test_the_start_needs_no_member(name, tmp_path):
    w, request = world(3), Request(5, CLASSES, cycle=-1, cases=3)
    w.annotated = {"case_1": [Patch("case_1", (0, 0, 0), (4, 5, 6))]}
    whole = {case: [Patch(case, (z, 0, 0), (4, 16, 14)) for z in (0, 4, 8)] for case in w.references}
    files = files_of(tmp_path, w, whole)
    method = methods.get(name, features=f"file:{tmp_path}")
    query = method.start(w.pool(), request, files)
    assert (len(query.patches), query.missing) == (5, 0)
    assert disjoint([*w.annotated["case_1"], *patches_of(query)])
    assert method.start(w.pool(sorted(w.references, reverse=True)), request, files) == query
    assert patches_of(method.start(w.pool(), replace(request, seed=1), files)) != patches_of(query)


def test_a_descriptor_is_the_mean_of_boxes_by_what_they_share_and_candidates_no_box_touches_are_dropped(tmp_path):
    start, size = np.array([[0, 0, 0], [0, 0, 2]]), np.array([[1, 1, 2], [1, 1, 1]])
    np.savez(tmp_path / "a.npz", start=start, size=size, descriptor=np.array([[1, 0], [4, 1]], np.float32))
    files = DescriptorFiles(tmp_path, {"a": (2, 1, 4)})
    vectors, there = files(
        "a", [Patch("a", (0, 0, 1), (1, 1, 2)), Patch("a", (0, 0, 0), (2, 1, 3)), Patch("a", (1, 0, 0), (1, 1, 4))]
    )
    assert vectors.tolist() == [[2.5, 0.5], [2.0, np.float32(1 / 3)], [0.0, 0.0]]
    assert there.tolist() == [True, True, False]

    w, request = world(1), Request(2, CLASSES)
    method = methods.get("coreset", features=f"file:{tmp_path}")
    ranking = method.rank(w.scored("case_0"), request)
    touched = np.arange(len(ranking.candidates)) > 2
    query = method.merge({"case_0": with_vectors(ranking, np.eye(len(touched), dtype=np.float32), touched)}, w.pool(), request)
    assert any(warning.startswith("3 candidates are left out") for warning in query.warnings)


GOOD = {"start": np.zeros((1, 3), int), "size": np.ones((1, 3), int), "descriptor": np.ones((1, 2), np.float32)}


@pytest.mark.parametrize(
    ("arrays", "what"),
    [
        ({"descriptor": np.array([[1, np.nan]], np.float32)}, "NaN"),
        ({"size": np.full((1, 3), 9)}, "not inside the image"),
        ({"start": np.full((1, 3), -1)}, "not inside the image"),
        ({"start": np.zeros((2, 3), int)}, "shapes"),
        ({"start": np.zeros((1, 3))}, "whole numbers"),
        ({"descriptor": np.ones((1, 5), np.float32)}, "5 dimensions"),
        ({"descriptor": np.array([[object()]])}, "cannot be read"),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path, arrays, what):
    np.savez(tmp_path / "a.npz", **GOOD)
    np.savez(tmp_path / "b.npz", **{**GOOD, **arrays})
    files = DescriptorFiles(tmp_path, {"a": (4, 4, 4), "b": (4, 4, 4)})
    files("a", [Patch("a", (0, 0, 0), (1, 1, 1))])
    with pytest.raises(NnActiveError, match=rf"b\.npz: .*{what}"):
        files("b", [Patch("b", (0, 0, 0), (1, 1, 1))])


def test_a_case_without_a_file_is_named(tmp_path):
    np.savez(tmp_path / "a.npz", **GOOD)
    with pytest.raises(NnActiveError, match=r"CASE\.npz.* b"):
        DescriptorFiles(tmp_path, {"a": (4, 4, 4), "b": (4, 4, 4)})


@pytest.mark.parametrize(
    ("name", "options", "what"),
    [
        ("badge", {"labelled": "true"}, "annotated"),
        ("sisom", {"labelled": "false"}, "annotated"),
        ("sisom", {"features": "encoder"}, "features=encoder"),
        ("sisom", {"normalise": "unit"}, "normalise"),
        ("coreset", {"features": "layers"}, "features=layers"),
        ("coreset", {"features": "luck"}, "luck"),
        ("coreset", {"features": "file:/nowhere"}, "/nowhere: no such folder"),
        ("coreset", {"clusters": "5"}, "first"),
        ("typiclust", {"clusters": "0"}, "clusters"),
        ("probcover", {"delta": "-1"}, "delta"),
        ("sisom", {"steepness": "1,0"}, "steepness"),
    ],
)
def test_options_that_do_not_go_together_are_refused(name, options, what):
    with pytest.raises(NnActiveError, match=what):
        methods.get(name, **options)


def test_the_published_codes_variants_are_options():
    assert methods.get("kmeans_bald", labelled="false", first="longest").choice.first == "longest"
    assert methods.get("sisom", **{"from": "neighbour"}).choice.origin == "neighbour"
    assert methods.get("sisom", steepness="100,1000,.001,.001").choice.steepness == (100, 1000, 0.001, 0.001)


def test_the_bank_of_sisom_is_thinned_out(monkeypatch):
    monkeypatch.setattr("nnactive_ext.query_methods.choices.BANK", 4)
    w = world(3)
    w.annotated = {n: [Patch(n, (z, 0, x), (4, 5, 6)) for z in (0, 4) for x in (0, 6)] for n in w.references}
    w.statistics = {name: statistics((12, 16, 14), seed=i) for i, name in enumerate(w.references)}
    assert len(run(methods.get("sisome", steepness="search"), w, Request(4, CLASSES)).patches) == 4
