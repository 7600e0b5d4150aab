"""The body is found in images of hospitals and nowhere else; what is no air stays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import KINDS
from scipy import ndimage

from nnactive_ext.engine.body import Body, windows_along
from nnactive_ext.images.air import body_of, outside

SHAPE = (40, 72, 72)
Z, Y, X = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")


def noise(seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return scale * np.random.default_rng(seed).standard_normal(SHAPE)


def ellipse(z: float, y: float, x: float, at: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    return ((Z - at[0]) / z) ** 2 + ((Y - at[1]) / y) ** 2 + ((X - at[2]) / x) ** 2 < 1


TRUNK = ellipse(9, 0.55, 0.75)
LUNGS = ellipse(1.5, 0.35, 0.25, (1.2, 0, -0.4)) | ellipse(1.5, 0.35, 0.25, (1.2, 0, 0.4))
"""Cut by the end of the image."""


def rician(signal: np.ndarray, sigma: float) -> np.ndarray:
    return np.hypot(signal + noise(1, sigma), noise(2, sigma))


def ct(air: float = -1000) -> np.ndarray:
    """A trunk with lungs and a table."""
    hu = np.where(TRUNK, 40.0, air)
    hu[TRUNK & LUNGS] = -850
    hu[(np.abs(Y - 0.8) < 0.04) & (np.abs(X) < 0.7)] = 80
    return hu + noise(3, 25)


def padded_ct(value: float) -> np.ndarray:
    """The scanner's field of view is a circle; around it is padding."""
    return np.where(X**2 + Y**2 < 0.95, ct(), value)


def biased_mri() -> np.ndarray:
    """A surface coil: three times as bright in front as behind."""
    return rician(np.where(TRUNK, 300.0, 0) * (1 - 0.5 * Y), 12)


def fat_and_muscle() -> np.ndarray:
    """T1: thin bright fat around muscle that has a fifth of its signal, in two thighs."""
    thighs = [ellipse(9, 0.5, 0.4, (0, 0, x)) for x in (-0.5, 0.5)]
    muscles = [ellipse(9, 0.42, 0.33, (0, 0, x)) for x in (-0.5, 0.5)]
    return rician(np.where(muscles[0] | muscles[1], 160.0, np.where(thighs[0] | thighs[1], 800.0, 0)), 10)


def skull_stripped() -> np.ndarray:
    """Zeros around a brain, whose ventricles are dark."""
    brain = ellipse(0.8, 0.85, 0.7)
    grey = np.where(ellipse(0.2, 0.3, 0.1), 60.0, 500.0) + noise(4, 30)
    return np.where(brain, grey, 0)


HEAD = ellipse(0.85, 0.9, 0.75)
NECK = ellipse(0.7, 0.8, 0.7, (-0.3, 0, 0)) | ellipse(0.9, 0.55, 0.55, (0.5, 0, 0))


def coils(signal: np.ndarray, sigma: float, number: int) -> np.ndarray:
    """The root of the sum of squares of ``number`` receivers, each of which sees all."""
    rng = np.random.default_rng(number)
    parts = (signal / number**0.5 * (i % 2) + sigma * rng.standard_normal(SHAPE) for i in range(2 * number))
    return np.sqrt(sum(part**2 for part in parts))


def framed(image: np.ndarray) -> np.ndarray:
    inner = np.zeros(SHAPE, bool)
    inner[2:-3, 3:-4, 4:-2] = True
    return image * inner


def fading_coil() -> np.ndarray:
    """A surface coil that sees the back of the body little."""
    return rician(np.where(TRUNK, 300.0, 0) / (1 + np.exp(4 * Y)), 3)


def mixed_organs() -> np.ndarray:
    """From nearly as dark as air to very bright."""
    signal = np.where(TRUNK, 120.0, 0)
    rng = np.random.default_rng(4)
    for grey, at in zip((25, 30, 400, 900), rng.uniform(-0.35, 0.35, (4, 3)), strict=True):
        signal[ellipse(0.6, 0.2, 0.2, tuple(at)) & TRUNK] = grey
    return rician(signal, 8)


