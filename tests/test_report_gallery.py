"""Pictures of queried patches: the same patient in any order of storage, true lengths, and nothing unlabelled as labelled."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from PIL import Image
from report_crops import COLOURS, IGNORE, made

from nnactive_ext.pages.planes import planes_of
from nnactive_ext.pages.slices import GUTTER
from nnactive_ext.report import gallery
from nnactive_ext.report.gallery import TITLE, dimensions, picture, rows

TURNS = [(order, flips) for order in permutations(range(3)) for flips in product((False, True), repeat=3)]


def drawn(crop, monkeypatch, **more) -> np.ndarray:
    """The pixels before they are compressed."""
    kept = []
    monkeypatch.setattr(gallery, "_webp", lambda canvas: kept.append(np.asarray(canvas).astype(int)) or b"")
    picture(crop, COLOURS, IGNORE, **more)
    return kept[0]


def panels(crop, monkeypatch, size=96) -> dict[tuple[str, str], np.ndarray]:
    """(row, plane) -> the pixels of the slice, without its gutter."""
    whole, planes = drawn(crop, monkeypatch, size=size), planes_of(crop.space, crop.box, size)
    tall = max(plane.height for plane in planes) + 2 * GUTTER
    found = {}
    for number, row in enumerate(rows(crop)):
        left = 0
        for plane in planes:
            top = number * (TITLE + tall) + TITLE + (tall - plane.height) // 2
            found[row, plane.name] = whole[top : top + plane.height, left + GUTTER : left + GUTTER + plane.width]
            left += plane.width + 2 * GUTTER
    return found


@pytest.mark.parametrize(("order", "flips"), TURNS[1::5])
def test_the_order_of_storage_does_not_show(order, flips, monkeypatch):
    # The box has odd lengths where it matters, or its middle would depend on the side it is counted from.
    box = replace(made().box, start=(4, 7, 9), size=(5, 7, 9))
    one, other = made(), made(order, flips)
    turned = np.zeros(one.space.shape, bool)
    turned[box.slices] = True
    inside = np.argwhere(np.flip(turned.transpose(order), [a for a in range(3) if flips[a]]))
    start, stop = inside.min(0), inside.max(0) + 1
    moved = replace(box, start=tuple(start.tolist()), size=tuple((stop - start).tolist()))
    np.testing.assert_array_equal(
        drawn(replace(one, box=box), monkeypatch), drawn(replace(other, box=moved), monkeypatch), err_msg=f"{order} {flips}"
    )


def test_another_patient_would_show(monkeypatch):
    crop = made()
    mirrored = replace(crop, image=crop.image[:, :, ::-1])
    assert (drawn(crop, monkeypatch) != drawn(mirrored, monkeypatch)).any()


def test_the_bright_corner_is_at_the_right_front_head(monkeypatch):
    """Which radiologists look for at the top left of the coronal and the axial slice."""
    crop = made()
    crop = replace(crop, box=replace(crop.box, start=(8, 1, 1), size=(3, 3, 3)))
    for plane in ("axial", "coronal"):
        grey = panels(crop, monkeypatch)["image", plane].sum(2)
        down, across = np.unravel_index(grey.argmax(), grey.shape)
        assert down < grey.shape[0] / 2, plane
        assert across < grey.shape[1] / 2, plane


def test_lengths_are_millimetres(monkeypatch):
    found = panels(made(), monkeypatch, size=90)  # 36 x 30 x 24 mm
    assert found["image", "axial"].shape[:2] == (75, 60)
    assert found["image", "coronal"].shape[:2] == (90, 60)
    assert found["image", "sagittal"].shape[:2] == (90, 75)


def test_what_nobody_annotated_is_dark_and_hatched(monkeypatch):
    crop = made()
    found, axial = panels(crop, monkeypatch), planes_of(crop.space, crop.box, 96)[0]
    image, annotation = found["image", "axial"], found["annotation", "axial"]
    labels = axial.classes(crop.annotation)
    np.testing.assert_array_equal(annotation[labels == 0], image[labels == 0], err_msg="annotated background is as it was")
    frame = (image == 255).all(2) | (image == 0).all(2)
    nobody = (labels == IGNORE) & ~frame
    lines = (annotation == 96).all(2)
    assert 0.1 < lines[nobody].mean() < 0.2
    dark = annotation.sum(2) < 0.5 * image.sum(2) + 3
    assert dark[nobody & ~lines].all()


def test_an_open_box_is_hatched_all_over(monkeypatch):
    crop = made()
    found = panels(replace(crop, annotation=np.full_like(crop.annotation, IGNORE)), monkeypatch)
    lines = (found["annotation", "coronal"] == 96).all(2)
    assert all(part.any() for part in np.array_split(lines, 6, axis=0))
    assert not any((found["annotation", "coronal"] == COLOURS[value]).all(2).any() for value in (1, 2))


def test_classes_have_their_colours_and_only_where_they_are(monkeypatch):
    found = panels(made(), monkeypatch)
    prediction = found["prediction", "axial"]
    height, width = prediction.shape[:2]
    for value, (rows_, columns) in {1: ((6, 15), (7, 12)), 2: ((9, 13), (14, 17))}.items():
        down, across = np.nonzero((prediction == COLOURS[value]).all(2))
        assert down.min() == pytest.approx(rows_[0] * height / 20, abs=1)
        assert down.max() == pytest.approx(rows_[1] * height / 20 - 1, abs=1)
        assert across.min() == pytest.approx(columns[0] * width / 24, abs=1)
        assert across.max() == pytest.approx(columns[1] * width / 24 - 1, abs=1)
    assert not (found["image", "axial"] == COLOURS[1]).all(2).any()


def test_uncertainty_is_hot_where_it_is(monkeypatch):
    """0 on the patient's right, 0.9 nat on the left."""
    hot = panels(made(), monkeypatch)["uncertainty", "axial"]
    red, blue = hot[..., 0], hot[..., 2]
    width = hot.shape[1]
    frame = (hot == 255).all(2) | (hot == 0).all(2)
    left, right = np.s_[:, : width // 2], np.s_[:, width * 3 // 4 :]
    assert (red[left] == blue[left]).all(), "grey where there is none"
    assert ((red - blue)[right][~frame[right]] > 60).all()


def test_rows_without_anything_are_left_out():
    crop = made(prediction=None, uncertainty=None, missing="Chosen before the first training.")
    assert rows(crop) == ("image", "annotation")
    assert rows(replace(crop, annotation=None)) == ("image",)
    four, two = (dimensions(picture(c, COLOURS, IGNORE, 80)) for c in (made(), crop))
    assert four == (two[0], 2 * two[1])


def test_a_picture_is_a_small_webp():
    noisy = made(image=np.random.default_rng(0).normal(0, 1, (12, 20, 24)).astype(np.float32))
    found = picture(noisy, COLOURS, IGNORE)
    with Image.open(io.BytesIO(found)) as image:
        assert Image.MIME[image.format] == gallery.MEDIA_TYPE
        assert image.size == dimensions(found)
    assert len(found) < 120_000


def test_strange_values_can_be_drawn():
    for image in (np.full((12, 20, 24), np.nan), np.zeros((12, 20, 24))):
        assert picture(made(image=image.astype(np.float32)), {}, IGNORE, 40)
