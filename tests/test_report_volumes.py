"""Crops as NIfTI: every voxel where it is in the patient, values as they are, and small."""

from __future__ import annotations

import gzip
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_crops import IGNORE, SHAPE, made

from nnactive_ext.geometry.patch import Patch
from nnactive_ext.report.section_viewer import MOST_VOXELS, volumes


def opened(content: bytes) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(content))


@given(st.permutations(range(3)), st.tuples(*[st.booleans()] * 3), st.tuples(*[st.integers(0, n - 1) for n in SHAPE]))
def test_a_voxel_is_where_it_is_in_the_patient(order, flips, voxel):
    crop = made(tuple(order), flips)
    index = tuple(voxel[source] for source in order)
    world = np.asarray(crop.space.to_world(index))
    image = opened(volumes(crop)["image"])
    place = nibabel.affines.apply_affine(image.affine, index[::-1])
    np.testing.assert_allclose(place, world * (-1, -1, 1), atol=1e-4)
    assert image.header["sform_code"] == image.header["qform_code"] == 1
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-4)


def test_values():
    crop = made()
    found = {name: opened(content) for name, content in volumes(crop).items()}
    assert set(found) == {"image", "prediction", "annotation", "uncertainty"}
    arrays = {name: np.asarray(image.dataobj).T for name, image in found.items()}
    np.testing.assert_array_equal(arrays["prediction"], crop.prediction)
    known = crop.annotation != IGNORE
    np.testing.assert_array_equal(arrays["annotation"], np.where(known, crop.annotation, 0))
    np.testing.assert_allclose(arrays["uncertainty"], crop.uncertainty, atol=0.003)
    low, high = np.percentile(crop.image[2:10, 4:17, 5:22], (0.5, 99.5))  # the patch with half of its size on each side
    np.testing.assert_allclose(arrays["image"], np.clip(crop.image, low, high), atol=(high - low) / 500)


def test_what_is_not_there_is_left_out():
    assert set(volumes(made(prediction=None, uncertainty=None, annotation=None))) == {"image"}


def test_large_crops_are_thinned_and_stay_small():
    rng = np.random.default_rng(0)
    shape = (60, 130, 140)
    space = replace(made().space, shape=shape)
    labels = np.zeros(shape, np.uint8)
    labels[20:40, 60:90, 50:100] = 1
    crop = made(
        image=rng.normal(0, 1, shape).astype(np.float32),
        prediction=labels,
        annotation=labels,
        uncertainty=rng.random(shape).astype(np.float32),
        space=space,
        box=Patch("case", (20, 60, 50), (20, 30, 50)),
    )
    found = volumes(crop)
    assert sum(map(len, found.values())) < 800_000  # of pure noise, which no crop is
    image, seen = opened(found["image"]), opened(found["prediction"])
    assert np.prod(image.shape) <= MOST_VOXELS
    spacing = nibabel.affines.voxel_sizes(image.affine)
    assert spacing.max() <= 3.01, "the coarsest axis is not thinned"
    # What is seen lies where it did, to within the voxels left out.
    places = nibabel.affines.apply_affine(seen.affine, np.argwhere(np.asarray(seen.dataobj)))
    ends = np.array([crop.space.to_world((20, 60, 50)), crop.space.to_world((39, 89, 99))]) * (-1, -1, 1)
    np.testing.assert_allclose(places.min(0), ends.min(0), atol=spacing.max())
    np.testing.assert_allclose(places.max(0), ends.max(0), atol=spacing.max())


def test_the_same_crop_gives_the_same_bytes():
    assert volumes(made()) == volumes(made())


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_flat_images(value):
    content = volumes(made(image=np.full(SHAPE, value, np.float32)))["image"]
    assert np.isfinite(np.asarray(opened(content).dataobj)).all()
