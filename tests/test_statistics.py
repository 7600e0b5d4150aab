"""Statistics from members' logits, against the plain formula in double precision."""

import argparse
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_ext.cli.options import add_precision
from nnactive_ext.errors import NnActiveError
from nnactive_ext.members import statistics
from nnactive_ext.members.statistics import ACCUMULATORS, Gathered, RunningStatistics
from nnactive_ext.query_methods.base import ENERGY, EVERYTHING, EXPECTED_ENTROPY

SHAPE = (5, 6, 7)


def entropy(p: np.ndarray) -> np.ndarray:
    """-p ln p, 0 at 0."""
    return -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0)


def slow(members, regions):
    """Mean probabilities, entropy and energy, and predicted channels of (member, channel, z, y, x) logits, all at once."""
    x = np.stack([member.double().numpy() for member in members])
    if regions:
        with np.errstate(over="ignore"):
            p, q = 1 / (1 + np.exp(-x)), 1 / (1 + np.exp(x))
        entropies = (entropy(p) + entropy(q)).sum(1)
        energies = -np.logaddexp(0, x).sum(1)
        predicted = {c for c in range(x.shape[1]) if (x[:, c] > 0).any()}
    else:
        e = np.exp(x - x.max(1, keepdims=True))
        p = e / e.sum(1, keepdims=True)
        entropies = entropy(p).sum(1)
        energies = -np.logaddexp.reduce(x, axis=1)
        predicted = set(np.unique(x.argmax(1)).tolist())
    return p.mean(0), entropies.mean(0), energies.mean(0), predicted


def logits(seed, channels=4, members=3, scale=3.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn((channels, *SHAPE), generator=generator) * scale).to(dtype) for _ in range(members)]


def run(members, regions=False, accumulators="single", needs=EVERYTHING):
    running = RunningStatistics(regions, accumulators, needs)
    for member in members:
        running.add(member)
    return running.result()


def check(result, members, regions, precision=None):
    mean, expected, energy, predicted = slow(members, regions)
    channels = len(mean)
    if precision is None:
        precision = (channels + 6) * 2.0**-24  # a sum over the channels in single precision, then a division and a mean
    np.testing.assert_allclose(result.mean, mean, rtol=0, atol=precision)
    np.testing.assert_allclose(result.expected_entropy, expected, rtol=1e-6, atol=1e-6 * channels)
    largest = max(float(member.abs().max()) for member in members)  # of which energies are made, perhaps of both signs
    np.testing.assert_allclose(result.energy, energy, rtol=0, atol=1e-6 * channels * (1 + largest))
    assert result.predicted == predicted
    assert 0 <= result.mean.min() <= result.mean.max() <= 1
    assert result.expected_entropy.min() >= 0


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [0.0, 0.1, 3.0, 300.0])
def test_equals_the_plain_formula(regions, dtype, scale):
    members = logits(0, scale=scale, dtype=dtype)
    result = run(members, regions)
    assert result.mean.dtype == result.expected_entropy.dtype == result.energy.dtype == np.float32
    assert result.mean.shape == (4, *SHAPE)
    assert result.expected_entropy.shape == result.energy.shape == SHAPE
    check(result, members, regions)
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
    np.testing.assert_array_equal(result.mean, alone.mean)
    np.testing.assert_array_equal(result.expected_entropy, alone.expected_entropy)
    np.testing.assert_array_equal(result.energy, alone.energy)


def test_contrary_members_leave_doubt():
    first, second = logits(2, members=2)
    result = run([first, second])
    of_mean = entropy(result.mean.astype(np.float64)).sum(0)
    assert (of_mean - result.expected_entropy).min() > -1e-5
    assert (of_mean - result.expected_entropy).mean() > 0.05


