"""U-Nets of nnU-Net's classes that are small enough to look into."""

from __future__ import annotations

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn


def small_network(axes: int = 3, residual: bool = False, classes: int = 3, seed: int = 0) -> nn.Module:
    """Three stages with strides 1, 2 and 4, and 4, 6 and 8 features; weights from ``seed``."""
    torch.manual_seed(seed)
    more = {"n_blocks_per_stage" if residual else "n_conv_per_stage": 1}
    return (ResidualEncoderUNet if residual else PlainConvUNet)(
        input_channels=1,
        n_stages=3,
        features_per_stage=[4, 6, 8],
        conv_op=nn.Conv3d if axes == 3 else nn.Conv2d,
        kernel_sizes=3,
        strides=[1, 2, 2],
        num_classes=classes,
        n_conv_per_stage_decoder=1,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d if axes == 3 else nn.InstanceNorm2d,
        norm_op_kwargs={"affine": True, "eps": 1e-5},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        **more,
    ).eval()