IN_AIR: dict[str, tuple[Callable[[], np.ndarray], np.ndarray]] = {
    "CT": (ct, TRUNK),
    "CT, padded with -2000": (lambda: padded_ct(-2000), TRUNK),
    "CT, padded with -3024": (lambda: padded_ct(-3024), TRUNK),
    "CT, padded with 0 above air at -1000": (lambda: np.where(np.abs(Z) < 0.9, ct(), -1000), TRUNK & (np.abs(Z) < 0.9)),
    "CT with an offset": (lambda: np.maximum(ct() + 1024, 0), TRUNK),
    "CT in a soft-tissue window": (lambda: np.clip((ct() + 160) / 400, 0, 1), TRUNK),
    "MRI": (lambda: rician(np.where(TRUNK, 400.0, 0), 15), TRUNK),
    "MRI of little signal": (lambda: rician(np.where(TRUNK, 250.0, 0), 40), TRUNK),
    "MRI of a surface coil": (biased_mri, TRUNK),
    "fat and muscle of two thighs": (fat_and_muscle, ellipse(9, 0.5, 0.4, (0, 0, -0.5)) | ellipse(9, 0.5, 0.4, (0, 0, 0.5))),
    "skull-stripped brain": (skull_stripped, ellipse(0.8, 0.85, 0.7)),
    "skull-stripped, z-scored": (lambda: np.where(HEAD, noise(5) + 3, 0) / 2 - 0.7, HEAD),
    "skull-stripped, z-scored within": (lambda: np.where(HEAD, noise(5), 0), HEAD),
    "a body at one side": (lambda: rician(np.where(Y > 0.1, 400.0, 0), 15), Y > 0.1),
    "MRI of 4 coils, SNR 6": (lambda: coils(np.where(TRUNK, 300.0, 0), 50, 4), TRUNK),
    "MRI of 8 coils, SNR 8": (lambda: coils(np.where(NECK, 400.0, 0), 50, 8), NECK),
    "MRI of 6 coils, SNR 7": (lambda: coils(np.where(TRUNK, 350.0, 0), 50, 6), TRUNK),
    "MRI of one coil, SNR 4": (lambda: coils(np.where(NECK, 200.0, 0), 50, 1), NECK),
    "MRI with suppressed fat": (lambda: rician(np.where(ellipse(9, 0.4, 0.55), 400.0, np.where(TRUNK, 40, 0)), 8), TRUNK),
    "MRI with contrast in the liver": (
        lambda: rician(np.where(ellipse(0.7, 0.3, 0.3), 500.0, np.where(TRUNK, 25, 0)), 4),
        TRUNK,
    ),
    "MRI of a surface coil that fades": (fading_coil, TRUNK),
    "MRI of organs of all brightnesses": (mixed_organs, TRUNK),
    "MRI, interpolated": (lambda: ndimage.gaussian_filter(coils(np.where(NECK, 300.0, 0), 40, 1), (0, 0.6, 0.6)), NECK),
    "MRI, smooth background": (lambda: np.where(NECK, 300.0, 20) + noise(5, 4), NECK),
    "noisy MRI in a frame of zeros": (lambda: framed(rician(np.where(NECK, 300.0, 0), 30)), framed(NECK)),
    "noisy MRI padded above": (lambda: np.where(Y > -0.7, rician(np.where(TRUNK, 200.0, 0), 20), 0), TRUNK),
    "padded MRI without air": (lambda: np.where(np.abs(X) < 0.8, 300 + noise(6, 40), 0), np.abs(X) < 0.8),
}


