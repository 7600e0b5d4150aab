"""What is taken from a checkpoint of nnU-Net or nnssl, and what is refused, with the names and shapes that differ."""

from __future__ import annotations

import pytest
import torch
from weights import (
    PATCH,
    SPACING,
    architecture,
    marked_as_cuda,
    network_weights,
    nnssl_checkpoint,
    nnunet_checkpoint,
    plans,
)

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import write_json
from nnactive_ext.nnunet.network import built
from nnactive_ext.nnunet.pretrained import HEADS, digest, read_pretrained, read_tensors, write_tensors


def loaded(tensors, network, channels: int, classes: int):
    """A fresh network after these tensors were loaded, and before."""
    made = built(network, channels, classes).to_empty(device="cpu")
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    assert not made.load_state_dict(tensors, strict=False).unexpected_keys
    return made.state_dict(), before


@pytest.mark.parametrize("residual", [False, True])
def test_all_but_the_heads_of_a_model_of_nnunet(tmp_path, residual):
    file = nnunet_checkpoint(tmp_path, architecture=architecture(residual=residual))
    found = read_pretrained(file, "3d_fullres")
    saved = torch.load(file, weights_only=False)["network_weights"]
    now, before = loaded(found.tensors, found.configuration["architecture"], 2, 3)
    assert {name for name in now if torch.equal(now[name], before[name])} == {name for name in now if HEADS in name}
    assert all(torch.equal(now[name], saved[name]) for name in now if HEADS not in name)
    assert not any("all_modules" in name for name in found.tensors), "numbers that shift where there is dropout"
    taken = [found.configuration[key] for key in ("spacing", "patch_size", "batch_size", "normalization_schemes")]
    assert taken == [SPACING, PATCH, 2, ["ZScoreNormalization"] * 2]
    assert (found.channels, found.channel_names, found.format) == (2, ("T1", "T2"), "nnU-Net")


def test_weights_for_a_network_with_dropout(tmp_path):
    """Its layers have other numbers in all_modules."""
    found = read_pretrained(nnunet_checkpoint(tmp_path), "3d_fullres")
    network = architecture()
    network["arch_kwargs"] |= {"dropout_op": "torch.nn.modules.dropout.Dropout3d", "dropout_op_kwargs": {"p": 0.1}}
    now, before = loaded(found.tensors, network, 2, 3)
    assert {name for name in now if torch.equal(now[name], before[name])} == {name for name in now if HEADS in name}


def test_where_plans_are_found(tmp_path):
    beside = nnunet_checkpoint(tmp_path / "beside", in_it=False)
    assert "plans.json" in read_pretrained(beside, "3d_fullres").origin
    inside = nnunet_checkpoint(tmp_path / "inside", beside=False)
    assert "the checkpoint" in read_pretrained(inside, "3d_fullres").origin
    none = nnunet_checkpoint(tmp_path / "none", in_it=False, beside=False)
    with pytest.raises(NnActiveError, match="-pretrained_plans"):
        read_pretrained(none, "3d_fullres")
    given = read_pretrained(none, "3d_fullres", tmp_path / "beside" / "plans.json")
    assert digest(given.tensors) == digest(read_pretrained(beside, "3d_fullres").tensors)


def test_saved_on_a_gpu_or_by_parallel_or_compiled_training(tmp_path):
    file = nnunet_checkpoint(tmp_path)
    plain = digest(read_pretrained(file, "3d_fullres").tensors)
    assert digest(read_pretrained(marked_as_cuda(file), "3d_fullres").tensors) == plain
    content = torch.load(file, weights_only=False)
    content["network_weights"] = {f"module._orig_mod.{name}": value for name, value in content["network_weights"].items()}
    torch.save(content, file)
    assert digest(read_pretrained(file, "3d_fullres").tensors) == plain


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (architecture(features=(4, 8, 8, 8)), ["encoder.stages.3", "nothing in the file", "more"]),
        (architecture(features=(4, 8)), ["decoder.", " in the network, ", " in the file", "more"]),
        (architecture(features=(4, 8, 16)), ["encoder.stages.2.0.convs.0.conv.weight: 16 x 8 x 3 x 3 x 3", "8 x 8 x 3 x 3"]),
        (architecture(residual=True), ["encoder.stem"]),
    ],
)  # fmt: skip
def test_plans_of_another_network_are_refused_with_names_and_shapes(tmp_path, other, named):
    file = nnunet_checkpoint(tmp_path, in_it=False)
    write_json(tmp_path / "plans.json", plans(architecture=other))
    with pytest.raises(NnActiveError) as refused:
        read_pretrained(file, "3d_fullres")
    assert all(text in str(refused.value) for text in named)
    assert sum(line.startswith("    ") for line in str(refused.value).splitlines()) <= 4


def test_plans_beside_it_that_are_not_those_in_it(tmp_path):
    file = nnunet_checkpoint(tmp_path)
    write_json(tmp_path / "plans.json", plans(spacing=[3.0, 1.0, 1.0]))
    with pytest.raises(NnActiveError, match=r"spacing: \[1.0, 1.0, 2.0\] in the checkpoint, \[3.0, 1.0, 1.0\] in plans.json"):
        read_pretrained(file, "3d_fullres")


