"""Checkpoints of small networks, written in the formats of nnU-Net and nnssl, and as a machine with a GPU would have them."""

from __future__ import annotations

import os
import zipfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from nnactive_ext.files import write_json
from nnactive_ext.nnunet.network import built

SPACING, PATCH = [1.0, 1.0, 2.0], [16, 16, 8]


def architecture(features=(4, 8, 8), residual: bool = False) -> dict[str, Any]:
    stages = len(features)
    kwargs = {
        "n_stages": stages,
        "features_per_stage": list(features),
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * stages,
        "strides": [[1, 1, 1], *[[2, 2, 2]] * (stages - 1)],
        ("n_blocks_per_stage" if residual else "n_conv_per_stage"): [1] * stages,
        "n_conv_per_stage_decoder": [1] * (stages - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    name = "ResidualEncoderUNet" if residual else "PlainConvUNet"
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{name}",
        "arch_kwargs": kwargs,
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def plans(channels: int = 2, **changed: Any) -> dict[str, Any]:
    """nnU-Net's plans; ``changed``: keys of the configuration."""
    resampling = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    names = ("data", "seg", "probabilities")
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": PATCH,
        "median_image_size_in_voxels": PATCH,
        "spacing": SPACING,
        "normalization_schemes": ["ZScoreNormalization"] * channels,
        "use_mask_for_norm": [True] * channels,
        **{f"resampling_fn_{name}": "resample_data_or_seg_to_shape" for name in names},
        **{f"resampling_fn_{name}_kwargs": {**resampling, "is_seg": name == "seg"} for name in names},
        "batch_dice": False,
        "architecture": architecture(),
        **changed,
    }
    values = ("max", "mean", "median", "min", "percentile_00_5", "percentile_99_5", "std")
    return {
        "dataset_name": "Dataset004_Others",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": SPACING,
        "original_median_shape_after_transp": PATCH,
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(c): dict.fromkeys(values, 1.5) for c in range(channels)},
        "configurations": {"3d_fullres": configuration},
    }


def network_weights(network: dict[str, Any], channels: int, classes: int = 5, seed: int = 0) -> dict[str, torch.Tensor]:
    """The state of such a network, in which each parameter has several names, as nnU-Net saves it."""
    made = built(network, channels, classes).to_empty(device="cpu")
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=drawn))
    return made.state_dict()


def nnunet_checkpoint(folder: Path, channels: int = 2, in_it: bool = True, beside: bool = True, **changed: Any) -> Path:
    """``folder/fold_0/checkpoint_final.pth``; ``in_it`` and ``beside``: where its plans are."""
    import numpy as np

    content = plans(channels, **changed)
    described = {"channel_names": {str(c): f"T{c + 1}" for c in range(channels)}, "labels": {"background": 0}}
    network = content["configurations"]["3d_fullres"]["architecture"]
    saved = {
        "network_weights": network_weights(network, channels),
        "optimizer_state": {"lr": 0.01},
        "logging": {"mean_fg_dice": [np.float64(0.5), np.float32(0.25)], "epochs": [np.int64(3)]},
        "_best_ema": np.float64(0.5),
        "current_epoch": 10,
        "init_args": {"configuration": "3d_fullres", "fold": 0, "device": torch.device("cpu"), "dataset_json": described},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    if in_it:
        saved["init_args"]["plans"] = deepcopy(content)
    (folder / "fold_0").mkdir(parents=True)
    if beside:
        write_json(folder / "plans.json", content)
    file = folder / "fold_0" / "checkpoint_final.pth"
    torch.save(saved, file)
    return file


def nnssl_checkpoint(file: Path, residual: bool = True, spacing: Any = (1, 1, 1), **changed: Any) -> Path:
    """As nnssl's masked autoencoders save them; ``changed``: keys of the adaptation plan."""
    described = architecture(residual=residual)
    stem = "encoder.stem.convs.0" if residual else "encoder.stages.0.0.convs.0"
    adaptation = {
        "architecture_plans": {
            "arch_class_name": "ResidualEncoderUNet" if residual else "PlainConvUNet",
            "arch_kwargs": described["arch_kwargs"],
            "arch_kwargs_requiring_import": described["_kw_requires_import"],
        },
        "pretrain_plan": {
            "dataset_name": "Dataset745_OpenMind",
            "configurations": {
                "onemmiso": {
                    "spacing": None if spacing is None else list(spacing),
                    "patch_size": [160, 160, 160],
                    "normalization_schemes": ["ZScoreNormalization"],
                    "use_mask_for_norm": [False],
                }
            },
        },
        "pretrain_num_input_channels": 1,
        "recommended_downstream_patchsize": (16, 16, 8),
        "key_to_encoder": "encoder.stages",
        "key_to_stem": "encoder.stem" if residual else "encoder.stages.0",
        "keys_to_in_proj": (f"{stem}.conv", f"{stem}.all_modules.0"),
        "key_to_lpe": None,
        **changed,
    }
    weights = network_weights(described, 1, classes=1)
    torch.save({"network_weights": weights, "nnssl_adaptation_plan": adaptation, "trainer_name": "BaseMAETrainer"}, file)
    return file


def marked_as_cuda(file: Path) -> Path:
    """The checkpoint with its storages marked as those of a GPU."""
    marked = file.with_name(f"cuda_{file.name}")
    with zipfile.ZipFile(file) as read, zipfile.ZipFile(marked, "w") as written:
        for entry in read.infolist():
            content = read.read(entry)
            if entry.filename.endswith("data.pkl"):
                short, long = b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"
                before, _, rest = content.partition(short)  # the first one; the others refer to it
                assert rest, "no storage of the CPU"
                content = before + long + rest
            written.writestr(entry.filename, content)
    return marked


class MakesAFolder:
    """Pickled, it makes a folder when it is unpickled."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.file),))
