"""LaSeR's choice of cases, and which cases a query leaves out, on pools without files."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import CLASSES, patches_of, run, world

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.labelling.verdicts import Verdict
from nnactive_ext.query_methods import methods
from nnactive_ext.query_methods.base import Query, Relevance, Request
from nnactive_ext.querying.relevant import screened
from nnactive_ext.querying.screen import checked_screen
from nnactive_ext.relevance.deciding import Decided, by_intensities, by_texts, by_verdicts
from nnactive_ext.relevance.detector import UNLABELLED, detected
from nnactive_ext.relevance.examples import Described, examples
from nnactive_ext.relevance.options import Options, changed_words, lasting_words, options_of
from nnactive_ext.relevance.reading import Similarity
from nnactive_ext.relevance.texts import Text, Texts

LASER = methods.get("laser")
BY_TEXT = {"a": [0.9, 0.1], "b": [0.8, 0.2], "c": [0.1, 0.7], "d": [0.85, 0.6], "e": [0.0, 0.05]}
"""case -> relevance by the texts u and v."""


def known(w, texts=("u", "v")):
    """The pool of a world of five cases with the relevance of BY_TEXT."""
    relevance = {
        name: Relevance(max(row), dict(zip(texts, row, strict=False)))
        for name, row in zip(w.references, BY_TEXT.values(), strict=True)
    }
    return {name: replace(case, relevance=relevance[name]) for name, case in w.pool().items()}


def chosen(pool, n, w=None, start=False):
    w, request = w or world(5), Request(n, CLASSES)
    query = (
        LASER.start(pool, request)
        if start
        else LASER.merge({name: LASER.rank(w.scored(name), request) for name in pool}, pool, request)
    )
    return ["abcde"[int(patch.case[-1])] for patch in patches_of(query)], query


@pytest.mark.parametrize("start", [False, True])
def test_each_text_gets_its_share_no_case_twice_and_the_rest_go_by_relevance(start):
    w = world(5)
    for n, expected in {1: "a", 2: "ac", 3: "acd", 4: "acdb", 5: "acdbe", 7: "acdbead"}.items():
        assert chosen(known(w), n, w, start)[0] == list(expected)
    # Of one text, by relevance alone.
    assert chosen(known(w, ()), 3, w, start)[0] == ["a", "d", "b"]


def test_in_each_case_it_is_the_most_uncertain_patch_first():
    w = world(5)
    _, query = chosen(known(w), 7, w)
    first = {patch.patch.case: patch for patch in query.patches[:5]}
    entropy = methods.get("predictive_entropy")
    for name, choice in first.items():
        best = entropy.rank(w.scored(name), Request(7, CLASSES)).candidates[0]
        assert (choice.patch, choice.score) == (best.patch, best.score)
        assert choice.key == known(w)[name].relevance.score


def test_neither_the_order_of_texts_nor_of_cases_matters():
    w = world(5)
    pool = known(w)
    moved = {
        name: replace(
            pool[name], relevance=Relevance(pool[name].relevance.score, dict(reversed(pool[name].relevance.texts.items())))
        )
        for name in reversed(pool)
    }
    assert chosen(moved, 4, w) == chosen(pool, 4, w)


def test_ties_go_by_name_and_nothing_known_is_a_tie():
    assert chosen(world(5).pool(), 6)[0] == list("abcdea")
    assert len(run(LASER, world(1), Request(3, CLASSES)).patches) == 3


def decided(**scores):
    return Decided({case: Relevance(score) for case, score in scores.items()}, "texts")


def room(*, each=1, n=2):
    """A query of n patches where each case has room for some; the cases that it was asked about are noted."""
    asked = []

    def choose(cases):
        asked.append(list(cases))
        found = [Patch(case, (0, 0, i), (1, 1, 1)) for case in cases for i in range(each)][:n]
        return Query(tuple(found), n - len(found))

    return choose, asked


@pytest.mark.parametrize(
    ("share", "scores", "out"),
    [
        (0.5, [4, 1, 3, 2], ["b", "d"]),
        (0.5, [1, 2, 3], ["a"]),
        (0.5, [5], []),
        (0.5, [2, 2, 2, 2], []),
        (0.25, [4, 1, 3, 2], ["b"]),
        (0.9, [4, 1, 3, 2], ["b", "c", "d"]),
        (0.0, [4, 1, 3, 2], []),
        (0.5, [2, 2, 2, 1], ["d"]),
        (0.5, [-np.inf, 1, 2, -np.inf], ["a", "d"]),
    ],
)
def test_cases_below_the_share_are_left_out(share, scores, out):
    cases = list("abcd")[: len(scores)]
    choose, asked = room(n=1)
    query, left = screened(choose, decided(**dict(zip(cases, scores, strict=True))), cases, share)
    assert left == out
    assert asked == [[case for case in cases if case not in out]]
    assert not query.warnings


def test_the_threshold_falls_where_patches_would_be_missing():
    choose, asked = room(each=1, n=3)
    query, left = screened(choose, decided(a=4, b=1, c=3, d=2), list("abcd"), 0.5)
    assert (left, query.missing) == (["b"], 0)
    assert asked[-1] == ["a", "c", "d"]
    assert "d may give patches" in query.warnings[-1]
    query, left = screened(room(each=1, n=9)[0], decided(a=4, b=1), list("ab"), 0.5)
    assert (left, query.missing) == ([], 7)


@pytest.mark.parametrize("name", methods.names())
def test_every_method_may_leave_cases_out(name):
    """And chooses among the others as if there were no more."""
    if name == "precomputed":
        with pytest.raises(NnActiveError, match="-screen"):
            checked_screen(0.5, methods._named(name))
        assert checked_screen(0, methods._named(name)) == 0
        return
    method, w, request = methods.get(name), world(4), Request(5, CLASSES)
    scores = dict(zip(w.references, (4, 1, 3, 2), strict=True))
    query, left = screened(lambda cases: run(method, w, request, cases), decided(**scores), list(w.references), 0.5)
    assert left == ["case_1", "case_3"]
    assert {patch.case for patch in patches_of(query)} == {"case_0", "case_2"}
    assert query == run(method, w, request, ["case_0", "case_2"])


@pytest.mark.parametrize("share", [-0.1, 1, 1.5, np.nan])
def test_what_a_share_cannot_be(share):
    with pytest.raises(NnActiveError, match="-screen"):
        checked_screen(share, LASER)


def test_relevance_by_what_is_known():
    texts = Texts((Text("a", True, "", ""), Text("b", False, "", ""), Text("c", True, "", "")))
    similarity = Similarity(texts, {"x": np.array([0.3, 0.2, 0.1]), "y": np.array([0.1, 0.1, 0.2])})
    found = by_texts(["x", "y"], similarity)
    assert found.cases["x"].score == pytest.approx(0.1)
    assert found.cases["x"].texts == pytest.approx({"a": 0.1, "c": -0.1})
    assert (found.by, found.delta, found.detector) == ("texts", 0, {})
    both = by_texts(["x", "y"], similarity, np.array([-1.0, 0.5]), 0.1)
    assert both.cases["x"].score == pytest.approx(0.09 - 0.1)
    assert (both.by, both.delta, both.texts["y"]) == ("texts and verdicts", 0.1, pytest.approx(0.1))
    alone = by_verdicts(["x", "y"], np.array([-1.0, 0.5]))
    assert {case: one.score for case, one in alone.cases.items()} == {"x": -1, "y": 0.5}


def test_before_there_are_verdicts_strange_intensities_come_last():
    rng = np.random.default_rng(0)
    quantiles = np.sort(rng.normal(0, 1, (7, 1, 101)), axis=2)
    quantiles[3] += 50
    cases = list("abcdefg")
    for reference in (np.arange(7) < 3, np.zeros(7, bool), np.ones(7, bool)):
        found = by_intensities(cases, quantiles, reference)
        assert min(cases, key=lambda case: found.cases[case].score) == "d"
    one = by_intensities(["a"], quantiles[:1], np.zeros(1, bool))
    assert np.isfinite(one.cases["a"].score)


def test_a_case_without_a_finite_voxel_comes_last_and_hides_no_other():
    quantiles = np.sort(np.random.default_rng(0).normal(0, 1, (7, 1, 101)), axis=2)
    without = by_intensities(list("acdefg"), quantiles[[0, 2, 3, 4, 5, 6]], np.ones(6, bool))
    quantiles[1] = np.nan
    found = by_intensities(list("abcdefg"), quantiles, np.ones(7, bool)).cases
    assert found["b"].score == -np.inf
    assert {case: one for case, one in found.items() if case != "b"} == without.cases


def test_what_a_detector_learns_from():
    patches = [Patch(case, (i, 0, 0), (1, 1, 1)) for case in "xyz" for i in range(2)]
    vectors = np.arange(6.0)[:, None]
    classes = np.array([0, 2, 1, -1, 1, 1])
    described = {
        case: Described(
            np.full((3, 1), 10.0 * i), tuple(patches[2 * i : 2 * i + 2]), vectors[2 * i : 2 * i + 2], classes[2 * i : 2 * i + 2]
        )
        for i, case in enumerate("xyz")
    }
    judged = [
        Verdict("x", patches[1], True, "anna", "", 0),
        Verdict("z", None, True, "anna", "", 0),
        Verdict("y", None, False, "", "", 0),
    ]
    found, known_classes = examples(described, judged)
    # Of x the irrelevant patch, of y the one with a label, of z all windows.
    assert found[:, 0].tolist() == [0, 1, 2, 20, 20, 20]
    assert known_classes.tolist() == [0, -1, 1, -1, -1, -1]
    # The windows of y count as relevant, too; those of x do not, of which a patch is irrelevant, nor those of z.
    found, known_classes = examples(described, judged, ("x", "y", "z"))
    assert found[:, 0].tolist() == [0, 1, 10, 10, 10, 2, 20, 20, 20]
    assert known_classes.tolist() == [0, -1, UNLABELLED, UNLABELLED, UNLABELLED, 1, -1, -1, -1]


def test_nothing_described_and_nothing_known_are_no_examples():
    nothing = Described(np.zeros((0, 2)), (), np.zeros((0, 2)), np.zeros(0, int))
    for described in ({}, {"x": nothing}):
        vectors, classes = examples(described, [])
        assert len(vectors) == len(classes) == 0


def test_air_is_not_irrelevant_because_irrelevant_cases_hold_it():
    """Windows of all cases are mostly air; annotated patches show structures, and strangers something else."""
    rng = np.random.default_rng(0)

    def case(name, strange):
        centres = np.array([[0, 0]] * 12 + [[1, 0]] * 2 + [[0, 3] if strange else [3, 0]] * 2)
        patch = Patch(name, (0, 0, 0), (1, 1, 1))
        vectors = rng.normal(centres, 0.1)
        return Described(vectors, (patch,), rng.normal([[0, 3] if strange else [3, 0]], 0.1), np.array([-1 if strange else 1]))

    described = {name: case(name, name > "c") for name in "abcdef"}
    judged = [Verdict(name, None, True, "anna", "", 0) for name in "de"]
    means = np.array([described[name].mean for name in "cf"])
    normal, stranger = detected(means, *examples(described, judged, ("a", "b")))
    assert normal > 0 > stranger
    assert detected(means, *examples(described, judged))[0] < 0, "without windows of relevant cases it looks irrelevant"


def test_the_words_of_an_option(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert lasting_words(["files", "standardise=true", "delta=schedule"]) == (str(tmp_path / "files"), "standardise=true")
    assert lasting_words(["delta=precision"]) == ("delta=precision",)
    assert options_of(lasting_words(["none"])) == Options()
    assert changed_words(lasting_words(["files", "standardise=true"]), ["delta=precision"]) == (
        str(tmp_path / "files"),
        "delta=precision",
    )
    assert changed_words(["/files", "delta=precision"], lasting_words(["none"])) == ()
    assert options_of(["/a", "delta=precision"]).by_precision
    assert options_of(()) == Options()
    for words in (["a", "b"], ["delta=none"], ["standardise=1"]):
        with pytest.raises(NnActiveError, match="-relevance"):
            lasting_words(words)