def test_other_channels_configurations_and_files(tmp_path):
    found = read_pretrained(nnunet_checkpoint(tmp_path / "one"), "3d_fullres")
    assert found.for_channels(("CT", "PET")) is found
    with pytest.raises(NnActiveError, match=r"2 channels \(T1, T2\).* 1 \(CT\)"):
        found.for_channels(("CT",))
    with pytest.raises(NnActiveError, match="3D"):
        read_pretrained(tmp_path / "one" / "fold_0" / "checkpoint_final.pth", "2d")
    second = nnunet_checkpoint(tmp_path / "two", previous_stage="3d_lowres")
    with pytest.raises(NnActiveError, match="cascade"):
        read_pretrained(second, "3d_fullres")
    with pytest.raises(NnActiveError, match="fold_0/checkpoint_final"):
        read_pretrained(tmp_path / "one", "3d_fullres")
    torch.save({"state_dict": {}}, tmp_path / "other.pth")
    with pytest.raises(NnActiveError, match="state_dict"):
        read_pretrained(tmp_path / "other.pth", "3d_fullres")


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("channels", [1, 2])
def test_encoder_and_stem_of_nnssl(tmp_path, residual, channels):
    file = nnssl_checkpoint(tmp_path / "mae.pth", residual)
    found = read_pretrained(file, "3d_fullres").for_channels(tuple("ab"[:channels]))
    saved = torch.load(file, weights_only=False)["network_weights"]
    now, before = loaded(found.tensors, found.configuration["architecture"], channels, 3)
    changed = {name for name in now if not torch.equal(now[name], before[name])}
    assert changed == {name for name in now if name.startswith(("encoder.", "decoder.encoder."))}
    assert sum(not torch.equal(now[name], saved[name]) for name in changed) == (0 if channels == 1 else 4)
    first = now[found.projection]
    assert first.shape[1] == channels
    assert torch.allclose(first.sum(1, keepdim=True), saved[found.projection]), "an image that is repeated looks the same"
    assert found.configuration["normalization_schemes"] == ["ZScoreNormalization"] * channels
    assert (found.configuration["spacing"], found.configuration["patch_size"]) == ([1.0, 1.0, 1.0], PATCH)


def test_resenc_l_by_its_name_alone(tmp_path):
    """Checkpoints of OpenMind name their network; its parameters have the shapes of nnssl's get_res_enc_l."""
    from nnactive_ext.nnunet.nnssl import _RESENC_L

    small = {**_RESENC_L, "features_per_stage": [1] * 6, "n_blocks_per_stage": [1] * 6}
    kinds = {"arch_class_name": "ResEncL", "arch_kwargs": None, "arch_kwargs_requiring_import": None}
    file = nnssl_checkpoint(tmp_path / "mae.pth", architecture_plans=kinds)
    with pytest.raises(NnActiveError, match="32 x 1 x 3 x 3 x 3 in the network, 4 x 1 x 3 x 3 x 3 in the file"):
        read_pretrained(file, "3d_fullres")
    network = built(
        {"network_class_name": "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet", "arch_kwargs": _RESENC_L,
         "_kw_requires_import": ["conv_op", "norm_op", "nonlin"]}, 1, 2,
    )  # fmt: skip
    assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6) == 102
    assert small["n_stages"] == 6


@pytest.mark.parametrize("name", ["PrimusM", "NoSkipResEncL"])
def test_networks_of_nnssl_that_are_not_supported(tmp_path, name):
    kinds = {"arch_class_name": name, "arch_kwargs": None, "arch_kwargs_requiring_import": None}
    with pytest.raises(NnActiveError, match=f"{name}.*ResEncL"):
        read_pretrained(nnssl_checkpoint(tmp_path / "mae.pth", architecture_plans=kinds), "3d_fullres")


@pytest.mark.parametrize("key", ["network_class_name", "conv_op"])
def test_plans_that_name_other_code_are_refused(tmp_path, key):
    """Building the network imports and calls what its plans name."""
    network = architecture()
    (network if key == "network_class_name" else network["arch_kwargs"])[key] = "os.system"
    file = nnunet_checkpoint(tmp_path)
    write_json(tmp_path / "plans.json", plans(architecture=network))
    with pytest.raises(NnActiveError, match=r"os\.system.*--trust"):
        read_pretrained(file, "3d_fullres")


def test_an_adaptation_plan_that_lacks_a_key(tmp_path):
    with pytest.raises(NnActiveError, match="not complete"):
        read_pretrained(nnssl_checkpoint(tmp_path / "mae.pth", pretrain_plan={}), "3d_fullres")


def test_tensors_are_the_same_wherever_they_are_written(tmp_path):
    tensors = network_weights(architecture(), 1)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_tensors(tmp_path / name, tensors)
    sha256 = digest(tensors)
    found = read_tensors(tmp_path / "a", sha256)
    assert digest(found) == digest(read_tensors(tmp_path / "b", sha256)) == sha256
    name = next(iter(tensors))
    write_tensors(tmp_path / "b", {**tensors, name: tensors[name] + 1})
    with pytest.raises(NnActiveError, match="other weights"):
        read_tensors(tmp_path / "b", sha256)
    with pytest.raises(NnActiveError, match="no such file"):
        read_tensors(tmp_path, sha256)
