"""AbeT's last layer: the specification's numbers, what it does not depend on, half precision, and what reads its network."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_networks import small_network
from torch.nn import functional

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.members.describing import Describer
from nnactive_ext.members.places import places
from nnactive_ext.members.statistics import RunningStatistics
from nnactive_ext.nnunet.abet_head import COLDEST, TemperatureHead, with_temperature
from nnactive_ext.nnunet.trainers import VARIANTS, builds_its_own_network, trains_abet
from nnactive_ext.query_methods.base import Description
from nnactive_ext.query_methods.scores import energy
from nnactive_ext.trainers import nnActiveTrainer as module

pytestmark = pytest.mark.usefixtures("one_thread")


def energy_of(logits: torch.Tensor, regions: bool = False) -> float:
    """Of one voxel, by the score that queries have."""
    statistics = RunningStatistics(regions)
    statistics.add(logits.reshape(-1, 1, 1, 1))
    return float(energy(statistics.result()).item())


def head_for(cosines: list[float], temperature: float = 0.5) -> TemperatureHead:
    """Two features, of which the first is phi's direction; and a temperature that is the same everywhere."""
    head = TemperatureHead(torch.nn.Conv3d(2, len(cosines), 1)).eval()
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[c, math.sqrt(1 - c * c)] for c in cosines]).reshape(-1, 2, 1, 1, 1))
        head.temperature.weight.zero_()
        head.norm.bias.fill_(math.log(temperature / (1 - temperature)) if temperature < 1 else 100.0)
    return head


PHI = torch.tensor([3.0, 0.0]).reshape(1, 2, 1, 1, 1)


@pytest.mark.parametrize(("temperature", "expected", "in_front"), [(0.5, -1.86328, -0.93164), (0.1, -8.00248, -0.80025)])
def test_the_energies_of_the_specification(temperature, expected, in_front):
    g = torch.tensor([0.8, 0.2])
    assert energy_of(g / temperature) == pytest.approx(expected, abs=1e-5)
    assert temperature * energy_of(g / temperature) == pytest.approx(in_front, abs=1e-5)
    with torch.no_grad():
        found = head_for([0.8, 0.2], temperature)(PHI)
    # Both lengths are longer by 1e-4.
    assert energy_of(found) == pytest.approx(expected, abs=2e-4 / temperature)


def test_of_regions_the_energy_is_the_sum_over_regions():
    with torch.no_grad():
        z = head_for([0.8, -0.2])(PHI)
    assert energy_of(z, regions=True) == pytest.approx(-functional.softplus(z).sum().item(), abs=1e-5)


