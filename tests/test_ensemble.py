"""What nnU-Net's predictor is asked for, and whose logits come back; the predictor is a fake."""

from __future__ import annotations

import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_networks import small_network

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.member_kinds import MemberKind
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.members import statistics
from nnactive_ext.members.describing import Describer
from nnactive_ext.members.ensemble import NnUNetEnsemble
from nnactive_ext.members.passes import Draws, Pass
from nnactive_ext.query_methods.base import Description

INF = "Encountered inf in predicted array. Aborting... If this problem persists, reduce value_scaling_factor"


class Predictor:
    """Members whose logits are their parameter everywhere; the one that is an exception raises it."""

    def __init__(self, *members):
        self.list_of_parameters, self.current, self.alive = list(members), None, []
        self.network = SimpleNamespace(load_state_dict=lambda parameters: setattr(self, "current", parameters))
        self.use_mirroring, self.tile_step_size = True, 0.5

    def predict_sliding_window_return_logits(self, data):
        assert (self.use_mirroring, self.tile_step_size) == (False, 0.75)
        assert data.dtype == torch.float32
        assert not [tensor for tensor in self.alive if tensor() is not None], "the member before is still in memory"
        if isinstance(self.current, Exception):
            raise self.current
        logits = torch.full((2, *data.shape[1:]), self.current, dtype=torch.half)
        self.alive.append(weakref.ref(logits))
        return logits


def ensemble(folds, *members) -> NnUNetEnsemble:
    made = object.__new__(NnUNetEnsemble)  # opening members needs trained ones
    made._folds, made._predictor, made._kind = tuple(folds), Predictor(*members), MemberKind()
    made._passes, made._snapshots, made._draws = [Pass()], {fold: [] for fold in folds}, dict.fromkeys(folds, Draws(0, 0))
    return made


def test_each_member_in_turn_and_none_is_kept():
    seen = []
    members = ensemble((2, 0, 3), 1.0, 2.0, 3.0).logits(np.zeros((1, 3, 4, 5), dtype=np.float64))
    while (member := next(members, None)) is not None:
        seen.append((member[0], member[1].unique().tolist()))
        del member
    assert seen == [("fold 2", [1.0]), ("fold 0", [2.0]), ("fold 3", [3.0])]


def test_members_are_predicted_only_when_asked_for():
    made = ensemble((0, 1), 1.0, RuntimeError("never"))
    assert next(made.logits(np.zeros((1, 2, 2, 2))))[0] == "fold 0"


def test_a_segmentation_in_between_changes_nothing():
    made = ensemble((0, 1), 1.0, 2.0)
    members = made.logits(np.zeros((1, 2, 2, 2)))
    next(members)
    made._predictor.use_mirroring, made._predictor.tile_step_size = True, 0.5
    assert next(members)[0] == "fold 1"


@pytest.mark.parametrize(("message", "diverged"), [(INF, True), ("CUDA out of memory", False)])
def test_a_prediction_that_fails_names_the_member(message, diverged):
    members = ensemble((4, 1), 1.0, RuntimeError(message)).logits(np.zeros((1, 2, 2, 2)))
    next(members)
    with pytest.raises(NnActiveError, match="prediction of fold 1 failed") as caught:
        next(members)
    assert message in str(caught.value)
    assert (statistics.DIVERGED in str(caught.value)) is diverged


@pytest.mark.parametrize(("free", "room"), [(3 << 30, True), (1 << 30, False)])
def test_accumulators_stay_on_a_gpu_with_twice_their_room_beside_a_prediction(monkeypatch, free, room):
    """1 GiB is asked for; of what is free or reserved, the largest prediction so far needs 2 GiB."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 8 << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3 << 29)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 2 << 30)
    assert statistics._has_room(torch.device("cuda", 0), 1 << 30) is room
    assert statistics._has_room(torch.device("cpu"), 1 << 50)
    assert not statistics._has_room(torch.device("mps"), 1)


def test_patches_are_described_by_the_first_member_or_by_the_weights_that_members_start_from():
    image, box = np.random.default_rng(0).normal(size=(1, 9, 10, 8)), Patch("a", (2, 1, 1), (4, 4, 4))
    first, second, start = (small_network(seed=seed).state_dict() for seed in range(3))
    made = ensemble((0, 1), first, second)
    made.device, made._patch_mm = torch.device("cpu"), (4.0, 4.0, 4.0)
    made._start = lambda: {name: value for name, value in start.items() if name.startswith("encoder.")}
    made._predictor.network = small_network(seed=9)
    made._predictor.plans_manager = SimpleNamespace(transpose_forward=(0, 1, 2))
    made._predictor.configuration_manager = SimpleNamespace(spacing=(1.0, 1.0, 1.0), patch_size=[8, 8, 8])
    made._predictor.label_manager = SimpleNamespace(has_regions=False)
    for features, seed in (("encoder", 0), ("pretrained", 2), ("gradient", 0)):
        description = Description(features)
        describer = Describer(small_network(seed=seed), (8, 8, 8), (4, 4, 4), torch.device("cpu"))
        vectors, sections = made.describe(image, [box], description)
        assert np.array_equal(vectors, describer.describe(image, [box], description))
        assert sections == describer.sections(description)
