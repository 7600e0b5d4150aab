"""Thinned crops: as small as asked, everything in step, and each voxel where it was in the patient."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from report_crops import SHAPE, made

from nnactive_ext.geometry.patch import Patch
from nnactive_ext.report.crop import thinned

ARRAYS = ("image", "annotation", "prediction", "uncertainty")


def located():
    """Labels that say where each voxel is."""
    where = np.arange(np.prod(SHAPE), dtype=np.uint16).reshape(SHAPE)
    return made(prediction=where, annotation=where.copy())


@given(st.integers(1, int(np.prod(SHAPE))))
def test_everything_is_thinned_alike(most):
    crop = located()
    small = thinned(crop, most)
    assert {getattr(small, name).shape for name in ARRAYS} == {small.space.shape}
    assert np.prod(small.space.shape) <= most
    assert all(getattr(small, name).dtype == getattr(crop, name).dtype for name in ARRAYS)
    np.testing.assert_array_equal(small.prediction, small.annotation)
    for index in ((0, 0, 0), tuple(n - 1 for n in small.space.shape)):
        before = np.unravel_index(small.prediction[index], SHAPE)
        np.testing.assert_allclose(small.space.to_world(index), crop.space.to_world(before), atol=1e-6)
    assert small.patch == crop.patch


boxes = st.tuples(*[st.integers(0, n - 1) for n in SHAPE]).flatmap(
    lambda start: st.tuples(st.just(start), st.tuples(*[st.integers(1, n - a) for n, a in zip(SHAPE, start, strict=True)]))
)


@given(boxes, st.integers(1, 5000))
def test_the_box_holds_what_is_left_of_the_patch(box, most):
    patch = Patch("case", *box)
    small = thinned(replace(located(), box=patch), most)
    assert all(n >= 1 and a >= 0 for a, n in zip(small.box.start, small.box.size, strict=True))
    assert all(stop <= n for stop, n in zip(small.box.stop, small.space.shape, strict=True))
    inside = {tuple(map(int, np.unravel_index(value, SHAPE))) for value in small.prediction[small.box.slices].ravel()}
    kept = {tuple(map(int, np.unravel_index(value, SHAPE))) for value in small.prediction.ravel()}
    wanted = {v for v in kept if all(a <= i < b for i, a, b in zip(v, patch.start, patch.stop, strict=True))}
    assert inside == wanted if wanted else len(inside) >= 1


def test_nothing_of_the_large_crop_is_kept_in_memory():
    small = thinned(made(), 500)
    assert all(getattr(small, name).base is None for name in ARRAYS)


def test_small_crops_and_missing_layers_stay_as_they_are():
    crop = made()
    assert thinned(crop, int(np.prod(SHAPE))) is crop
    small = thinned(made(annotation=None, prediction=None, uncertainty=None), 500)
    assert small.annotation is small.prediction is small.uncertainty is None


def test_a_voxel_without_a_value_does_not_spoil_its_neighbours():
    image = np.zeros(SHAPE, np.float32)
    image[0, 0, 1] = np.nan
    assert np.isfinite(thinned(made(image=image), 500).image).all()
