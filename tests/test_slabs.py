"""Slabs of an image hold nnU-Net's own logits, byte for byte; with the CPU as the device."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from small_networks import small_network

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.member_kinds import MemberKind
from nnactive_ext.experiment.timing import Stopwatch
from nnactive_ext.members import ensemble
from nnactive_ext.members.asking import statistics_of
from nnactive_ext.members.ensemble import NnUNetEnsemble
from nnactive_ext.members.passes import Draws, passes
from nnactive_ext.members.statistics import RunningStatistics
from nnactive_ext.members.transfer import nearby

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def members(monkeypatch):
    """Makes an ensemble of two networks; its images never fit on the device."""
    monkeypatch.setattr(ensemble, "whole_fits", lambda *arguments: False)

    def make(axes=3, kind="folds") -> NnUNetEnsemble:
        networks = [small_network(axes, seed=seed) for seed in (1, 2)]
        found = nnUNetPredictor(0.75, use_mirroring=False, device=torch.device("cpu"), perform_everything_on_device=False)
        found.allow_tqdm, found.network, found.allowed_mirroring_axes = False, small_network(axes), (0, 1)
        found.configuration_manager = SimpleNamespace(patch_size=(8, 8, 16)[3 - axes :])
        found.label_manager = SimpleNamespace(num_segmentation_heads=3)
        found.list_of_parameters = [network.state_dict() for network in networks]
        made = object.__new__(NnUNetEnsemble)
        made._folds, made._predictor, made._kind, made.device = (0, 1), found, MemberKind.of(kind), torch.device("cpu")
        made._passes, made._snapshots = passes(made._kind, (0, 1)), {0: [], 1: []}
        made._draws = dict.fromkeys((0, 1), Draws(0, 0))
        return made

    return make


def image(shape):
    return np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float32)


def gathered(parts, depth):
    """Each member's logits, slab behind slab; slabs must follow each other to the end."""
    found, at = {}, 0
    for planes, each in parts:
        assert planes.start == at
        at = planes.stop
        for name, logits in each:
            assert logits.shape[1] == planes.stop - planes.start
            found.setdefault(name, []).append(logits)
    assert at == depth
    return {name: torch.cat(slabs, 1) for name, slabs in found.items()}


@pytest.mark.parametrize(
    ("axes", "kind", "shape"),
    [
        (3, "folds", (27, 13, 21)),
        (3, "folds", (5, 13, 9)),  # smaller than the network patch
        (3, "folds", (8, 8, 16)),
        (3, "mirror:noise", (14, 8, 16)),
        (2, "folds", (4, 13, 21)),
        (2, "folds", (3, 5, 9)),
    ],
)
def test_slabs_are_the_whole_byte_for_byte(members, axes, kind, shape):
    made, there = members(axes, kind), image(shape)
    found = gathered(made.parts(there, "a case"), shape[0])
    whole = dict(made.logits(there, "a case"))
    assert list(found) == list(whole)
    assert len(whole) == 2 * len(made._passes)
    for name, logits in whole.items():
        assert torch.equal(found[name], logits), name


def test_statistics_by_slabs_are_those_of_the_whole(members, monkeypatch):
    made, there = members(), image((27, 13, 21))
    ask = partial(statistics_of, made, there, "a case", RunningStatistics, Stopwatch())
    found = ask()()
    monkeypatch.setattr(ensemble, "whole_fits", lambda *arguments: True)
    whole = ask()()
    assert found.predicted == whole.predicted
    for name in ("mean", "expected_entropy", "energy"):
        assert getattr(found, name).tobytes() == getattr(whole, name).tobytes()


def test_a_member_that_fails_in_a_slab_is_named(members):
    made = members()
    states = made._predictor.list_of_parameters
    states[1] = {name: torch.full_like(tensor, torch.inf) for name, tensor in states[1].items()}
    with pytest.raises(NnActiveError, match=r"fold 1.*(inf|NaN)"):
        statistics_of(made, image((27, 13, 21)), "a case", RunningStatistics, Stopwatch())


def test_weights_stay_where_they_are_on_the_cpu():
    states = [small_network(seed=seed).state_dict() for seed in (1, 2)]
    assert all(one is other for one, other in zip(nearby(states, torch.device("cpu")), states, strict=True))
