"""Random methods by their exact counts and by their distribution at a fixed seed."""

from collections import Counter

import numpy as np
import pytest
from fakes import CLASSES, World, blobs, disjoint, patches_of, room, statistics, world
from scipy.ndimage import binary_erosion
from scipy.stats import chisquare

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.query_methods.base import PoolCase, Request
from nnactive_ext.query_methods.methods import get
from nnactive_ext.query_methods.random_patches import border_of, draw_true


def of_references(size, **references):
    return World(size, references, {name: statistics(r.shape) for name, r in references.items()})


def counts(query):
    return Counter(choice.stratum for choice in query.patches)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 13, 20])
@pytest.mark.parametrize(("name", "share"), [("random", 0), ("random_fg_33", 0.33), ("random_fg_66", 0.66)])
def test_counts_are_exact(name, share, n):
    wanted = round(share * n)
    for seed in range(3):
        query = get(name).draw(world(8).pool(), Request(n, CLASSES, seed))
        assert len(query.patches) == n
        found = counts(query)
        assert found["foreground"] == wanted - wanted // 2
        assert found["border"] == wanted // 2
        assert found["random"] == n - wanted


def test_cases_and_positions_are_uniform():
    # Two cases of very different size: each must be drawn equally often, and every position within them.
    shapes = {"large": (3, 4, 5), "small": (2, 2, 2)}
    pool = {name: PoolCase(name, shape, (2, 2, 2)) for name, shape in shapes.items()}
    drawn = Counter(get("random").draw(pool, Request(1, CLASSES, seed)).patches[0].patch for seed in range(4800))
    large = [drawn[Patch("large", start, (2, 2, 2))] for start in np.ndindex(2, 3, 4)]
    assert chisquare([sum(large), drawn[Patch("small", (0, 0, 0), (2, 2, 2))]]).pvalue > 1e-3
    assert chisquare(large).pvalue > 1e-3


def test_free_positions_are_uniform_and_full_cases_are_passed_over():
    annotated = [Patch("a", (0, 0, 3), (1, 1, 2))]
    pool = {
        "a": PoolCase("a", (1, 1, 12), (1, 1, 2), annotated),
        "full": PoolCase("full", (1, 1, 3), (1, 1, 2), [Patch("full", (0, 0, 1), (1, 1, 1))]),
    }
    drawn = Counter(get("random").draw(pool, Request(1, CLASSES, s)).patches[0].patch.start[2] for s in range(3000))
    assert set(drawn) == {0, 1, 5, 6, 7, 8, 9, 10}
    assert chisquare(list(drawn.values())).pvalue > 1e-3


def test_a_draw_takes_any_true_voxel_equally_often():
    mask = np.random.default_rng(0).random((3, 4, 5)) < 0.3
    rng = np.random.default_rng(1)
    drawn = Counter(draw_true(mask, rng) for _ in range(5000))
    assert set(drawn) == {tuple(p) for p in np.argwhere(mask).tolist()}
    assert chisquare(list(drawn.values())).pvalue > 1e-3
    assert draw_true(np.zeros((2, 2, 2), dtype=bool), rng) is None


def test_foreground_cases_and_classes_are_uniform_whatever_their_size():
    both = np.zeros((1, 9, 9), dtype=int)
    both[0, 0:5] = 1
    both[0, 8, 8] = 2
    one = np.zeros((1, 9, 9), dtype=int)
    one[0, 4, 4] = 2
    w = of_references((1, 1, 1), both=both, one=one, empty=np.zeros_like(one))
    drawn = Counter()
    for seed in range(2000):
        (choice,) = get("random_fg_66").draw(w.pool(), Request(1, CLASSES, seed)).patches
        drawn[choice.patch.case, int(w.references[choice.patch.case][choice.patch.slices].item())] += 1
    assert chisquare([drawn["both", 1], drawn["both", 2], drawn["one", 2]], [500, 500, 1000]).pvalue > 1e-3
    assert drawn.total() == 2000


def test_voxels_of_a_class_are_uniform():
    reference = np.zeros((1, 1, 12), dtype=int)
    reference[0, 0, 2:8] = 1
    w = of_references((1, 1, 1), a=reference)
    method = get("random", foreground="1")
    drawn = Counter(method.draw(w.pool(), Request(1, CLASSES, s)).patches[0].patch.start[2] for s in range(1800))
    assert set(drawn) == set(range(2, 8))
    assert chisquare(list(drawn.values())).pvalue > 1e-3


