"""Descriptors by a network: against the feature maps and the gradients themselves, computed in the open."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from small_networks import small_network
from torch.nn import functional

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.patch import Patch, triple
from nnactive_ext.members.describing import Describer, network_size
from nnactive_ext.members.places import places
from nnactive_ext.members.taps import fitting
from nnactive_ext.nnunet.stochastic_head import RANK, with_head
from nnactive_ext.query_methods.base import FEATURES, Description

WINDOW = (8, 8, 8)
IMAGE = np.random.default_rng(0).normal(size=(1, 12, 14, 9)).astype(np.float32)
BOX = Patch("a", (3, 4, 2), (5, 4, 6))


pytestmark = pytest.mark.usefixtures("one_thread")


def describer(network, patch=(5, 5, 5), window=WINDOW, regions=False) -> Describer:
    return Describer(network, window, patch, torch.device("cpu"), regions)


def tile_of(box: Patch):
    """The network patch around the box, and the box in it."""
    (place,) = places(box, WINDOW, triple(IMAGE.shape[1:]))
    z, y, x = (slice(a, a + 8) for a in place.start)
    return torch.from_numpy(IMAGE[:, z, y, x][None].copy()), place.within


def weighted(features: torch.Tensor, box: Patch, stride: int) -> np.ndarray:
    """The mean over the voxels of a box, each with the cell it lies in."""
    voxels = np.argwhere(np.ones(box.size)) + box.start
    return np.mean([features[(slice(None), *(voxel // stride))].detach().numpy() for voxel in voxels], axis=0)


@pytest.mark.parametrize("residual", [False, True])
def test_the_encoder_stage_that_fits_is_pooled_over_the_box(residual):
    network = small_network(residual=residual)
    tile, box = tile_of(BOX)
    for patch, stage in (((16, 16, 16), 2), ((5, 5, 5), 1), ((3, 9, 9), 0), ((1, 9, 9), 0)):
        (found,) = describer(network, patch).describe(IMAGE, [BOX], Description("encoder"))
        assert found == pytest.approx(weighted(network.encoder(tile)[stage][0], box, 2**stage), abs=1e-6)


def last_input(network, tile):
    kept = []
    handle = network.decoder.seg_layers[-1].register_forward_pre_hook(lambda module, inputs: kept.append(inputs[0]))
    logits = network(tile)
    handle.remove()
    return logits, kept[0]


def test_the_decoder_gives_the_input_of_the_last_layer():
    network = small_network()
    tile, box = tile_of(BOX)
    (found,) = describer(network).describe(IMAGE, [BOX], Description("decoder"))
    assert found == pytest.approx(weighted(last_input(network, tile)[1][0], box, 1), abs=1e-6)


@pytest.mark.parametrize("regions", [False, True])
def test_the_gradient_is_that_of_the_cross_entropy_with_the_prediction_as_label(regions):
    network = small_network()
    (found,) = describer(network, regions=regions).describe(IMAGE, [BOX], Description("gradient"))
    network.requires_grad_(True)
    tile, box = tile_of(BOX)
    logits = network(tile)[(0, slice(None), *box.slices)].flatten(1)
    if regions:
        loss = functional.binary_cross_entropy_with_logits(logits, (logits > 0).float(), reduction="none").sum(0).mean()
    else:
        loss = functional.cross_entropy(logits.T, logits.argmax(0))
    (expected,) = torch.autograd.grad(loss, network.decoder.seg_layers[-1].weight)
    assert found == pytest.approx(expected.flatten().numpy(), abs=1e-6)


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_layers_are_pooled_activations_times_pooled_gradients(layers):
    network = small_network()
    made = describer(network, (16, 16, 16))
    (found,) = made.describe(IMAGE, [BOX], Description("layers", layers))
    assert made.sections(Description("layers", layers)) == (4, 6, 8, 4)[-layers:]
    tile, box = tile_of(BOX)
    network.requires_grad_(True)
    skips = network.encoder(tile)
    kept = []
    handle = network.decoder.seg_layers[-1].register_forward_pre_hook(lambda module, inputs: kept.append(inputs[0]))
    logits = network.decoder(skips)
    handle.remove()
    loss = -logits.log_softmax(1)[(0, slice(None), *box.slices)].mean()
    # The gradient by an activation also goes through what comes after it, skips or not.
    maps = [*zip(skips, (1, 2, 4), strict=True), (kept[0], 1)]
    expected = []
    for one, stride in maps[-layers:]:
        (gradient,) = torch.autograd.grad(loss, one, retain_graph=True)
        expected.append(weighted(one[0], box, stride) * weighted(gradient[0], box, stride))
    assert found == pytest.approx(np.concatenate(expected), abs=1e-9)


@pytest.mark.parametrize("features", FEATURES)
def test_a_descriptor_depends_on_no_other_box_and_leaves_no_hook(features):
    network, description = small_network(), Description(features)
    boxes = [BOX, Patch("a", (0, 0, 0), (5, 4, 6)), Patch("a", (0, 5, 1), (12, 4, 6))]
    together = describer(network).describe(IMAGE, boxes, description)
    assert together.dtype == np.float32
    for row, box in enumerate(boxes):
        assert np.array_equal(describer(network).describe(IMAGE, [box], description)[0], together[row])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_boxes_in_one_place_share_a_pass_and_compiled_networks_are_looked_into():
    network = small_network()
    calls = []
    network.encoder.register_forward_hook(lambda *_: calls.append(1))
    compiled = SimpleNamespace(_orig_mod=network)
    image = IMAGE[:, :8, :8, :8]
    boxes = [Patch("a", (0, 0, z), (5, 4, 3)) for z in range(5)]
    found = describer(compiled).describe(image, boxes, Description("encoder"))
    assert len(calls) == 1
    assert len(np.unique(found, axis=0)) == 5


def test_hooks_are_removed_when_the_network_fails():
    network = small_network()
    with pytest.raises(RuntimeError):
        describer(network).describe(np.zeros((2, 9, 9, 9)), [BOX], Description("layers"))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_of_a_2d_network_the_slices_are_averaged():
    network = small_network(axes=2)
    made = describer(network, window=(8, 8))
    for features in FEATURES[:3]:
        (found,) = made.describe(IMAGE, [BOX], Description(features))
        slices = [Patch("a", (z, 4, 2), (1, 4, 6)) for z in range(3, 8)]
        assert found == pytest.approx(made.describe(IMAGE, slices, Description(features)).mean(0), abs=1e-6)


def test_images_smaller_than_the_network_patch_are_padded_as_nnunet_pads():
    image = np.ones((1, 5, 8, 8), np.float32)
    padded = np.pad(image, [(0, 0), (1, 2), (0, 0), (0, 0)])
    made, description = describer(small_network()), Description("encoder")
    box, same = Patch("a", (1, 2, 2), (4, 4, 4)), Patch("a", (2, 2, 2), (4, 4, 4))
    assert np.array_equal(made.describe(image, [box], description), made.describe(padded, [same], description))


@settings(max_examples=60, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 12)] * 3), window=st.tuples(*[st.integers(1, 6)] * 3), data=st.data())
def test_parts_fill_a_box_and_lie_where_they_are_deepest(shape, window, data):
    size = [data.draw(st.integers(1, n)) for n in shape]
    start = [data.draw(st.integers(0, n - s)) for n, s in zip(shape, size, strict=True)]
    found = places(Patch("a", triple(start), triple(size)), window, shape)
    padded = [max(n, w) for n, w in zip(shape, window, strict=True)]
    inside = np.zeros(padded, int)
    for place in found:
        inside[place.part.slices] += 1
        assert place.within.inside(window)
        assert Patch("", place.start, window).inside(padded)
    assert inside.max() == 1
    assert inside.sum() == np.prod(size)
    for axis in range(3):
        starts = sorted({place.start[axis] for place in found})
        assert len(starts) == -(-size[axis] // window[axis])
        for place in found:
            for voxel in range(place.part.start[axis], place.part.stop[axis]):
                depth = {a: abs(voxel + 0.5 - a - window[axis] / 2) for a in starts}
                assert depth[place.start[axis]] == min(depth.values())


def test_the_stages_of_the_specification():
    default = [triple([2**i] * 3) for i in range(6)]
    assert [fitting(default, triple([n] * 3)) for n in (64, 20, 10, 1)] == [5, 3, 2, 0]
    assert fitting([(1, 1, 1), (1, 2, 2), (2, 4, 4), (4, 8, 8), (4, 16, 16)], (4, 40, 40)) == 2
    assert fitting([(2, 2, 2), (4, 4, 4)], (3, 9, 9)) == 0
    assert network_size((20.0, 10.0, 5.0), (2, 0, 1), (1.0, 2.0, 2.5)) == (5, 10, 4)
    assert network_size((20.0, 10.0, 5.0), (0, 1, 2), (2.0, 2.5)) == (5, 5, 2)


def test_a_network_without_stages_is_refused_with_what_to_do():
    network = torch.nn.Conv3d(1, 2, 1)
    for features in ("encoder", "decoder"):
        with pytest.raises(NnActiveError, match="features=file:"):
            describer(network).describe(IMAGE, [BOX], Description(features))


def test_the_gradient_of_both_sides_of_a_boundary_cancels_within_a_patch():
    """Why |g| is no measure of uncertainty: a box is described by the mean over its voxels."""
    made, description = describer(small_network()), Description("gradient")
    whole, left, right = (Patch("a", (0, 0, x), (8, 8, n)) for x, n in ((0, 8), (0, 4), (4, 4)))
    vectors = made.describe(IMAGE[:, :8, :8, :8], [whole, left, right], description)
    assert vectors[0] == pytest.approx((vectors[1] + vectors[2]) / 2, abs=1e-6)
    assert np.linalg.norm(vectors[0]) <= np.linalg.norm(vectors[1:], axis=1).mean() + 1e-6


def test_a_stochastic_network_is_described_by_its_mean():
    """Its other outputs are no logits of classes: gradients are by the layer's rows of the mean."""
    network = with_head(small_network(classes=3 * (2 + RANK)), 3)
    head, window = network.decoder.seg_layers[-1], describer(network)
    (found,) = window.describe(IMAGE, [BOX], Description("gradient"))
    assert found.size == 3 * head.in_channels == sum(window.sections(Description("gradient")))
    tile, box = tile_of(BOX)
    head.weight.requires_grad_(True)
    logits = network(tile)[(0, slice(None), *box.slices)].flatten(1)
    (expected,) = torch.autograd.grad(functional.cross_entropy(logits.T, logits.argmax(0)), head.weight)
    assert found == pytest.approx(expected[:3].flatten().numpy(), abs=1e-6)
    assert not expected[3:].any()
    head.weight.requires_grad_(False)
    (layers,) = window.describe(IMAGE, [BOX], Description("layers"))
    assert layers.size == sum(window.sections(Description("layers")))


