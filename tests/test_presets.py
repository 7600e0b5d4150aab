"""The small plans for a CPU: smaller, still a network nnU-Net can build, and nothing else changed."""

import math
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnactive_ext.errors import NnActiveError
from nnactive_ext.nnunet.presets import shrink_for_cpu


def plans(patch, strides, name="3d_fullres", network="PlainConvUNet"):
    stages = len(strides)
    residual = {"n_blocks_per_stage": [1, 3, 4, 6, 6, 6, 6, 6][:stages]}
    architecture = {
        "n_stages": stages,
        "features_per_stage": [32 * 2**i for i in range(stages)],
        "kernel_sizes": [[3] * len(patch)] * stages,
        "strides": [list(s) for s in strides],
        **(residual if network == "ResidualEncoderUNet" else {"n_conv_per_stage": [2] * stages}),
        "n_conv_per_stage_decoder": [2] * (stages - 1),
    }
    configuration = {
        "patch_size": list(patch),
        "batch_size": 12,
        "spacing": [1.0] * len(patch),
        "architecture": {"network_class_name": f"x.{network}", "arch_kwargs": architecture},
    }
    return {"plans_name": "nnUNetPlans", "configurations": {name: configuration, "other": {"batch_size": 7}}}


@st.composite
def planned(draw):
    """As nnU-Net plans: strides of 1 or 2 per stage, a patch divisible by their product."""
    dimensions = draw(st.sampled_from([2, 3]))
    stages = draw(st.integers(2, 7))
    steps = st.tuples(*[st.sampled_from([1, 2])] * dimensions)
    strides = [(1,) * dimensions, *(draw(steps) for _ in range(stages - 1))]
    divisor = [math.prod(s[axis] for s in strides) for axis in range(dimensions)]
    patch = [d * draw(st.integers(1, max(1, 320 // d))) for d in divisor]
    return plans(patch, strides, network=draw(st.sampled_from(["PlainConvUNet", "ResidualEncoderUNet"])))


@given(planned())
def test_small_and_divisible(content):
    before = deepcopy(content)
    shrunk = shrink_for_cpu(content, "3d_fullres")
    assert content == before
    old, new = content["configurations"]["3d_fullres"], shrunk["configurations"]["3d_fullres"]
    network = new["architecture"]["arch_kwargs"]
    stages = network["n_stages"]
    assert stages <= 3
    assert len(network["strides"]) == len(network["kernel_sizes"]) == len(network["features_per_stage"]) == stages
    blocks = {"n_conv_per_stage", "n_blocks_per_stage"} & set(network)
    assert blocks == {"n_conv_per_stage", "n_blocks_per_stage"} & set(old["architecture"]["arch_kwargs"])
    assert len(network[blocks.pop()]) == stages
    assert len(network["n_conv_per_stage_decoder"]) == stages - 1
    divisor = [math.prod(s[axis] for s in network["strides"]) for axis in range(len(new["patch_size"]))]
    assert all(size > 0 and size % d == 0 for size, d in zip(new["patch_size"], divisor, strict=True))
    assert all(small <= large for small, large in zip(new["patch_size"], old["patch_size"], strict=True))
    assert math.prod(new["patch_size"]) <= 32 * 48 * 32
    assert shrunk["configurations"]["other"] == content["configurations"]["other"]
    assert new["spacing"] == old["spacing"]


@pytest.mark.parametrize(
    ("patch", "strides"),
    [
        ((128, 128, 128), [(1, 1, 1), *[(2, 2, 2)] * 5]),
        ((28, 256, 256), [(1, 1, 1), (1, 2, 2), (1, 2, 2), *[(2, 2, 2)] * 2, (1, 2, 2)]),
        ((512, 512), [(1, 1), *[(2, 2)] * 7]),
    ],
)
def test_usual_plans(patch, strides):
    new = shrink_for_cpu(plans(patch, strides), "3d_fullres", iterations=40)["configurations"]["3d_fullres"]
    assert len(new["patch_size"]) == len(patch)
    assert 32 * 48 * 32 / 2 < math.prod(new["patch_size"]) <= 32 * 48 * 32  # small, and not needlessly so
    assert new["architecture"]["arch_kwargs"]["strides"] == [list(s) for s in strides[:3]]
    assert new["nnactive"]["iterations_per_epoch"] == 40
    assert new["nnactive"]["val_iterations_per_epoch"] >= 1


def test_a_patch_that_is_small_already_stays():
    content = plans((16, 32, 32), [(1, 1, 1), (2, 2, 2), (2, 2, 2)])
    assert shrink_for_cpu(content, "3d_fullres")["configurations"]["3d_fullres"]["patch_size"] == [16, 32, 32]


@pytest.mark.parametrize("network", ["ResidualUNet", "Primus"])
def test_an_architecture_that_nnunet_does_not_plan_is_refused_by_name(network):
    with pytest.raises(NnActiveError, match=network):
        shrink_for_cpu(plans((16, 32, 32), [(1, 1, 1), (2, 2, 2)], network=network), "3d_fullres")


def test_nnunet_builds_and_runs_the_small_network(planned_template):
    """On plans nnU-Net made: the network takes the small patch and gives back its size."""
    import json

    import torch
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    file = planned_template.preprocessed / "Dataset101_Tiny" / "nnUNetPlans.json"
    configuration = json.loads(file.read_text())["configurations"]["3d_fullres"]
    architecture = configuration["architecture"]
    network = get_network_from_plans(
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
        2,
        3,
        deep_supervision=False,
    )
    with torch.no_grad():
        output = network.eval()(torch.zeros(1, 2, *configuration["patch_size"]))
    assert output.shape == (1, 3, *configuration["patch_size"])
