"""Proofs of the query engine: against its slow obvious form, and its noise against the exact law of the picks.

With noise the picks follow the law of Plackett and Luce: of the windows that may still be taken, of all images together,
the next pick is one with probability proportional to score ** beta, and its key is the largest of independent Gumbel
variables (location ln score, scale 1 / beta), none of which exceeds the key before. From this every pick and every key
becomes a number that is uniform on [0, 1) and independent of all others, on maps of any size; on small maps the
probability of every sequence of picks is known too.
"""

from __future__ import annotations

import functools
from collections import Counter
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pytest
import reference_engine as reference
from fakes import from_members
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats
from scipy.ndimage import gaussian_filter

from nnactive_ext.engine import box_means, free_starts, select
from nnactive_ext.query_methods.scores import bald, expected_entropy, predictive_entropy

BETAS = [0.1, 1, 10, 100, 1000]
N = 3  # picks of each statistical test
SURE = 1e-4  # the smallest p-value of a law that holds


@pytest.fixture(scope="module", autouse=True, params=["default", pytest.param("long", marks=pytest.mark.long)])
def suite(request):
    """Every proof is in two suites: ``-m long`` has 1000 examples for each (the root conftest), and ten times the draws."""
    return request.param


@pytest.fixture(scope="module")
def more(suite):
    return 10 if suite == "long" else 1


SEEDS = st.integers(0, 2**32 - 1)
SIDES = st.tuples(*[st.integers(1, 9)] * 3)
LARGE = st.sampled_from([(1, 1, 700), (3, 70, 20), (40, 9, 7), (33, 33, 3), (20, 20, 18), (2, 17, 130)])


@st.composite
def rngs_shapes_and_sizes(draw, shapes=SIDES, largest=9):
    shape = draw(shapes)
    size = tuple(draw(st.integers(1, min(n, largest))) for n in shape)
    return np.random.default_rng(draw(SEEDS)), shape, size


@st.composite
def rules(draw):
    """What limits the choice; the blocked boxes may reach outside the image, miss it or be empty."""
    corners, sides = st.tuples(*[st.integers(-6, 11)] * 3), st.tuples(*[st.integers(0, 12)] * 3)
    return {
        "blocked": draw(st.lists(st.tuples(corners, sides | st.tuples(*[st.integers(0, 3)] * 3)), max_size=3)),
        "overlap": draw(st.sampled_from([0.0, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99])),
        "stride": draw(st.integers(1, 4) | st.tuples(*[st.integers(1, 4)] * 3)),
    }


def orders_of_magnitude(rng, shape, orders):
    """From 1 down to 10 ** -orders; a share is 0, voxels here and there or a whole region."""
    values = 10 ** rng.uniform(-orders, 0, shape)
    values[rng.random(shape) < rng.choice([0, 0.3, 0.95])] = 0
    if rng.random() < 0.5:
        values[tuple(slice(rng.integers(0, n + 1), None) for n in shape)] = 0
    return values


# Means


@given(rngs_shapes_and_sizes(SIDES | LARGE), st.sampled_from([0, 5, 20, 40]), st.sampled_from("fdF"), st.booleans())
def test_means_are_precise_whatever_else_lies_in_the_map(case, orders, layout, weighted):
    rng, shape, size = case
    score_map = (orders_of_magnitude(rng, shape, orders) * 1e15).astype("d" if layout == "d" else "f")
    weight = orders_of_magnitude(rng, shape, 8).astype("f") * np.float32(rng.choice([1, -1, 3])) if weighted else None
    if layout == "F":
        score_map = np.asfortranarray(score_map)
    means, expected = box_means(score_map, size, weight), reference.box_means(score_map, size, weight)
    assert means.dtype == np.float32
    assert means.shape == expected.shape
    assert (means >= 0).all()
    np.testing.assert_allclose(means, expected, rtol=5e-7, atol=0)  # so the mean of zeros is exactly 0


@given(rngs_shapes_and_sizes())
def test_means_of_any_sign(case):
    rng, shape, size = case
    score_map = rng.normal(size=shape).astype(np.float32)
    np.testing.assert_allclose(box_means(score_map, size), reference.box_means(score_map, size), rtol=0, atol=2e-6)


