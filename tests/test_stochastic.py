"""Stochastic segmentation networks: their loss, what they return, and the samples of whole images that are members."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch.distributions import LowRankMultivariateNormal
from torch.nn import functional

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.member_kinds import MemberKind
from nnactive_ext.members import samples
from nnactive_ext.members.ensemble import NnUNetEnsemble
from nnactive_ext.members.passes import Draws, Pass, check_passes
from nnactive_ext.members.samples import check_memory, sample, with_factors
from nnactive_ext.nnunet.stochastic import StochasticLoss, log_likelihood, log_mean_exp
from nnactive_ext.nnunet.stochastic_head import RANK, head_of, with_head
from nnactive_ext.query_methods.base import Statistics
from nnactive_ext.query_methods.scores import bald, expected_entropy, predictive_entropy
from nnactive_ext.trainers import nnActiveTrainer as module

CLASSES, IGNORE = 2, 3
DRAWS = Draws(seed=12345, cycle=2)


pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_loss_of_three_samples_as_the_specification_has_it():
    assert -log_mean_exp(torch.tensor([-3.0, -20.0, -2.7])).item() == pytest.approx(3.24426, abs=1e-5)


def test_the_likelihood_is_that_of_a_normal_distribution_of_low_rank():
    """Against torch's own samples of it, many of both."""
    torch.manual_seed(0)
    mean, factors, log_diagonal = torch.randn(2, 4), torch.randn(RANK, 2, 4) / 2, torch.randn(2, 4) / 2
    labels = torch.tensor([0, 1, 1, 0])
    normal = LowRankMultivariateNormal(mean.flatten(), factors.flatten(1).T, log_diagonal.exp().flatten())
    logits = normal.sample((10_000,)).unflatten(1, (2, 4))
    each = -functional.cross_entropy(logits, labels.expand(len(logits), 4), reduction="none").sum(1)
    ours = log_likelihood(mean, factors, log_diagonal, labels, samples=1000)
    assert ours.item() == pytest.approx(log_mean_exp(each).item(), abs=0.2)


def loss_of(output: torch.Tensor, target: torch.Tensor, mean_only: bool = False) -> torch.Tensor:
    torch.manual_seed(0)
    loss = StochasticLoss(CLASSES, IGNORE)
    loss.mean_only = mean_only
    return loss(output, target)


@pytest.fixture
def output() -> torch.Tensor:
    shape = (2, (2 + RANK) * CLASSES, 2, 3, 4)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_()


@pytest.mark.parametrize("mean_only", [False, True])
def test_voxels_that_are_not_annotated_take_part_in_nothing(output, mean_only):
    target = torch.full((2, 1, 2, 3, 4), IGNORE)
    target[0, 0, 1] = torch.arange(12).view(3, 4) % 2
    loss_of(output, target, mean_only).backward()
    used = output.grad.abs().amax(1) > 0
    assert torch.equal(used, target[:, 0] != IGNORE)
    trained = output.grad.abs().amax((0, 2, 3, 4)) > 0
    assert trained.tolist() == [True] * CLASSES + [not mean_only] * ((1 + RANK) * CLASSES)


def test_of_the_mean_alone_it_is_the_cross_entropy(output):
    target = torch.arange(48).view(2, 1, 2, 3, 4) % (IGNORE + 1)
    target[target == 2] = 0
    expected = functional.cross_entropy(output[:, :CLASSES], target[:, 0], ignore_index=IGNORE)
    torch.testing.assert_close(loss_of(output, target, mean_only=True), expected)
    torch.testing.assert_close(loss_of(output[:, :CLASSES], target), expected)


def test_without_an_annotated_voxel_it_is_0(output):
    loss = loss_of(output, torch.full((2, 1, 2, 3, 4), IGNORE))
    loss.backward()
    assert loss.item() == 0
    assert not output.grad.any()


def two_voxels(factor: float) -> torch.Tensor:
    """Maps of two voxels and two classes whose means are equal and one of whose factors is (2, 2)."""
    maps = torch.zeros(1 + RANK, CLASSES, 1, 1, 2)
    maps[1, 1] = factor
    return maps.flatten(0, 1).half()


def test_voxels_along_a_factor_agree_in_all_samples():
    logits = torch.stack([sample(two_voxels(2.0), z) for z in DRAWS.samples(2000, "fold 0", "a case")])
    first, second = logits.argmax(1).flatten(1).T
    assert torch.equal(first, second)
    p = logits.softmax(1).numpy()
    entropies = -(p * np.log(p)).sum(1)
    found = Statistics(p.mean(0), entropies.mean(0), frozenset({0, 1}))
    values = [float(score(found).mean()) for score in (predictive_entropy, expected_entropy, bald)]
    assert values == pytest.approx([0.6931, 0.4617, 0.2314], abs=0.01)
    # Of noise that each voxel draws for itself, half.
    apart = np.random.default_rng(0).standard_normal((2000, 2)) > 0
    assert (apart[:, 0] == apart[:, 1]).mean() == pytest.approx(0.5, abs=0.05)