@settings(max_examples=200, deadline=None)
@given(
    channels=st.integers(1, 16),
    members=st.integers(1, 6),
    shape=st.tuples(*[st.sampled_from([1, 2, 5, 9])] * 3),
    scale=st.sampled_from([0.0, 0.5, 5.0, 80.0, 1e4]),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.float64]),
    regions=st.booleans(),
    block=st.sampled_from([1, 40, 1 << 18]),
    ties=st.booleans(),
    seed=st.integers(0, 1 << 30),
)
def test_equals_the_plain_formula_for_anything(channels, members, shape, scale, dtype, regions, block, ties, seed):
    """Thin images, huge logits, many equal ones (the first of equal classes is the one predicted), cropped arrays."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(members):
        values = torch.randn((channels, *(n + 2 for n in shape)), generator=generator)
        values = (values.round() if ties else values) * scale
        made.append(values.to(dtype)[:, 1:-1, 1:-1, 1:-1])  # as nnU-Net returns images smaller than its network patch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "_BLOCK_CPU", block)
        check(run(made, regions), made, regions)


@pytest.mark.parametrize(("block", "shape"), [(3 * 5 * 61, (9, 53, 61)), (statistics._BLOCK_CPU, (31, 101, 83))])
@pytest.mark.parametrize("accumulators", ACCUMULATORS)
@pytest.mark.parametrize("regions", [False, True])
def test_the_number_of_threads_changes_no_byte(monkeypatch, regions, accumulators, block, shape):
    """Odd shapes, so that no vector register, block or share of a thread is ever full."""
    monkeypatch.setattr(statistics, "_BLOCK_CPU", block)
    generator = torch.Generator().manual_seed(0)
    members = [(torch.randn((5, *shape), generator=generator) * 6).half() for _ in range(3)]
    results, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(run(members, regions, accumulators))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for name in ("mean", "expected_entropy", "energy"):
            assert getattr(results[0], name).tobytes() == getattr(other, name).tobytes()
        assert results[0].predicted == other.predicted


def test_an_operation_is_not_shared_among_threads(monkeypatch):
    """On which the order of its sums could depend."""
    add_member, seen = statistics.add_member, set()

    def watched(*arguments):
        seen.add((threading.current_thread(), torch.get_num_threads()))
        return add_member(*arguments)

    monkeypatch.setattr(statistics, "add_member", watched)
    monkeypatch.setattr(statistics, "_BLOCK_CPU", 1)
    run(logits(7))
    assert {number for _, number in seen} == {1}
    assert threading.main_thread() not in {thread for thread, _ in seen}


@pytest.fixture(params=["host", "device"])
def place(request, monkeypatch):
    """The compiled pass, and torch's operations as they run on other devices."""
    if request.param == "device":
        monkeypatch.setattr(statistics, "_on_host", lambda tensor: False)
        monkeypatch.setattr(statistics, "_BLOCK_DEVICE", 50)
    return request.param


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("accumulators", ACCUMULATORS)
def test_only_what_is_needed_is_computed_and_the_rest_keeps_its_bytes(place, regions, dtype, accumulators):
    members = logits(8, dtype=dtype)
    whole = run(members, regions, accumulators)
    check(whole, members, regions, precision=2e-3 if accumulators == "half" else None)
    for needs in ((), (EXPECTED_ENTROPY,), (ENERGY,)):
        part = run(members, regions, accumulators, needs)
        assert part.mean.tobytes() == whole.mean.tobytes()
        assert part.predicted == whole.predicted
        for name in (EXPECTED_ENTROPY, ENERGY):
            found = getattr(part, name)
            assert found.tobytes() == getattr(whole, name).tobytes() if name in needs else found is None


def test_infinite_logits_are_found_on_any_device_whatever_is_needed(place):
    for value in (np.nan, np.inf, -np.inf):
        members = logits(5)
        members[0][2, -1, 2, -1] = value
        with pytest.raises(NnActiveError, match="NaN or infinite"):
            run(members, needs=())