@pytest.mark.parametrize(("classes", "largest"), [(2, 0.98), (4, 0.95), (16, 0.78)])
def test_the_largest_softmax_before_training(classes, largest):
    """At T = 1/2, where one class points along phi and all others against it."""
    with torch.no_grad():
        found = head_for([1.0, *[-1.0] * (classes - 1)])(PHI).softmax(1).max()
    assert found == pytest.approx(largest, abs=5e-3)


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(2, 6, 3, 4, 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def head() -> TemperatureHead:
    torch.manual_seed(1)
    return TemperatureHead(torch.nn.Conv3d(6, 3, 1))


def test_the_temperature_changes_no_label_and_features_ten_times_as_long_no_cosine(head, features):
    head.eval()
    cosines = functional.cosine_similarity(features[:, None], head.weight[None], dim=2)
    with torch.no_grad():
        z = head(features)
        torch.testing.assert_close(z * head.temperatures(features), cosines, atol=1e-3, rtol=0)
        assert torch.equal(z.argmax(1), cosines.argmax(1))
        longer = head(10 * features) * head.temperatures(10 * features)
    torch.testing.assert_close(longer, cosines, atol=1e-3, rtol=0)


def test_with_the_temperature_1_it_is_a_cosine_head(head, features):
    head.eval()
    with torch.no_grad():
        head.temperature.weight.zero_()
        head.norm.bias.fill_(100)
        torch.testing.assert_close(
            head(features), functional.cosine_similarity(features[:, None], head.weight[None], dim=2), atol=1e-3, rtol=0
        )


def test_the_coldest_logits_fit_into_nnunets_sums_in_half_precision():
    """Eight tiles, each weighted by up to 10; with a temperature of .001 they would not."""
    with torch.no_grad():
        z = head_for([1.0, -1.0], 1e-9)(PHI)
    assert z.abs().max().item() == pytest.approx(1 / COLDEST, rel=1e-3)
    assert [bool(torch.isfinite((8 * 10 * factor * z).half()).all()) for factor in (1, 10)] == [True, False]
    assert math.isfinite(energy_of(z))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_it_computes_in_float32_whatever_autocast_says(head, features, kind):
    with torch.autocast("cpu", kind):
        inside = head(features.to(kind))
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, head(features.to(kind).float()))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_a_hundred_iterations_of_the_layer_after_features_in_half_precision(head, features, kind):
    parameters = [features.requires_grad_(), *head.parameters()]
    optimizer, target, losses = torch.optim.SGD(parameters, 1e-1, momentum=0.9), features[:, 0] > 0.3, []
    for _ in range(100):
        optimizer.zero_grad()
        with torch.autocast("cpu", kind):
            loss = functional.cross_entropy(head(features.to(kind)), target.long())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_a_hundred_iterations_in_half_precision_have_a_finite_loss_that_falls(kind):
    """Half the voxels are annotated, and a corner of each image has no features at all."""
    network = with_temperature(small_network(classes=2)).train()
    optimizer = torch.optim.SGD(network.parameters(), 1e-2, momentum=0.99, nesterov=True)
    image = torch.randn(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    image[:, :, :4, :4] = 0
    target = (image[:, 0] > 0.3).long()
    target[:, :, ::2] = -100
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        with torch.autocast("cpu", kind):
            loss = functional.cross_entropy(network(image), target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 12, error_if_nonfinite=True)
        optimizer.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert np.mean(losses[-10:]) < 0.7 * losses[0]


def test_voxels_without_features_have_finite_gradients(head):
    nothing = torch.zeros(1, 6, 2, 2, 2, requires_grad=True)
    head(nothing)[:, 0].sum().backward()
    assert torch.isfinite(nothing.grad).all()
    assert not head(nothing).any()


@pytest.mark.parametrize(("axes", "residual"), [(3, False), (3, True), (2, False)])
def test_only_the_layer_of_full_resolution_is_another(axes, residual):
    plain, ours = (small_network(axes, residual) for _ in range(2))
    with_temperature(ours)
    before, after = plain.state_dict(), ours.state_dict()
    last = f"decoder.seg_layers.{len(plain.decoder.seg_layers) - 1}."
    assert {name for name in before if name not in after} == {f"{last}bias"}
    assert all(name.startswith(last) for name in after if name not in before), "nnU-Net's -pretrained_weights skips the others"
    assert all(torch.equal(before[name], after[name]) for name in before if name in after)
    image = torch.randn(2, 1, *[8] * axes)
    ours.decoder.deep_supervision = True
    assert [one.shape[1] for one in ours(image)] == [3, 3]


def test_a_network_without_such_a_layer_is_refused():
    with pytest.raises(NnActiveError, match=r"decoder\.seg_layers"):
        with_temperature(torch.nn.Conv3d(1, 2, 1))


def test_the_trainers_names():
    found = module.nnActiveTrainer_AbeT_10epochs_NoMirroring
    assert (found.epochs, found.mirroring, found.ablated_temperature) == (10, False, True)
    names = ("nnActiveTrainer_AbeT", "nnActiveTrainer_AbeT_3epochs", "nnActiveTrainer_SSN", "nnActiveTrainer")
    assert [trains_abet(name) for name in names] == [True, True, False, False]
    assert [builds_its_own_network(name) for name in names] == [True, True, True, False]
    assert "AbeT" in VARIANTS


# Descriptors of such networks

WINDOW, BOX = (8, 8, 8), Patch("a", (3, 4, 2), (5, 4, 6))
IMAGE = np.random.default_rng(0).normal(size=(1, 12, 14, 9)).astype(np.float32)


def described(network: torch.nn.Module, features: str, regions: bool = False) -> np.ndarray:
    layers = {"layers": 2} if features == "layers" else {}
    made = Describer(network, WINDOW, (5, 5, 5), torch.device("cpu"), regions)
    return made.describe(IMAGE, [BOX], Description(features, **layers))[0]


@pytest.mark.parametrize("features", ["encoder", "decoder", "gradient", "layers"])
def test_compiled_networks_are_described_like_others(features):
    network = with_temperature(small_network()).eval()
    found = described(network, features)
    assert np.isfinite(found).all()
    assert found.any()
    assert np.array_equal(found, described(SimpleNamespace(_orig_mod=network), features))


@pytest.mark.slow
def test_a_compiled_network_returns_the_same():
    network, image = with_temperature(small_network()), torch.randn(1, 1, 8, 8, 8)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    for training in (True, False):
        network.train(training)
        torch.testing.assert_close(compiled(image), network(image))


@pytest.mark.parametrize("regions", [False, True])
def test_badge_is_the_gradient_by_the_directions_of_the_classes(regions):
    """Against automatic differentiation by weights of unit length."""
    network = with_temperature(small_network()).eval()
    head, tiles = network.decoder.seg_layers[-1], []
    handle = network.encoder.register_forward_pre_hook(lambda _, inputs: tiles.append(inputs[0].clone()))
    kept = []
    kept_by = head.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].detach()))
    found = described(network, "gradient", regions)
    handle.remove()
    kept_by.remove()
    (place,) = places(BOX, WINDOW, IMAGE.shape[1:])
    directions = head.directions.detach().clone().requires_grad_()
    z = functional.conv3d(head.scaled(kept[0]), directions)[(0, slice(None), *place.within.slices)]
    torch.testing.assert_close(z, head(kept[0])[(0, slice(None), *place.within.slices)])
    if regions:
        label = (z > 0).float()
        loss = functional.binary_cross_entropy_with_logits(z, label, reduction="none").sum(0).mean()
    else:
        loss = functional.cross_entropy(z.flatten(1).T, z.argmax(0).flatten())
    (expected,) = torch.autograd.grad(loss, directions)
    assert found == pytest.approx(expected.flatten().numpy(), rel=1e-4, abs=1e-7)