def test_what_instance_norm_hides():
    """Channel means over the network patch are the bias before the activation, so that images hardly differ after it; over a
    part with half the sides they do; and the images' gain is invisible."""
    network = small_network()
    rng = np.random.default_rng(0)
    images = [ndimage.gaussian_filter(rng.normal(size=(1, 16, 16, 16)), [0, 2, 2, 2]) for _ in range(8)]
    images = [(image / image.std()).astype(np.float32) for image in images]
    norm = network.encoder.stages[0][-1].convs[-1].norm
    kept = []
    handle = norm.register_forward_hook(lambda module, inputs, output: kept.append(output.detach().mean((2, 3, 4))[0]))
    network(torch.from_numpy(images[0])[None])
    handle.remove()
    assert kept[0].numpy() == pytest.approx(norm.bias.detach().numpy(), abs=1e-6)

    def spread(*box: int) -> float:
        made = describer(network, (3, 9, 9), (16, 16, 16))
        boxes = [Patch("a", (box[0],) * 3, (box[1],) * 3)]
        return float(np.std([made.describe(image, boxes, Description("encoder"))[0] for image in images], axis=0).mean())

    assert spread(0, 16) < spread(4, 8) / 5
    once, thrice = (network(torch.from_numpy(gain * images[0])[None]).detach() for gain in (1, 3))
    assert torch.allclose(once, thrice, atol=3e-3 * float(once.std()))