@given(rngs_shapes_and_sizes(SIDES | LARGE), st.sampled_from([1, 2, 30, 2**23]))
def test_windows_with_equal_sums_have_equal_means(case, largest):
    rng, shape, size = case
    score_map = rng.integers(0, max(largest // np.prod(size), 1), shape, endpoint=True).astype(np.float32)
    means = box_means(score_map, size)
    sums = np.round(reference.box_means(score_map, size) * np.prod(size))
    levels, first, which = np.unique(sums, return_index=True, return_inverse=True)
    np.testing.assert_array_equal(means, means.ravel()[first][which].reshape(means.shape))
    np.testing.assert_allclose(means, sums / np.prod(size), rtol=2.0**-23)
    if levels[-1] < 2**22:  # from there on neighbouring sums may round to one mean
        assert (np.diff(means.ravel()[first]) > 0).all()


# Picks without noise


def same(picks, expected):
    assert [tuple(pick) for pick in picks] == [tuple(pick) for pick in expected]


@st.composite
def scores(draw, cases, levels=(1, 2, 5, 1000), scales=(1.0, 1e-30, 1e30)):
    """Scores with many ties, of both signs (and both zeros), float32 or float64, and the size of their windows."""
    rng, shape, size = draw(cases)
    values = rng.integers(-draw(st.sampled_from([0, 3])), draw(st.sampled_from(levels)), reference.windows(shape, size))
    values = values * draw(st.sampled_from([1.0, -1.0]))
    if draw(st.booleans()):
        return values * draw(st.sampled_from([*scales, 1e300])) + draw(st.sampled_from([0, 2.0**30])), size
    return (values * draw(st.sampled_from(scales))).astype(np.float32), size


@given(scores(rngs_shapes_and_sizes()), rules(), st.integers(0, 12))
def test_picks_are_those_of_the_reference(case, rules, k):
    scores, size = case
    same(select(scores, size, k, **rules), reference.select(scores, size, k, **rules))


@given(scores(rngs_shapes_and_sizes(LARGE, largest=5)), rules(), st.sampled_from([1, 20, 10_000]))
def test_picks_are_those_of_the_reference_on_large_maps(case, rules, k):
    scores, size = case
    same(select(scores, size, k, **rules), reference.select(scores, size, k, **rules))


@given(rngs_shapes_and_sizes(), rules(), st.integers(0, 12), st.sampled_from([1, 3, 100]))
def test_picks_from_a_map_are_those_of_the_reference(case, rules, k, largest):
    rng, shape, size = case
    score_map = rng.integers(0, largest, shape, endpoint=True).astype(np.float32)
    means = box_means(score_map, size)
    picks = select(means, size, k, **rules)
    expected = reference.select(reference.box_means(score_map, size), size, k, **rules)
    assert [pick.start for pick in picks] == [pick.start for pick in expected]
    np.testing.assert_allclose([pick.score for pick in picks], [pick.score for pick in expected], rtol=5e-7)
    assert all(pick.key == pick.score == means[pick.start] for pick in picks)


@given(rngs_shapes_and_sizes(), rules())
def test_free_starts_share_no_voxel_with_a_box(case, rules):
    _, shape, size = case
    boxes = rules["blocked"]
    np.testing.assert_array_equal(free_starts(shape, size, boxes), reference.free_starts(shape, size, boxes))


# Picks with noise


@given(rngs_shapes_and_sizes(), rules(), st.integers(0, 12), st.sampled_from(BETAS), st.sampled_from([3, 30, 76]), SEEDS)
def test_noisy_picks_are_allowed_complete_and_in_order(case, rules, k, beta, orders, seed):
    rng, shape, size = case
    scores = orders_of_magnitude(rng, reference.windows(shape, size), orders).astype(np.float32) * np.float32(1e38)
    before = scores.copy()
    picks = select(scores, size, k, beta=beta, rng=np.random.default_rng(seed), **rules)
    np.testing.assert_array_equal(scores, before)

    blocked = list(rules.pop("blocked"))
    for pick in picks:
        assert reference.allowed(scores.shape, size, blocked, **rules)[pick.start]
        assert pick.score == scores[pick.start]
        assert np.isfinite(pick.key) == (pick.score > 0)
        blocked.append((pick.start, size))
    assert len(picks) <= k
    assert len(picks) == k or not reference.allowed(scores.shape, size, blocked, **rules).any()
    assert len({pick.start for pick in picks}) == len(picks)
    keys = [pick.key for pick in picks]
    assert keys == sorted(keys, reverse=True)

    worthless = sum(key == -np.inf for key in keys)
    if worthless:
        boxes = blocked[: len(blocked) - worthless]
        assert not (reference.allowed(scores.shape, size, boxes, **rules) & (scores > 0)).any()
        in_order = reference.select(np.zeros_like(scores), size, worthless, boxes, **rules)
        assert [pick.start for pick in picks[-worthless:]] == [pick.start for pick in in_order]


@given(rngs_shapes_and_sizes(), rules(), st.sampled_from([None, *BETAS]), SEEDS)
def test_equal_seeds_give_equal_picks_and_scores_may_be_overwritten(case, rules, beta, seed):
    rng, shape, size = case
    scores = orders_of_magnitude(rng, reference.windows(shape, size), 3).astype(np.float32)

    def picks(**options):
        return select(scores.copy(), size, 8, beta=beta, rng=np.random.default_rng(seed), **rules, **options)

    same(picks(), picks())
    same(picks(overwrite_scores=True), picks())


class Image(NamedTuple):
    scores: np.ndarray
    size: tuple[int, int, int]
    rules: dict


def merged_picks(images, beta, rngs, select=select):
    """The first picks of all images together, as (image, start, key)."""
    of_images = [
        select(image.scores, image.size, N, beta=beta, rng=rng, **image.rules) for image, rng in zip(images, rngs, strict=True)
    ]
    return [(image, pick.start, pick.key) for image, pick in reference.merged(of_images, N)]


def draw(images, beta, count, select=select, seed=0):
    rng = np.random.default_rng(seed)
    return [merged_picks(images, beta, [rng] * len(images), select) for _ in range(count)]


def exact_law(images, beta):
    """The windows of all images, and a function: picks so far -> each window's probability, ln of the weights' sum."""
    windows = [(i, start) for i, image in enumerate(images) for start in np.ndindex(image.scores.shape)]
    with np.errstate(divide="ignore"):
        log_weights = beta * np.log(np.concatenate([image.scores.ravel() for image in images]).astype(float))

    @functools.lru_cache(maxsize=1000 if len(windows) < 100 else 1)
    def next_pick(picks):
        allowed = []
        for i, image in enumerate(images):
            rules = dict(image.rules)
            boxes = [*rules.pop("blocked", ()), *((start, image.size) for where, start in picks if where == i)]
            allowed.append(reference.allowed(image.scores.shape, image.size, boxes, **rules).ravel())
        allowed = np.concatenate(allowed)
        left = np.where(allowed, log_weights, -np.inf)
        total = special.logsumexp(left)
        # Where no score is left, it is the first window in C order.
        return np.exp(left - total) if total > -np.inf else np.eye(1, len(left), allowed.argmax())[0], total

    return windows, next_pick


def sequences(windows, next_pick, picks=()):
    """Every sequence of picks with its probability."""
    if len(picks) == N:
        yield picks, 1.0
        return
    probabilities, _ = next_pick(picks)
    for i in np.flatnonzero(probabilities):
        for sequence, probability in sequences(windows, next_pick, (*picks, windows[i])):
            yield sequence, probabilities[i] * probability


def chi_square(observed, expected):
    """The p-value; the rarest cells are joined until 10 are expected in each."""
    cells, left = [], sum(expected)
    for e, o in sorted(zip(expected, observed, strict=True)):
        if not cells or (cells[-1][0] >= 10 and left >= 10):
            cells.append([0, 0])
        cells[-1][0] += e
        cells[-1][1] += o
        left -= e
    expected, observed = np.transpose(cells)
    return stats.chisquare(observed, expected * (observed.sum() / expected.sum())).pvalue


def p_values(images, beta, draws):
    """P-values of the exact law in several respects, given the merged picks of many draws."""
    windows, next_pick = exact_law(images, beta)
    number = {window: i for i, window in enumerate(windows)}
    ranks = {
        "in C order": np.arange(len(windows)),
        "in F order": np.argsort(sorted(number.values(), key=lambda i: (windows[i][0], windows[i][1][::-1]))),
        "by score": np.argsort(np.argsort(np.concatenate([image.scores.ravel() for image in images]))),
    }
    rng = np.random.default_rng(1)
    uniform = {(what, n): [] for n in range(N) for what in (*ranks, "key")}
    for picks in draws:
        so_far, above = (), np.inf
        for n, (image, start, key) in enumerate(picks):
            probabilities, total = next_pick(so_far)
            i = number[image, start]
            if not probabilities[i]:
                return {"a pick that cannot be": 0.0}
            for what, rank in ranks.items():
                uniform[what, n].append(probabilities[rank < rank[i]].sum() + rng.random() * probabilities[i])
            if total == -np.inf:
                assert key == -np.inf
                uniform["key", n].append(rng.random())
            else:
                uniform["key", n].append(np.exp(np.exp(total - beta * above) - np.exp(total - beta * key)))
            so_far, above = (*so_far, (image, start)), key
        assert len(so_far) == N

    found = {name: stats.kstest(values, "uniform").pvalue for name, values in uniform.items()}
    columns = {name: values for name, values in uniform.items() if name[0] in ("by score", "key")}
    for (a, x), (b, y) in combinations(columns.items(), 2):
        table = np.histogram2d(x, y, bins=5, range=[(0, 1 + 1e-9)] * 2)[0].ravel()
        found[a, b] = stats.chisquare(table).pvalue
    if len(windows) < 40:
        probability = dict(sequences(windows, next_pick))
        seen = Counter(tuple((image, start) for image, start, _ in picks) for picks in draws)
        expected = np.array(list(probability.values())) * len(draws)
        found["sequence"] = chi_square([seen[sequence] for sequence in probability], expected)
    return found


def smallest(p_values):
    """The smallest of several p-values, corrected for their number."""
    return min(p_values.values()) * len(p_values)


def spread(shape, beta, seed):
    """Scores over 30 orders of magnitude, zeros among them; those of like magnitude have like chances."""
    rng = np.random.default_rng(seed)
    magnitudes = rng.choice([1e15, 1, 1e-15, 0], p=[0.25, 0.3, 0.3, 0.15], size=shape)
    return (magnitudes * np.exp(rng.normal(size=shape) / beta)).astype(np.float32)


def line(beta):
    return Image(spread((1, 1, 11), beta, 6), (1, 1, 2), {})


def poor(beta):
    """With a score for two picks only."""
    scores = np.exp(np.random.default_rng(3).normal(size=(1, 1, 9)) / beta) * [0, 1, 1, 0, 0, 1, 1, 0, 0]
    return Image(scores, (1, 1, 2), {})


def plane(beta):
    blocked = [((0, 4, 3), (1, 2, 9)), ((0, -2, -2), (3, 3, 3))]
    return Image(spread((1, 5, 5), beta, 12), (1, 3, 2), {"overlap": 0.4, "blocked": blocked})


def grid(beta):
    return Image(spread((2, 6, 6), beta, 2), (2, 2, 3), {"stride": (1, 3, 2), "overlap": 0.2})


@pytest.mark.parametrize("image", [line, poor, plane, grid])
@pytest.mark.parametrize("beta", BETAS)
def test_noisy_picks_have_the_exact_law(image, beta, more):
    images = [image(beta)]
    assert smallest(p_values(images, beta, draw(images, beta, 3000 * more))) > SURE


@pytest.mark.parametrize("beta", BETAS)
def test_merged_noisy_picks_have_the_exact_law(beta, more):
    images = [Image(spread((1, 1, 9), beta, 4), (1, 1, 2), {}), Image(spread((2, 1, 3), beta, 5), (1, 2, 1), {}), line(beta)]
    assert smallest(p_values(images, beta, draw(images, beta, 2000 * more))) > SURE


def smooth(shape, seed):
    values = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    return values / values.std()


def spiky(shape, seed):
    return np.random.default_rng(seed).standard_cauchy(shape).clip(-40, 8)


@pytest.mark.parametrize(
    ("logs", "beta", "rules"),
    [
        pytest.param(smooth, 1, {}, marks=pytest.mark.slow),
        pytest.param(
            *(smooth, 1000, {"blocked": [((3, 4, 5), (9, 9, 20)), ((-5, -5, -5), (9, 30, 9))], "stride": (2, 3, 1)}),
            marks=pytest.mark.slow,
        ),
        (spiky, 10, {"overlap": 0.4, "blocked": [((2, 2, 2), (14, 3, 14))]}),
        pytest.param(spiky, 0.1, {"overlap": 0.7, "stride": 2}, marks=pytest.mark.slow),
    ],
)
def test_noisy_picks_from_large_maps_have_the_exact_law(logs, beta, rules, more):
    logs = logs((20, 18, 16), seed=6) / beta
    images = [Image(np.exp(logs.clip(-85, 85)).astype(np.float32), (3, 3, 3), rules)]
    assert smallest(p_values(images, beta, draw(images, beta, 1000 * more))) > SURE


@pytest.mark.slow
def test_merged_noisy_picks_are_distributed_as_those_of_the_reference(more):
    """As the plugin draws them: with a generator for each image."""
    images = [
        Image(np.exp(smooth((4, 6, 7), 7)).astype(np.float32), (2, 3, 3), {"overlap": 0.3}),
        Image(np.exp(spiky((1, 9, 9), 8)).astype(np.float32), (1, 2, 2), {"blocked": [((0, 0, 0), (1, 4, 4))]}),
        Image(spread((3, 5, 5), 1, 9).clip(0, 5), (2, 2, 2), {"stride": 2}),
    ]

    def sample(select, seed):
        return [
            merged_picks(images, 2, [np.random.default_rng((seed, i, image)) for image in range(3)], select)
            for i in range(2000 * more)
        ]

    ours, theirs = sample(select, 0), sample(reference.select, 1)
    found = {}
    for n in range(N):
        found["key", n] = stats.ks_2samp(*([picks[n][2] for picks in draws] for draws in (ours, theirs))).pvalue
        seen = [Counter(picks[n][:2] for picks in draws) for draws in (ours, theirs)]
        common = [window for window, count in (seen[0] + seen[1]).items() if count >= 20]
        table = [[count[window] for window in common] for count in seen]
        table = [[*row, len(ours) - sum(row)] for row in table]
        found["pick", n] = stats.chi2_contingency(np.array(table)[:, np.sum(table, axis=0) > 0]).pvalue
    assert smallest(found) > SURE


def test_the_reference_has_the_exact_law(more):
    images = [line(1), plane(1)]
    assert smallest(p_values(images, 1, draw(images, 1, 1000 * more, reference.select))) > SURE


def wrong_beta(scores, size, k, beta, **options):
    return select(scores, size, k, beta=1.2 * beta, **options)


def uniform_picks(scores, size, k, **options):
    return select(np.where(scores > 0, 1.0, 0.0), size, k, **options)


def keys_of_their_own(scores, size, k, **options):
    """The right picks, with the keys of another draw."""
    picks, others = (select(scores, size, k, **options) for _ in range(2))
    return [pick._replace(key=other.key) for pick, other in zip(picks, others, strict=True)]


def shifted_keys(scores, size, k, beta, **options):
    return [pick._replace(key=pick.key + 0.2 / beta) for pick in select(scores, size, k, beta=beta, **options)]


@pytest.mark.parametrize("wrong", [wrong_beta, uniform_picks, keys_of_their_own, shifted_keys])
@pytest.mark.parametrize("beta", [0.1, 1000])
def test_a_wrong_law_is_rejected(wrong, beta):
    images = [Image(np.exp(np.random.default_rng(0).normal(size=(1, 1, 11)) / beta), (1, 1, 2), {})]
    assert smallest(p_values(images, beta, draw(images, beta, 1500))) > SURE
    assert smallest(p_values(images, beta, draw(images, beta, 1500, wrong))) < SURE


def test_equal_noise_in_several_images_is_rejected():
    images = [line(1)] * 2
    same_noise = [merged_picks(images, 1, [np.random.default_rng(i) for _ in images]) for i in range(1000)]
    assert smallest(p_values(images, 1, same_noise)) < SURE


# Voxel scores


@given(SEEDS, st.integers(1, 5), st.integers(2, 7), st.sampled_from([0.3, 3, 30, 300]))
def test_voxel_scores_keep_their_bounds_and_closed_forms(seed, count, classes, sharpness):
    members = special.softmax(np.random.default_rng(seed).normal(size=(count, classes, 2, 3, 4)) * sharpness, axis=1)
    members[members < 1e-100] = 0
    statistics = from_members(members)
    entropy, expected, information = (score(statistics) for score in (predictive_entropy, expected_entropy, bald))
    assert (information >= 0).all()
    assert (information <= entropy).all()
    assert (entropy <= np.log(classes) + 1e-5).all()
    np.testing.assert_allclose(expected + information, entropy, atol=2e-6)
    divergence = special.rel_entr(members, members.mean(axis=0)).sum(axis=1).mean(axis=0)
    np.testing.assert_allclose(information, divergence, atol=2e-6)

    agreed = from_members(np.repeat(members[:1], count, axis=0))
    np.testing.assert_allclose(bald(agreed), 0, atol=2e-6)
    uniform = from_members(np.full_like(members, 1 / classes))
    np.testing.assert_allclose(predictive_entropy(uniform), np.log(classes), rtol=1e-6)
