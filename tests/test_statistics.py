"""Statistics from members' logits, against the plain formula in double precision."""

import numpy as np
import pytest
import torch

from nnactive_ext import statistics
from nnactive_ext.statistics import RunningStatistics

SHAPE = (5, 6, 7)


def entropy(p: np.ndarray) -> np.ndarray:
    """-p ln p, 0 at 0."""
    return -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0)


def slow(members, regions):
    """Mean probabilities, mean entropy and predicted channels of (member, channel, z, y, x) logits, all at once."""
    x = np.stack([member.double().numpy() for member in members])
    if regions:
        with np.errstate(over="ignore"):
            p, q = 1 / (1 + np.exp(-x)), 1 / (1 + np.exp(x))
        entropies = (entropy(p) + entropy(q)).sum(1)
        predicted = {c for c in range(x.shape[1]) if (x[:, c] > 0).any()}
    else:
        e = np.exp(x - x.max(1, keepdims=True))
        p = e / e.sum(1, keepdims=True)
        entropies = entropy(p).sum(1)
        predicted = set(np.unique(x.argmax(1)).tolist())
    return p.mean(0), entropies.mean(0), predicted


def logits(seed, channels=4, members=3, scale=3.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn((channels, *SHAPE), generator=generator) * scale).to(dtype) for _ in range(members)]


def run(members, regions=False):
    running = RunningStatistics(regions)
    for member in members:
        running.add(member)
    return running.result()


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [0.0, 0.1, 3.0, 300.0])
def test_equals_the_plain_formula(regions, dtype, scale):
    members = logits(0, scale=scale, dtype=dtype)
    result = run(members, regions)
    mean, expected, predicted = slow(members, regions)
    assert result.mean.dtype == result.expected_entropy.dtype == np.float32
    assert result.mean.shape == (4, *SHAPE)
    assert result.expected_entropy.shape == SHAPE
    np.testing.assert_allclose(result.mean, mean, atol=2e-6)
    np.testing.assert_allclose(result.expected_entropy, expected, atol=1e-5)
    assert result.predicted == predicted
    assert result.regions is regions


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("value", [6e4, 88.0, 20.0])
def test_extreme_logits_give_numbers(regions, value):
    """Half precision ends at 65504; a certain member has entropy 0, two certain and contrary members a mean of 1/2."""
    member = torch.full((2, *SHAPE), -value, dtype=torch.float16)
    member[0] = value
    result = run([member, member.flip(0)], regions)
    assert np.isfinite(result.mean).all()
    assert np.isfinite(result.expected_entropy).all()
    np.testing.assert_allclose(result.mean, 0.5, atol=1e-6)
    np.testing.assert_allclose(result.expected_entropy, 0, atol=1e-5)
    assert (result.expected_entropy >= 0).all()
    assert result.predicted == {0, 1}


@pytest.mark.parametrize("regions", [False, True])
def test_equal_members_leave_no_doubt_about_the_model(regions):
    """The entropy of the mean is the expected entropy, and equal to that of one member alone."""
    member = logits(1)[0]
    result = run([member] * 4, regions)
    p = result.mean.astype(np.float64)
    of_mean = (entropy(p) + (entropy(1 - p) if regions else 0)).sum(0)
    np.testing.assert_allclose(result.expected_entropy, of_mean, atol=2e-5)
    alone = run([member], regions)
    np.testing.assert_allclose(result.mean, alone.mean, atol=1e-6)
    np.testing.assert_allclose(result.expected_entropy, alone.expected_entropy, atol=1e-5)


def test_contrary_members_leave_doubt():
    first, second = logits(2, members=2)
    result = run([first, second])
    of_mean = entropy(result.mean.astype(np.float64)).sum(0)
    assert (of_mean - result.expected_entropy).min() > -1e-5
    assert (of_mean - result.expected_entropy).mean() > 0.05


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("slab", [1, 4 * 42, 4 * 42 * 2, 1 << 30])
def test_the_size_of_the_slabs_changes_nothing(monkeypatch, regions, slab):
    members = logits(3)
    whole = run(members, regions)
    monkeypatch.setattr(statistics, "_SLAB", slab)
    parts = run(members, regions)
    # Equal but for the last bit: what does not fill a vector register is computed another way.
    np.testing.assert_allclose(whole.mean, parts.mean, rtol=1e-6)
    np.testing.assert_allclose(whole.expected_entropy, parts.expected_entropy, rtol=1e-6)
    assert whole.predicted == parts.predicted


def test_a_channel_predicted_in_the_last_slab_by_one_member_counts(monkeypatch):
    monkeypatch.setattr(statistics, "_SLAB", 1)
    members = [torch.zeros((3, *SHAPE)) for _ in range(3)]
    for member in members:
        member[0] = 1
    members[1][2, -1, -1, -1] = 5
    assert run(members).predicted == {0, 2}


def test_the_logits_are_left_alone():
    members = logits(4)
    before = [member.clone() for member in members]
    run(members)
    run(members, True)
    assert all(torch.equal(a, b) for a, b in zip(members, before, strict=True))


def test_no_member_is_an_error():
    with pytest.raises(ValueError, match="no member"):
        RunningStatistics().result()
