"""Several predictions of one network as members, with nnU-Net's own predictor and small untrained networks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.member_kinds import MemberKind
from nnactive_ext.members.passes import Draws, Pass, check_passes, passes, predicting
from nnactive_ext.members.statistics import RunningStatistics
from nnactive_ext.query_methods.scores import SCORES, predictive_entropy

TILE, CHANNELS = (8, 8, 16), 3
DRAWS = Draws(seed=12345, cycle=2)


pytestmark = pytest.mark.usefixtures("one_thread")


def network(dimensions: int = 3, p: float | None = None) -> torch.nn.Module:
    torch.manual_seed(0)
    kind = f"{dimensions}d"
    dropout = {"dropout_op": f"torch.nn.modules.dropout.Dropout{kind}", "dropout_op_kwargs": {"p": p, "inplace": True}}
    arguments = {
        "n_stages": 3,
        "features_per_stage": [8, 16, 32],
        "conv_op": f"torch.nn.modules.conv.Conv{kind}",
        "kernel_sizes": [[3] * dimensions] * 3,
        "strides": [[1] * dimensions, [2] * dimensions, [2] * dimensions],
        "n_conv_per_stage": [2, 2, 2],
        "n_conv_per_stage_decoder": [2, 2],
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{kind}",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
        **(dropout if p else {}),
    }
    name = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
    imports = ("conv_op", "norm_op", "dropout_op", "nonlin")
    return get_network_from_plans(name, arguments, imports, 1, CHANNELS, deep_supervision=False).eval()


class Configuration:
    patch_size = TILE


class Labels:
    num_segmentation_heads = CHANNELS


def predictor(made: torch.nn.Module, axes=(0, 1, 2)) -> nnUNetPredictor:
    found = nnUNetPredictor(
        tile_step_size=0.75,
        use_mirroring=False,
        device=torch.device("cpu"),
        perform_everything_on_device=False,
        allow_tqdm=False,
    )
    found.network, found.allowed_mirroring_axes = made, axes
    found.configuration_manager, found.label_manager, found.trainer_name = Configuration, Labels, "TheTrainer"
    return found


def tile(*shape: int) -> torch.Tensor:
    return torch.randn((1, 1, *shape), generator=torch.Generator().manual_seed(1))


def of_tile(found: nnUNetPredictor, one: Pass, image: torch.Tensor, seed: int = 0) -> torch.Tensor:
    with torch.inference_mode(), predicting(found, one, seed):
        return found._internal_maybe_mirror_and_predict(image)


@pytest.mark.parametrize(("shape", "members"), [(TILE, 8), (TILE[1:], 4)])
def test_the_mean_of_the_mirrored_logits_is_nnunets_own_prediction(shape, members):
    axes = tuple(range(len(shape)))
    found, image = predictor(network(len(shape)), axes), tile(*shape)
    apart = [of_tile(found, one, image) for one in passes(MemberKind.of("mirror"), axes)]
    assert len(apart) == members
    found.use_mirroring = True
    with torch.inference_mode():
        together = found._internal_maybe_mirror_and_predict(image)
    assert (sum(apart[1:], apart[0].clone()) / members - together).abs().max() == 0
    # nnU-Net averages logits, statistics average probabilities: that is not the same.
    softmaxes = torch.stack([one.softmax(1) for one in apart]).mean(0)
    assert (softmaxes - together.softmax(1)).abs().max() > 1e-3


def test_of_a_whole_image_they_are_it_up_to_nnunets_half_precision():
    found, image = predictor(network()), tile(8, 8, 24)[0]
    found.use_gaussian = False  # whose smallest weights lose most of it
    apart = []
    for one in passes(MemberKind.of("mirror"), (0, 1, 2)):
        with predicting(found, one):
            apart.append(found.predict_sliding_window_return_logits(image).float())
    found.use_mirroring = True
    together = found.predict_sliding_window_return_logits(image).float()
    assert (torch.stack(apart).mean(0) - together).abs().max() < 0.01 * together.abs().max()


@pytest.mark.parametrize("step", [0.5, 0.75])
def test_tiles_of_a_mirrored_image_lie_where_those_of_the_image_do(step):
    """Up to a voxel, because nnU-Net rounds halves to even numbers. Nothing depends on it: tiles are mirrored, not images."""
    for tile_size, size in itertools.product((8, 15, 32), range(32, 180, 7)):
        (steps,) = compute_steps_for_sliding_window((size,), (tile_size,), step)
        mirrored = sorted(size - tile_size - start for start in steps)
        assert max(abs(a - b) for a, b in zip(mirrored, steps, strict=True)) <= 1


def test_one_noise_for_all_members_of_a_case():
    image = torch.zeros(1, 20, 30, 40)
    noisy = DRAWS.noise(image, "case_1")
    assert torch.equal(noisy, DRAWS.noise(image, "case_1"))
    assert not torch.equal(noisy, DRAWS.noise(image, "case_2"))
    assert not torch.equal(noisy, Draws(DRAWS.seed, 3).noise(image, "case_1"))
    assert noisy.std() == pytest.approx(0.1, rel=0.02)
    both = passes(MemberKind.of("mirror:noise"), (0, 1, 2))
    assert len(both) == 16 == len(set(both)) == MemberKind.of("mirror:noise").members(1)
    assert [one.axes for one in both[:8]] == [one.axes for one in both[8:]]


def test_dropout_is_on_in_its_passes_only_and_drawn_from_their_seed():
    found, image = predictor(network(p=0.5)), tile(*TILE)
    layers = [one for one in found.network.modules() if isinstance(one, torch.nn.Dropout3d)]
    assert len(layers) == 10
    one, state = Pass(dropout=0), torch.get_rng_state()
    first = of_tile(found, one, image, 7)
    assert torch.equal(first, of_tile(found, one, image, 7))
    assert not torch.equal(first, of_tile(found, one, image, 8))
    assert torch.equal(state, torch.get_rng_state()), "the random numbers of others changed"
    found.network.eval()
    assert torch.equal(of_tile(found, Pass(), image), of_tile(found, Pass(), image))
    assert not torch.equal(first, of_tile(found, Pass(), image))


def test_all_tiles_of_a_pass_drop_the_same_channels():
    """Of an image that is the same in all tiles, nothing is seen of the tiles: no seams."""
    found, dropped = predictor(network(p=0.5)), []

    def note(layer, _, output):
        dropped.append((id(layer), tuple((output.abs().amax((0, 2, 3, 4)) == 0).tolist())))

    for layer in found.network.modules():
        if isinstance(layer, torch.nn.Dropout3d):
            layer.register_forward_hook(note)
    with predicting(found, Pass(dropout=0), 3):
        found.predict_sliding_window_return_logits(tile(14, 8, 28)[0])
    by_layer: dict[int, set] = {}
    for layer, channels in dropped:
        by_layer.setdefault(layer, set()).add(channels)
    assert len(dropped) > 10
    assert all(len(channels) == 1 for channels in by_layer.values())
    assert any(any(next(iter(channels))) for channels in by_layer.values())


def test_weights_without_dropout_do_not_load_into_a_network_with_it():
    with pytest.raises(RuntimeError, match="all_modules"):
        network(p=0.1).load_state_dict(network().state_dict())


@pytest.mark.parametrize(("axes", "kind"), [(None, "mirror"), ((), "mirror:noise"), ((0, 1, 2), "dropout:10")])
def test_networks_that_cannot_make_the_passes_are_refused_with_the_reason(axes, kind):
    with pytest.raises(NnActiveError, match=kind) as caught:
        check_passes(predictor(network(), axes), MemberKind.of(kind), "FOLDER")
    assert "FOLDER" in str(caught.value)
    assert ("TheTrainer" in str(caught.value)) == ("mirror" in kind)


@pytest.mark.parametrize("kind", ["mirror:noise", "dropout:10"])
def test_predictive_entropy_is_expected_entropy_and_mutual_information_in_any_order(kind):
    """PE = EE + MI on every map, and permuting members changes nothing."""
    found, image, kind = predictor(network(p=0.3)), tile(*TILE), MemberKind.of(kind)
    members = [of_tile(found, one, image, number)[0] * 20 for number, one in enumerate(passes(kind, (0, 1, 2)))]
    made = []
    for order in (members, members[::-1]):
        running = RunningStatistics()
        for member in order:
            running.add(member.clone())
        made.append(running.result())
    one, other = made
    np.testing.assert_allclose(predictive_entropy(one), one.expected_entropy + SCORES["bald"](one), rtol=0, atol=2e-6)
    assert SCORES["bald"](one).max() > 0.01
    for name in ("mean", "expected_entropy", "energy"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=0, atol=1e-5)
