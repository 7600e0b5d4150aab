"""Classes can be told apart by their colours: pairwise CIEDE2000, measured by scikit-image, also with other colour vision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from nnactive_ext.pages.charts import on_white
from nnactive_ext.pages.colours import colours

ALL = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
# Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision deficiency" (2009), severity 1.
PROTAN = ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998))
DEUTAN = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))


def classes(number: int) -> np.ndarray:
    """(number, 3), 0 to 255: the colours of as many classes."""
    names = {"background": 0} | {f"class {i}": i for i in range(1, number + 1)} | {"ignore": number + 1}
    found = colours(names)
    return np.array([colour for name, colour in found.items() if names[name] not in (0, number + 1)], float)


def lab(rgb: np.ndarray, seen: Sequence[Sequence[float]] = ALL) -> np.ndarray:
    """CIELAB of sRGB, 0 to 255, as somebody sees it whose colour vision is the matrix ``seen`` on linear RGB."""
    linear = np.where(rgb <= 10.31, rgb / 255 / 12.92, ((rgb / 255 + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.transpose(seen), 0, 1)
    return rgb2lab(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)[None])[0]


def nearest(one: np.ndarray, other: np.ndarray) -> float:
    """The smallest CIEDE2000 between colours of ``one`` and of ``other``, those compared with themselves left out."""
    away = deltaE_ciede2000(one[:, None].repeat(len(other), 1), other[None].repeat(len(one), 0))
    if one is other:
        np.fill_diagonal(away, np.inf)
    return float(away.min())


@pytest.mark.parametrize(("number", "least"), [(2, 20), (8, 20), (13, 19), (20, 16), (30, 11)])
def test_classes_differ_for_most_people(number, least):
    """A difference of 2 is just seen side by side; scattered areas need more."""
    found = lab(classes(number))
    assert nearest(found, found) > least


@pytest.mark.parametrize("seen", [PROTAN, DEUTAN], ids=["protan", "deutan"])
@pytest.mark.parametrize(("number", "least"), [(8, 11), (13, 8), (30, 5)])
def test_classes_differ_with_other_colour_vision(seen, number, least):
    found = lab(classes(number), seen)
    assert nearest(found, found) > least


@pytest.mark.parametrize(("number", "least"), [(8, 15), (13, 15), (30, 10)])
def test_lines_of_classes_differ_on_white(number, least):
    found = lab(np.array([on_white(tuple(int(part) for part in colour)) for colour in classes(number)], float))
    assert nearest(found, found) > least


@pytest.mark.parametrize("number", [13, 30])
def test_no_class_looks_like_the_image_under_it(number):
    """Neither like air, nor like bone, nor like what is not annotated, nor like any grey between them."""
    greys = lab(np.arange(0, 256, 5, dtype=float)[:, None].repeat(3, 1))
    assert nearest(lab(classes(number)), greys) > 9


def test_the_first_colours_are_those_of_pictures_made_before():
    first = [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)]
    assert [tuple(colour) for colour in classes(9)[:7].astype(int).tolist()] == first