def test_expected_entropy_by_quadrature():
    """The specification's numbers are of drawn samples; these are exact."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    p = 1 / (1 + np.exp(-2 * nodes))
    entropy = -(p * np.log(p) + (1 - p) * np.log1p(-p)) @ weights / math.sqrt(2 * math.pi)
    assert (entropy, math.log(2) - entropy) == pytest.approx((0.4617, 0.2314), abs=5e-4)


def test_a_sample_is_the_mean_and_the_factors_and_changes_neither():
    maps = torch.randn((1 + RANK) * CLASSES, 2, 3, 4)
    before, z = maps.clone(), np.arange(RANK) - 1.5
    expected = maps[:CLASSES] + sum(float(z[k]) * maps[CLASSES * (1 + k) : CLASSES * (2 + k)] for k in range(RANK))
    torch.testing.assert_close(sample(maps, z), expected)
    assert torch.equal(maps, before)


def test_draws_depend_on_seed_cycle_network_and_case_only():
    first = DRAWS.samples(3, "fold 0", "a case")
    assert np.array_equal(first, DRAWS.samples(3, "fold 0", "a case"))
    others = [DRAWS.samples(3, "fold 1", "a case"), DRAWS.samples(3, "fold 0", "b"), Draws(1, 2).samples(3, "fold 0", "a case")]
    assert not any(np.array_equal(first, other) for other in others)


def stochastic() -> torch.nn.Module:
    torch.manual_seed(0)
    return with_head(torch.nn.Conv3d(1, (2 + RANK) * CLASSES, 3, padding=1), CLASSES)


def predictor(network: torch.nn.Module) -> nnUNetPredictor:
    found = nnUNetPredictor(0.75, use_mirroring=False, device=torch.device("cpu"), perform_everything_on_device=False)
    found.allow_tqdm, found.network, found.trainer_name, found.allowed_mirroring_axes = False, network, "TheTrainer", None
    found.configuration_manager = SimpleNamespace(patch_size=(4, 4, 8))
    found.label_manager = SimpleNamespace(num_segmentation_heads=CLASSES)
    found.list_of_parameters = [network.state_dict()]
    return found


def test_a_network_returns_all_in_training_and_the_mean_to_nnunet():
    network, image = stochastic(), torch.randn(1, 1, 4, 4, 8)
    assert network(image).shape[1] == (2 + RANK) * CLASSES
    network.eval()
    assert network(image).shape[1] == CLASSES
    assert set(network.state_dict()) == {"weight", "bias"}, "nnU-Net's names"


def test_a_compiled_network_returns_the_same():
    network, image = stochastic(), torch.randn(1, 1, 4, 4, 8)
    compiled = torch.compile(network, backend="eager")
    assert head_of(compiled) is head_of(network)
    for mode in (True, False, True):
        compiled.train(mode)
        assert torch.equal(compiled(image), network(image))
    compiled.eval()
    head_of(compiled).factors = True
    assert compiled(image).shape[1] == head_of(network).channels


def test_members_are_samples_of_one_prediction():
    made = object.__new__(NnUNetEnsemble)
    made._folds, made._predictor, made._kind = (0,), predictor(stochastic()), MemberKind.of("ssn:4")
    made._passes, made._snapshots, made._draws = [Pass()], {0: []}, {0: DRAWS}
    image = np.random.default_rng(0).standard_normal((1, 4, 6, 12)).astype(np.float32)
    members = dict(made.logits(image, "a case"))
    assert list(members) == [f"fold 0, sample {number}" for number in (1, 2, 3, 4)]
    mean = made._predictor.predict_sliding_window_return_logits(torch.from_numpy(image))
    assert {logits.shape for logits in members.values()} == {mean.shape} == {(CLASSES, 4, 6, 12)}
    with with_factors(made._predictor):
        maps = made._predictor.predict_sliding_window_return_logits(torch.from_numpy(image))
    torch.testing.assert_close(maps[:CLASSES], mean)
    for z, logits in zip(DRAWS.samples(4, "fold 0", "a case"), members.values(), strict=True):
        assert torch.equal(sample(maps, z), logits)


def test_other_networks_have_no_samples():
    plain = predictor(torch.nn.Conv3d(1, CLASSES, 1))
    with pytest.raises(NnActiveError, match="TheTrainer") as caught:
        check_passes(plain, MemberKind.of("ssn:4"), "FOLDER")
    assert "Plan the experiment with -members ssn:4" in str(caught.value)
    check_passes(predictor(stochastic()), MemberKind.of("ssn:4"), "FOLDER")


def test_maps_that_do_not_fit_are_refused(monkeypatch):
    found = predictor(stochastic())
    assert head_of(found.network).channels == (1 + RANK) * CLASSES
    needed = (1 + RANK) * CLASSES * 20 * 30 * 40 * 2
    monkeypatch.setattr(samples, "free_here", lambda: needed)
    check_memory(found, (20, 30, 40))
    monkeypatch.setattr(samples, "free_here", lambda: needed - 1)
    with pytest.raises(NnActiveError, match="-members folds"):
        check_memory(found, (20, 30, 40))


@pytest.mark.parametrize(("kind", "roles"), [("ssn", ("aleatoric", "epistemic")), ("mirror", ("epistemic", "aleatoric"))])
def test_measures_are_named_by_what_they_measure(kind, roles):
    made = MemberKind.of(kind)
    assert tuple(map(made.measured, ("bald", "expected_entropy"))) == roles
    assert (made.measured("predictive_entropy"), made.measured("energy")) == ("total", "")


def test_the_trainer_and_its_first_epochs():
    found = module.nnActiveTrainer_SSN_10epochs_NoMirroring
    assert (found.epochs, found.mirroring, found.stochastic) == (10, False, True)

    class Base:
        def on_train_epoch_start(self):
            self.seen.append(self.loss.mean_only)

    for epochs, expected in ((200, 5), (10, 2), (1, 0)):
        trainer = type("Trainer", (found.__mro__[1], Base), {})()
        trainer.num_epochs, trainer.loss, trainer.seen = epochs, StochasticLoss(CLASSES, IGNORE), []
        for trainer.current_epoch in range(min(epochs, 8)):
            trainer.on_train_epoch_start()
        assert sum(trainer.seen) == expected
        assert trainer.seen[:expected] == [True] * expected
