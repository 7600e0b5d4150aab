"""Convolutions by oneDNN give what torch's own give."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnactive_ext.members.ensemble import always_by_onednn


@pytest.mark.parametrize(
    "settings",
    [
        {"padding": 1},
        {"padding": (0, 1, 1), "kernel_size": (1, 3, 3)},
        {"padding": 1, "stride": (1, 2, 2)},
        {"padding": 2, "dilation": 2},
        {"padding": 1, "groups": 2},
        {"padding": 1, "bias": False},
        {"padding": "same"},
        {"padding": 1, "padding_mode": "replicate"},
    ],
    ids=str,
)
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_as_torch(settings, batch, dtype):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(4, 6, **{"kernel_size": 3, **settings}), nn.LeakyReLU(), nn.Conv3d(6, 3, 1)).to(dtype)
    image = torch.randn(batch, 4, 9, 10, 11, dtype=dtype)
    with torch.no_grad():
        expected = network.double()(image.double())
        network.to(dtype)
        always_by_onednn(network)
        found = network(image)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
def test_onednn_is_asked():
    network = nn.Conv3d(1, 2, 3)
    always_by_onednn(network)
    with torch.no_grad(), torch.profiler.profile() as profile:
        network(torch.zeros(1, 1, 4, 4, 4))
    assert "aten::mkldnn_convolution" in {event.key for event in profile.key_averages()}


def test_loading_weights_still_works():
    one, other = nn.Conv3d(2, 2, 3), nn.Conv3d(2, 2, 3)
    always_by_onednn(one)
    one.load_state_dict(other.state_dict())
    image = torch.randn(1, 2, 5, 5, 5)
    with torch.no_grad():
        torch.testing.assert_close(one(image), other(image))