def tubes(radius: float, number: int = 8) -> np.ndarray:
    """Connected straight vessels through the centre, from border to border."""
    rng, found = np.random.default_rng(7), np.zeros(SHAPE, bool)
    for _ in range(number):
        d = rng.standard_normal(3)
        d /= np.linalg.norm(d)
        along = Z * d[0] + Y * d[1] + X * d[2]
        found |= (Z - along * d[0]) ** 2 + (Y - along * d[1]) ** 2 + (X - along * d[2]) ** 2 < radius**2
    return found


def nuclei() -> np.ndarray:
    rng, found = np.random.default_rng(8), np.zeros(SHAPE, bool)
    for at in rng.uniform(-0.8, 0.8, (60, 3)):
        found |= ellipse(0.12, 0.08, 0.08, tuple(at))
    return found


NO_AIR: dict[str, Callable[[], np.ndarray]] = {
    "noise": lambda: 120 + noise(0, 12),
    "bright vessels over black": lambda: rician(np.where(tubes(0.06), 150.0, 3), 3),
    "bright thick vessels over black": lambda: np.where(tubes(0.12, 5), 200.0, 0) + np.abs(noise(1, 2)),
    "dark vessels in a bright background": lambda: np.where(tubes(0.1), 40.0, 200) + noise(2, 8),
    "nuclei over black": lambda: np.where(nuclei(), 180.0, 4) + np.abs(noise(3, 3)),
    "a bright background": lambda: np.where(ellipse(0.5, 0.5, 0.5), 60.0, 230) + noise(4, 5),
    "brightness that fades towards the corners": lambda: 200 * (1 - 0.48 * (X**2 + Y**2)) + noise(5, 4),
    "brightness that fades to nothing": lambda: 200 * np.exp(-3 * (X**2 + Y**2)) + np.abs(noise(5, 1)),
    "a saturated background": lambda: np.minimum(np.where(ellipse(0.5, 0.5, 0.5), 60.0, 300) + noise(4, 9), 255),
    "MRI cut to an organ": lambda: rician(np.where(ellipse(0.6, 0.5, 0.6), 300.0, 180), 15),
    "CT cut to a lung": lambda: np.where(ellipse(0.9, 0.9, 0.9), -850.0, 40) + noise(6, 30),
    "CT cut inside a lung": lambda: np.where(tubes(0.05), 0.0, -850) + noise(6, 40),
    "membranes": lambda: np.where(ndimage.gaussian_filter(noise(9), 2) > 0, 180.0, 90) + noise(1, 15),
    "CT cut inside a lung with emphysema": lambda: np.where(tubes(0.05), 0.0, -930) + noise(6, 40),
    "a bright organ in tissue that fills the image": lambda: rician(np.where(ellipse(0.5, 0.4, 0.4), 700.0, 100), 30),
    "the same, without much noise": lambda: rician(np.where(ellipse(0.6, 0.5, 0.3), 900.0, 120), 8),
    "a bright organ where brightness fades": lambda: rician(
        np.where(ellipse(0.8, 0.5, 0.5), 700.0, 300) * np.exp(-1.2 * (X**2 + Y**2)), 10
    ),
    "a full bladder in a small field of view": lambda: rician(np.where(ellipse(9, 0.4, 0.4), 900.0, 110), 12),
    "the same in fat and muscle": lambda: rician(
        np.where(ellipse(9, 0.4, 0.4), 900.0, np.where(ndimage.gaussian_filter(noise(3), 3) > 0, 150, 70)), 8
    ),
    "light sheet of an organ in tissue": lambda: np.random.default_rng(3).poisson(np.where(ellipse(9, 0.5, 0.4), 120.0, 20)),
    "PET cut to tissue": lambda: np.random.default_rng(4).gamma(4, np.where(ellipse(9, 0.4, 0.4), 1.5, 0.25), SHAPE),
    "electron microscopy with a dark strip": lambda: np.clip(np.where(X < -0.5, 20 + noise(7, 5), 130 + noise(8, 30)), 0, 255),
    "electron microscopy with a dark end": lambda: np.where(Y > 0.4, 30 + noise(7, 6), 150 + noise(8, 25)),
    "one channel of PET": lambda: np.abs(noise(2)) + 40 * ellipse(0.1, 0.1, 0.1),
}


