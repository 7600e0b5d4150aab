"""Checkpoints of nnssl (self-supervised training, as for OpenMind): which network they are of, and where its encoder is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError

ADAPTATION = "nnssl_adaptation_plan"
"""The key of such a checkpoint under which nnssl says how to go on with it."""
_UNETS = "dynamic_network_architectures.architectures.unet."
_IMPORTED = ["conv_op", "norm_op", "dropout_op", "nonlin"]
_STAGES = 6
_RESENC_L: Mapping[str, Any] = {
    "n_stages": _STAGES,
    "features_per_stage": [32, 64, 128, 256, 320, 320],
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "kernel_sizes": [[3, 3, 3]] * _STAGES,
    "strides": [[1, 1, 1], *[[2, 2, 2]] * (_STAGES - 1)],
    "n_blocks_per_stage": [1, 3, 4, 6, 6, 6],
    "n_conv_per_stage_decoder": [1] * (_STAGES - 1),
    "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "dropout_op": None,
    "dropout_op_kwargs": None,
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}
"""nnssl's ResEncL (its ``get_res_enc_l``), which checkpoints name and do not describe."""
_RESAMPLING = {"order_z": 0, "force_separate_z": None}


@dataclass(frozen=True)
class Adaptation:
    """The ``channels`` that the network takes, nnU-Net's ``configuration`` for it, and the names of encoder and stem in the
    checkpoint. ``origin``: the data it was trained on."""

    channels: int
    configuration: Mapping[str, Any]
    encoder: str
    stem: str
    origin: str

    def source_of(self, name: str, encoder: str, stem: str) -> str:
        """The name in the checkpoint of a parameter of nnU-Net's network, in which encoder and stem have these names; empty
        for those of the decoder."""
        for ours, theirs in ((stem, self.stem), (encoder, self.encoder)):  # the stem may be a part of the encoder
            if name.startswith(f"{ours}."):
                return f"{theirs}.{name.removeprefix(f'{ours}.')}"
        return ""


def adaptation(file: Path, plan: Mapping[str, Any]) -> Adaptation:
    """Read nnssl's adaptation plan, as nnU-Net's ``nnUNetv2_preprocess_like_nnssl -am like_pretrained`` does.

    Args:
        file: the checkpoint, for messages.
        plan: what the checkpoint holds under :data:`ADAPTATION`.

    Returns:
        The network with its recommended network patch, z-score normalisation, batch size 2, and the spacing of the
        pretraining (None where it did not resample).

    Raises:
        NnActiveError: it is a network that is not supported, such as Primus, or a key is missing.
    """
    try:
        network = plan["architecture_plans"]
        pretraining = next(iter(plan["pretrain_plan"]["configurations"].values()))
        spacing, masked = pretraining.get("spacing"), pretraining.get("use_mask_for_norm") or [False]
        configuration: dict[str, Any] = {
            "preprocessor_name": "DefaultPreprocessor",
            "batch_size": 2,
            "patch_size": [int(n) for n in plan["recommended_downstream_patchsize"]],
            "median_image_size_in_voxels": [int(n) for n in plan["recommended_downstream_patchsize"]],
            "spacing": None if not spacing or None in spacing else [float(mm) for mm in spacing],
            "normalization_schemes": ["ZScoreNormalization"],
            "use_mask_for_norm": [bool(masked[0] if isinstance(masked, (list, tuple)) else masked)],
            "resampling_fn_data": "resample_data_or_seg_to_shape",
            "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, **_RESAMPLING},
            "resampling_fn_seg": "resample_data_or_seg_to_shape",
            "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, **_RESAMPLING},
            "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
            "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, **_RESAMPLING},
            "architecture": _architecture(file, network),
            "batch_dice": False,
        }
        channels, keys = int(plan["pretrain_num_input_channels"]), (str(plan["key_to_encoder"]), str(plan["key_to_stem"]))
        origin = str(plan["pretrain_plan"].get("dataset_name") or "")
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        raise NnActiveError(f"{file}: its {ADAPTATION} is not complete ({type(error).__name__}: {error}).") from None
    for key in ("normalization_schemes", "use_mask_for_norm"):
        configuration[key] *= channels
    return Adaptation(channels, configuration, *keys, origin)


def _architecture(file: Path, network: Mapping[str, Any]) -> dict[str, Any]:
    name, described = str(network["arch_class_name"]), network.get("arch_kwargs")
    kind = name.rpartition(".")[2]
    if kind == "ResEncL":
        kind, described = "ResidualEncoderUNet", described or _RESENC_L
    if kind not in ("ResidualEncoderUNet", "PlainConvUNet") or not described:
        raise NnActiveError(
            f"{file}: is of the network {name}, which is not supported. Choose weights of a U-Net: ResEncL, "
            "ResidualEncoderUNet or PlainConvUNet; OpenMind has ResEncL for each of its methods."
        )
    imported = network.get("arch_kwargs_requiring_import") or _IMPORTED
    kwargs = {key: value for key, value in described.items() if key != "deep_supervision"}
    needed = [key for key in imported if key in kwargs]
    return {"network_class_name": _UNETS + kind, "arch_kwargs": dict(kwargs), "_kw_requires_import": needed}
