"""The partial loss sees annotated voxels only, equals the formula, and its gradients are always finite."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

from nnactive_ext.nnunet.partial_loss import without_smoothing

IGNORE = 3
SHAPE = (2, 3, 4, 5, 6)  # batch, classes or regions, z, y, x


def make(regions: bool, batch_dice: bool = False, weights=None):
    """The loss as nnUNetTrainer._build_loss makes it, then ours."""
    dice = {"batch_dice": batch_dice, "smooth": 1e-5, "do_bg": regions, "ddp": False}
    if regions:
        loss = DC_and_BCE_loss({}, dice, use_ignore_label=True, dice_class=MemoryEfficientSoftDiceLoss)
    else:
        loss = DC_and_CE_loss(dice, {}, ignore_label=IGNORE, dice_class=MemoryEfficientSoftDiceLoss)
    return without_smoothing(DeepSupervisionWrapper(loss, weights) if weights else loss)


def example(regions: bool, shape=SHAPE, annotated=0.4, classes=3, seed=0):
    """Logits, and a target in which a share of the voxels is annotated, with the mask (b, z, y, x) of those."""
    random = np.random.default_rng(seed)
    logits = torch.from_numpy(random.normal(size=shape).astype(np.float32))
    mask = torch.from_numpy(random.random((shape[0], *shape[2:])) < annotated)
    if regions:
        target = torch.cat([torch.from_numpy(random.random(shape) < 0.3), ~mask[:, None]], 1)
        target[:, :-1] &= mask[:, None]
    else:
        labels = torch.from_numpy(random.integers(0, classes, (shape[0], 1, *shape[2:]))).to(torch.int16)
        target = torch.where(mask[:, None], labels, IGNORE)
    return logits, target, mask


def formula(logits, target, mask, regions, batch_dice):
    """Dice with smooth = 0 and cross-entropy, voxel by voxel."""
    logits, target, mask = (np.asarray(a) for a in (logits, target, mask))
    logits = logits.astype(float)
    b, c = logits.shape[:2]
    flat = [(i, *v) for i in range(b) for v in np.argwhere(mask[i])]
    overlap, total, entropy = np.zeros((b, c)), np.zeros((b, c)), 0.0
    for i, z, y, x in flat:
        values = logits[i, :, z, y, x]
        if regions:
            p = 1 / (1 + np.exp(-values))
            truth = target[i, :-1, z, y, x].astype(float)
            entropy -= np.sum(truth * np.log(p) + (1 - truth) * np.log(1 - p))
        else:
            p = np.exp(values) / np.exp(values).sum()
            truth = np.eye(c)[target[i, 0, z, y, x]]
            entropy -= np.log(p[truth == 1][0])
        overlap[i] += p * truth
        total[i] += p + truth
    if batch_dice:
        overlap, total = overlap.sum(0, keepdims=True), total.sum(0, keepdims=True)
    dice = 2 * overlap / np.maximum(total, 1e-8)
    return entropy / len(flat) - dice[:, 0 if regions else 1 :].mean()


@pytest.mark.parametrize("batch_dice", [True, False])
@pytest.mark.parametrize("regions", [True, False])
@pytest.mark.parametrize("classes", [3, 2], ids=["all", "one absent"])
def test_equals_the_formula(regions, batch_dice, classes):
    logits, target, mask = example(regions, classes=classes)
    if regions and classes == 2:
        target[:, 1] = False
    loss = make(regions, batch_dice)(logits, target)
    assert loss.item() == pytest.approx(formula(logits, target, mask, regions, batch_dice), rel=1e-5)


@pytest.mark.parametrize("regions", [True, False])
def test_unannotated_voxels_change_nothing(regions):
    """Neither the loss nor a gradient, at any scale of the deep supervision."""
    scales = [example(regions, shape) for shape in (SHAPE, (2, 3, 2, 3, 3))]
    loss = make(regions, weights=(2 / 3, 1 / 3))
    before = loss([s[0] for s in scales], [s[1] for s in scales])
    changed = [torch.where(mask[:, None], x, 7 - 3 * x).requires_grad_() for x, _, mask in scales]
    after = loss(changed, [s[1] for s in scales])
    assert after.item() == pytest.approx(before.item(), rel=1e-6)
    after.backward()
    for x, (_, _, mask) in zip(changed, scales, strict=True):
        outside = ~mask[:, None].expand_as(x)
        assert (x.grad[outside] == 0).all()
        assert (x.grad[~outside] != 0).any()


@pytest.mark.parametrize("batch_dice", [True, False])
@pytest.mark.parametrize("regions", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_gradients_are_finite_when_nothing_or_little_is_annotated(regions, batch_dice, dtype):
    for annotated in (0.0, 0.01):
        logits, target, mask = example(regions, annotated=annotated, classes=1, seed=1)
        if regions:
            target[:, :-1] = False
        # Confident predictions: where a smoothed Dice of an absent class has its steepest gradient.
        x = (logits - torch.tensor([-20.0, 20.0, 20.0]).view(1, 3, 1, 1, 1)).to(dtype).requires_grad_()
        loss = make(regions, batch_dice, weights=(0.5, 0.5))([x, x[:, :, ::2]], [target, target[:, :, ::2]])
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(x.grad).all()
        assert x.grad.abs().max() <= 4
        if not mask.any():
            assert loss.item() == 0
            assert (x.grad == 0).all()


def test_an_absent_class_has_no_dice_gradient():
    """All annotated voxels are background: the Dice term is 0 and leaves the gradient to the cross-entropy."""
    logits, target, _ = example(False, classes=1)
    dice = make(False, batch_dice=True).dc
    x = logits.requires_grad_()
    value = dice(x, torch.where(target == IGNORE, 0, target), loss_mask=target != IGNORE)
    value.backward()
    assert value.item() == 0
    assert (x.grad == 0).all()


def test_another_loss_is_refused():
    with pytest.raises(TypeError, match="smooth"):
        without_smoothing(torch.nn.Module.__new__(_NoDice))


class _NoDice(torch.nn.Module):
    dc = None