@pytest.mark.parametrize("needs", [(), EVERYTHING])
@pytest.mark.parametrize("accumulators", ACCUMULATORS)
def test_slabs_gathered_are_the_whole(place, needs, accumulators):
    members = logits(9, dtype=torch.float16)
    whole, gathered = run(members, accumulators=accumulators, needs=needs), Gathered()
    for planes in (slice(0, 2), slice(2, 3), slice(3, 5)):
        slab = RunningStatistics(False, accumulators, needs)
        for member in members:
            slab.add(member[:, planes])
        gathered.add(slab, planes, SHAPE[0])
    found = gathered.hand_over()()
    assert found.predicted == whole.predicted
    for name in ("mean", EXPECTED_ENTROPY, ENERGY):
        one, other = getattr(found, name), getattr(whole, name)
        assert one is other is None or np.array_equal(one, other)


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 1, 9), (1, 50, 3), (6, 8, 10)])
@pytest.mark.parametrize("size", [1, 30, 100, 10**6])
def test_the_blocks_are_the_image(shape, size):
    seen = np.zeros((3, *shape), dtype=int)
    blocks = list(statistics._blocks(seen.shape, size))
    for block in blocks:
        seen[block] += 1
        assert seen[block].size <= max(size, 3 * shape[2]), "no smaller than a row, no larger than asked for"
    assert (seen == 1).all()


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channel", [0, 2])
def test_what_is_no_number_names_its_member(monkeypatch, regions, value, channel):
    monkeypatch.setattr(statistics, "_BLOCK_CPU", 50)
    members, threads = logits(5), torch.get_num_threads()
    members[1][channel, -1, 2, -1] = value
    running = RunningStatistics(regions)
    running.add(members[0], "fold 3")
    with pytest.raises(NnActiveError, match=r"logits of fold 4 .*NaN or infinite.*diverged training"):
        running.add(members[1], "fold 4")
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("members", [1, 2, 10])
def test_half_keeps_the_mean_and_nothing_else_in_half(regions, members):
    """Each member may round once: at most half of the spacing of float16 below 1, of which later members take away."""
    made = logits(6, members=members)
    result = run(made, regions, "half")
    assert result.mean.dtype == np.float16
    assert result.expected_entropy.dtype == result.energy.dtype == np.float32
    check(result, made, regions, precision=2.0**-12 * (members + 1) / 2 + 1e-6)
    single = run(made, regions)
    np.testing.assert_array_equal(result.expected_entropy, single.expected_entropy)
    np.testing.assert_array_equal(result.energy, single.energy)


def test_unknown_accumulators_are_refused():
    with pytest.raises(ValueError, match=r"single, half.*'double'"):
        RunningStatistics(accumulators="double")


def test_the_commands_offer_the_accumulators_there_are():
    parser = argparse.ArgumentParser()
    add_precision(parser)
    for flag in ("-precision", "-accumulators"):
        assert [parser.parse_args([flag, kind]).precision for kind in ACCUMULATORS] == list(ACCUMULATORS)
    assert parser.parse_args([]).precision == "single"


def test_a_channel_predicted_in_the_last_block_by_one_member_counts(monkeypatch):
    monkeypatch.setattr(statistics, "_BLOCK_CPU", 1)
    members = [torch.zeros((3, *SHAPE)) for _ in range(3)]
    for member in members:
        member[0] = 1
    members[1][2, -1, -1, -1] = 5
    assert run(members).predicted == {0, 2}


def test_of_equal_classes_the_first_is_predicted():
    member = torch.zeros((3, *SHAPE))
    member[0] = -1
    assert run([member]).predicted == {1}


def test_the_logits_are_left_alone():
    members = logits(4)
    before = [member.clone() for member in members]
    run(members)
    run(members, True)
    assert all(torch.equal(a, b) for a, b in zip(members, before, strict=True))


def test_no_member_is_an_error():
    with pytest.raises(ValueError, match="no member"):
        RunningStatistics().result()


MEMORY = """
import resource, sys, torch
from nnactive_ext.members.statistics import RunningStatistics
logits = torch.zeros((16, 64, 160, 160), dtype=torch.half)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
RunningStatistics().add(logits[:, :1])  # loads what torch needs
before, running = peak(), RunningStatistics(sys.argv[2] == "True", sys.argv[1])
for _ in range(3):
    running.add(logits)
print(peak() - before)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows does not tell the peak")
@pytest.mark.parametrize(
    ("accumulators", "regions"),
    [
        ("single", False),
        pytest.param("half", True, marks=pytest.mark.slow),
        # Each process imports torch anew; these two allocate by the same lines.
        pytest.param("single", True, marks=pytest.mark.slow),
        pytest.param("half", False, marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_little_but_the_means_is_kept(accumulators, regions):
    """Nothing as large as the image but the result: the rest is blocks, a few MB for each thread."""
    command = [sys.executable, "-c", MEMORY, accumulators, str(regions)]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)
    voxels = 64 * 160 * 160
    kept = voxels * (16 * (2 if accumulators == "half" else 4) + 2 * 4)
    assert grown < kept + 40e6, "32 bytes a voxel more would be 52e6"