def voxels(found: Body) -> np.ndarray:
    inside = found.inside
    for axis, ends in enumerate(found.edges):
        inside = np.repeat(inside, np.diff(ends), axis=axis)
    return inside


@pytest.mark.parametrize("name", IN_AIR)
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_a_body_in_air_is_found_however_it_is_stored(name, axes):
    make, truth = IN_AIR[name]
    found = body_of(make().transpose(axes)[None].astype(np.float32))
    assert found is not None
    inside, truth = voxels(found), truth.transpose(axes)
    assert not (~inside & ndimage.binary_erosion(truth, iterations=2)).any()  # nothing of the body is lost
    assert (inside & ~truth).sum() < 0.2 * (~truth).sum()  # and most of the air is found


@pytest.mark.parametrize("name", NO_AIR)
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0)])
def test_what_is_no_air_is_untouched(name, axes):
    assert body_of(NO_AIR[name]().transpose(axes)[None].astype(np.float32)) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_phantoms(kind, seed):
    made = KINDS[kind](seed)
    found = body_of(np.stack(made.channels))
    assert (found is None) == (kind == "vessels")
    if found is not None:
        assert outside(found, made.labels > 0) == 0
        assert found.inside.mean() < 0.8


def test_air_is_what_all_channels_show_as_air():
    trunk = np.where(TRUNK, 400.0, 0) + np.abs(noise(1, 5))
    arm = np.where(ellipse(9, 0.4, 0.12, (0, 0, 0.86)), 300.0, 0) + np.abs(noise(2, 5))
    found = body_of(np.stack([trunk, arm]).astype(np.float32))
    assert found is not None
    assert outside(found, TRUNK) < 0.01
    assert outside(found, ellipse(9, 0.36, 0.1, (0, 0, 0.86))) < 0.01
    assert body_of(np.stack([trunk, 100 + noise(3, 5)]).astype(np.float32)) is None


def test_large_images_are_looked_at_in_blocks():
    make, truth = IN_AIR["CT"]
    image = np.kron(make(), np.ones((1, 4, 4))).astype(np.float32)
    found = body_of(image[None])
    assert found is not None
    assert max(found.inside.shape) <= 128
    assert outside(found, np.kron(ndimage.binary_erosion(truth, iterations=2), np.ones((1, 4, 4))) > 0) == 0


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(*[st.integers(2, 9)] * 3),
    st.tuples(*[st.integers(1, 5)] * 3),
    st.permutations([0, 1, 2]),
    st.floats(0.01, 1),
    st.integers(0, 99),
)
def test_windows_hold_enough_where_plain_counting_says_so(shape, size, order, least, seed):
    """Blocks of different sizes, the result's axes in any order, against the mean over each window."""
    rng = np.random.default_rng(seed)
    edges = tuple(np.append(np.arange(0, n, int(rng.integers(1, 4))), n) for n in shape)
    inside = rng.random([len(axis) - 1 for axis in edges]) < 0.4
    voxels = inside
    for axis, ends in enumerate(edges):
        voxels = np.repeat(voxels, np.diff(ends), axis=axis)
    size = [min(s, n) for s, n in zip(size, shape, strict=True)]
    found = Body(inside, edges).enough([windows_along(shape[a], size[a]) for a in order], order, least)
    moved, extent = voxels.transpose(order), [size[a] for a in order]
    for start in np.ndindex(*found.shape):
        share = moved[tuple(slice(a, a + n) for a, n in zip(start, extent, strict=True))].mean()
        if abs(share - least) > 1e-4:
            assert found[start] == (share >= least)
