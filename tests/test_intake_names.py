"""Names of cases, and the space of a reoriented image against SimpleITK."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import example, given
from hypothesis import strategies as st
from test_space import spaces

from nnactive_ext.geometry.axes import orientation
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.names import case_name
from nnactive_ext.intake.inspect import reoriented

CODES = [a + b + c for a in "LR" for b in "AP" for c in "IS"] + ["SPL", "AIR", "PSR"]


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("case_0001", "case_0001"),
        ("sub-01_T1w.v2", "sub-01_T1w.v2"),
        ("Müller, José (2)", "Muller_Jose_2"),
        ("Øre__Straße", "Ore_Strasse"),
        ("-rf", "rf"),
        (".hidden", "hidden"),
        ("a – b", "a_b"),
    ],
)
def test_names_people_give(stem, name):
    assert case_name(stem) == name


def test_letters_that_are_lost_leave_a_hash():
    names = [case_name(stem) for stem in ("患者1", "病人1", "患者", "病人")]
    assert len(set(names)) == 4
    assert re.fullmatch(r"1_[0-9a-f]{8}", names[0])
    assert re.fullmatch(r"case_[0-9a-f]{8}", names[2])


def test_a_decomposed_name_is_the_same_name():
    for stem in ("Zoë", "각도", "患がé"):
        assert case_name(unicodedata.normalize("NFD", stem)) == case_name(unicodedata.normalize("NFC", stem))


@given(st.text(max_size=150))
@example("")
@example("x" * 300)
@example("._")
def test_every_name_can_be_used_and_stays(stem):
    name = case_name(stem)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name)
    assert "__" not in name
    assert case_name(name) == name


@given(spaces(), st.sampled_from(CODES))
def test_reoriented_is_what_itk_makes(space, code):
    image = space.image(np.zeros(space.shape, np.uint8))
    theirs, ours = Space.of_image(sitk.DICOMOrient(image, code)), reoriented(space, code)
    assert ours.shape == theirs.shape
    for key in ("spacing", "origin", "direction"):
        np.testing.assert_allclose(getattr(ours, key), getattr(theirs, key), atol=1e-6)
    assert orientation(ours.direction) == code


def test_codes_that_are_none():
    space = Space((2, 3, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    assert orientation(space.direction) == "LPS"
    for code in ("LRS", "LP", "LPX", "LPSS"):
        with pytest.raises(ValueError, match=code):
            reoriented(space, code)