@pytest.mark.parametrize("size", [(3, 3, 3), (2, 3, 4)])
def test_centres_are_on_the_class_and_on_its_border(size):
    reference = np.zeros((20, 24, 22), dtype=int)
    reference[5:15, 6:18, 5:17] = 1
    w = of_references(size, a=reference)
    query = get("random", foreground="1").draw(w.pool(), Request(12, {1: "liver"}))
    border = (reference == 1) & ~binary_erosion(reference == 1)
    kinds = counts(query)
    assert (kinds["foreground"], kinds["border"]) == (6, 6)
    for choice in query.patches:
        centre = tuple(a + n // 2 for a, n in zip(choice.patch.start, choice.patch.size, strict=True))
        assert reference[centre] == 1
        if choice.stratum == "border":
            assert border[centre]


def test_patches_near_the_edge_are_moved_inside_and_keep_their_size():
    reference = np.zeros((9, 9, 9), dtype=int)
    reference[8, 0, 8] = 1
    w = of_references((3, 5, 5), a=reference)
    query = get("random", foreground="1").draw(w.pool(), Request(1, CLASSES))
    assert patches_of(query) == [Patch("a", (6, 0, 4), (3, 5, 5))]


@pytest.mark.parametrize("shape", [(1, 6, 7), (6, 7, 8), (4, 1, 1)])
def test_the_border_is_what_an_erosion_removes(shape):
    for seed in range(5):
        mask = blobs(shape, labels=[1], seed=seed, share=0.4) == 1
        np.testing.assert_array_equal(border_of(mask), mask & ~binary_erosion(mask))
    assert not border_of(np.zeros(shape, dtype=bool)).any()


def test_no_foreground_at_all_is_random_with_a_warning():
    w = of_references((2, 2, 2), a=np.zeros((8, 8, 8), dtype=int))
    query = get("random_fg_66").draw(w.pool(), Request(6, CLASSES))
    assert counts(query) == {"random": 6}
    assert query.warnings
    assert query.missing == 0


def test_values_that_are_no_class_are_no_foreground():
    reference = np.zeros((8, 8, 8), dtype=int)
    reference[0, 0, 0] = 3
    reference[7, 7, 7] = -1
    query = get("random_fg_66").draw(of_references((2, 2, 2), a=reference).pool(), Request(3, CLASSES))
    assert counts(query) == {"random": 3}


def test_labels_stand_in_for_the_classes_of_regions():
    reference = np.zeros((8, 8, 8), dtype=int)
    reference[3, 3, 3] = 2
    request = Request(1, {0: "whole", 1: "core"}, labels=CLASSES)
    query = get("random", foreground="1").draw(of_references((2, 2, 2), a=reference).pool(), request)
    assert patches_of(query)[0].start == (2, 2, 2)


def test_a_small_structure_is_used_up_and_the_rest_is_random():
    reference = np.zeros((1, 20, 20), dtype=int)
    reference[0, 10, 10] = 1
    w = of_references((1, 4, 4), a=reference)
    query = get("random", foreground="1").draw(w.pool(), Request(4, CLASSES))
    assert counts(query) == {"foreground": 1, "random": 3}
    assert disjoint(patches_of(query))


def test_a_border_that_is_taken_leaves_the_inside():
    reference = np.zeros((7, 7, 7), dtype=int)
    reference[1:6, 1:6, 1:6] = 1
    w = of_references((1, 1, 1), a=reference)
    w.annotated["a"] = [Patch("a", start, (1, 1, 1)) for start in map(tuple, np.argwhere(border_of(reference == 1)))]
    query = get("random", foreground="1").draw(w.pool(), Request(6, CLASSES))
    assert counts(query) == {"foreground": 6}


def test_every_place_around_foreground_is_found():
    # One voxel thick everywhere, a foreground voxel every 3: exactly five patches fit around them.
    reference = np.zeros((1, 1, 15), dtype=int)
    reference[0, 0, 1::3] = 1
    w = of_references((1, 1, 3), a=reference)
    query = get("random", foreground="1").draw(w.pool(), Request(9, CLASSES))
    found = counts(query)
    assert (found["foreground"] + found["border"], found["random"], query.missing) == (5, 0, 4)


def test_random_fills_the_pool_to_the_last_window():
    w = world(2, shape=(4, 9, 9), size=(2, 4, 4))
    query = get("random").draw(w.pool(), Request(1000, CLASSES))
    taken = {name: [p for p in patches_of(query) if p.case == name] for name in w.references}
    assert room(w, taken) == 0
    assert query.missing == 1000 - len(query.patches)


def test_references_are_read_once_where_there_is_room():
    w = world(5)
    get("random_fg_66").draw(w.pool(), Request(9, CLASSES))
    assert len(w.loads) == len(set(w.loads))


def test_a_reference_of_another_shape_is_an_error_that_names_the_case():
    pool = {"a": PoolCase("a", (4, 4, 4), (2, 2, 2), (), lambda: np.zeros((4, 4, 5), dtype=int))}
    with pytest.raises(NnActiveError, match="a: "):
        get("random_fg_66").draw(pool, Request(2, CLASSES))
