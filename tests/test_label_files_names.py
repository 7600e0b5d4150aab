"""Segmentations of 3D Slicer and MITK, whose numbers mean nothing: read by the names of their segments."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
import slicerio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.axes import align
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.label_files import read_label_file

NAMES = {"background": 0, "liver": 1, "liver tumour": 2, "vena_cava": 3, "ignore": 4}
SPACE = Space((6, 7, 8), (0.7, 0.8, 2.5), (-12.5, 40.0, 3.25), (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0))


def write_by_slicerio(file: Path, masks: Mapping[str, np.ndarray]) -> Path:
    """``masks``: name -> bool array (z, y, x)."""
    segmentation = slicerio.create_segmentation(SPACE.shape[::-1], SPACE.affine)
    for name, mask in masks.items():
        slicerio.add_segment(segmentation, mask.transpose(), {"name": name})
    slicerio.write_segmentation(str(file), segmentation)
    return file


def write_by_hand(file: Path, layers: np.ndarray, header: Mapping[str, str], space: Space = SPACE) -> Path:
    """``layers``: (layer, z, y, x) or (z, y, x)."""
    directions = space.affine[:3, :3].T
    kinds = ["domain"] * 3
    if layers.ndim == 4:
        directions = np.vstack([[np.nan] * 3, directions])
        kinds.insert(0, "list")
        layers = layers.transpose(0, 3, 2, 1)
    else:
        layers = layers.transpose()
    place = {"space": "left-posterior-superior", "space directions": directions, "space origin": list(space.origin)}
    nrrd.write(str(file), layers, {**place, "kinds": kinds, **header})
    return file


def segment(number: int, name: str, value: int = 1, layer: int = 0) -> dict[str, str]:
    start = f"Segment{number}_"
    return {f"{start}ID": f"S{number}", f"{start}Name": name, f"{start}LabelValue": str(value), f"{start}Layer": str(layer)}


def refused(file: Path) -> str:
    with pytest.raises(NnActiveError) as caught:
        read_label_file(file, NAMES)
    assert str(caught.value).startswith(f"{file}: ")
    assert str(caught.value).endswith(".")
    return str(caught.value)


def scattered(*values: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(values, SPACE.shape).astype(np.uint8)


def box(*bounds: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SPACE.shape, bool)
    mask[tuple(slice(*bound) for bound in bounds)] = True
    return mask


@st.composite
def segmentations(draw) -> tuple[np.ndarray, np.ndarray, dict[str, str], Space, Patch]:
    """Labels (z, y, x), and what a viewer might keep of them: any value and layer per segment, cropped to any box."""
    labels = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).integers(0, 5, SPACE.shape)
    count = draw(st.integers(1, 3))
    layer_of = draw(st.tuples(*[st.integers(0, count - 1)] * 5))
    value_of = draw(st.lists(st.integers(1, 255), min_size=5, max_size=5, unique=True))
    numbers = draw(st.permutations(range(5)))
    start = [draw(st.integers(0, n - 1)) for n in SPACE.shape]
    size = [draw(st.integers(1, n - a)) for a, n in zip(start, SPACE.shape, strict=True)]
    patch = Patch("case", tuple(start), tuple(size))
    header = {"Segmentation_ReferenceImageExtentOffset": " ".join(map(str, start[::-1]))}
    layers = np.zeros((count, *SPACE.shape), np.uint8)
    for number, (name, label) in zip(numbers, NAMES.items(), strict=True):
        if label == 0 and draw(st.booleans()):
            continue  # most people have no segment for the background
        layers[layer_of[label]][labels == label] = value_of[label]
        header |= segment(number, name, value_of[label], layer_of[label])
    layers = layers[(slice(None), *patch.slices)]
    if count == 1 and draw(st.booleans()):
        layers = layers[0]
    return labels, layers, header, SPACE.crop(patch), patch


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(segmentations())
def test_any_numbers_layers_and_crop(tmp_path, drawn):
    labels, layers, header, space, patch = drawn
    if layers.size == len(layers) and not layers.any():
        return  # one voxel of nothing is refused
    read = read_label_file(write_by_hand(tmp_path / "a.seg.nrrd", layers, header, space), NAMES)
    turn = align(SPACE, read.space)
    assert turn.start == patch.start  # the origin is that of the cropped array; the offset is not to be added
    np.testing.assert_array_equal(turn.turned(read.labels), labels[patch.slices])
    assert (read.by_name, read.whole) == (True, False)
    assert read.labels.dtype == np.uint8


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations([name for name in NAMES if name != "background"]), st.integers(0, 2**32 - 1))
def test_slicerios_writer_and_reader_agree(tmp_path, order, seed):
    """Segments in any order get any values; the helper overlaps them all, in a layer of its own."""
    labels = scattered(*range(5), seed=seed)
    masks = {name: labels == NAMES[name] for name in order}
    file = write_by_slicerio(tmp_path / "a.seg.nrrd", {**masks, "query_box": box((1, 5), (1, 5), (1, 5))})
    read = read_label_file(file, NAMES)
    np.testing.assert_array_equal(read.labels, labels)
    np.testing.assert_allclose(read.space.affine, SPACE.affine, atol=1e-9)
    segmentation = slicerio.read_segmentation(str(file))
    assert segmentation["voxels"].ndim == 4
    for name in order:
        theirs = slicerio.segment_mask(segmentation, name).transpose()
        np.testing.assert_array_equal(read.labels == NAMES[name], theirs)


def test_extracted_by_slicerio_with_shuffled_values(tmp_path):
    labels = scattered(*range(5))
    write_by_slicerio(tmp_path / "a.seg.nrrd", {name: labels == value for name, value in NAMES.items() if value})
    whole = slicerio.read_segmentation(str(tmp_path / "a.seg.nrrd"))
    chosen = [("ignore", 1), ("liver", 4), ("vena_cava", 2), ("liver tumour", 3)]
    slicerio.write_segmentation(str(tmp_path / "b.seg.nrrd"), slicerio.extract_segments(whole, chosen))
    stored = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "b.seg.nrrd")))
    assert not np.array_equal(stored, labels)  # else the values alone would do
    np.testing.assert_array_equal(read_label_file(tmp_path / "b.seg.nrrd", NAMES).labels, labels)


@pytest.mark.parametrize("written", ["Liver Tumour", "liver_tumour", "LIVER-tumour ", "vena cava"])
def test_spellings(tmp_path, written):
    value = 3 if written == "vena cava" else 2
    mask = box((1, 3), (2, 4), (0, 5))
    read = read_label_file(write_by_slicerio(tmp_path / "a.seg.nrrd", {written: mask}), NAMES)
    np.testing.assert_array_equal(read.labels, value * mask)


def test_spellings_that_fit_two_labels_fit_none(tmp_path):
    names = {"background": 0, "left lung": 1, "left_lung": 2, "ignore": 3}
    file = write_by_hand(tmp_path / "a.seg.nrrd", scattered(0, 1), segment(0, "Left lung"))
    with pytest.raises(NnActiveError, match=r"'Left lung'.*'left lung', 'left_lung'"):
        read_label_file(file, names)
    exact = write_by_hand(tmp_path / "b.seg.nrrd", scattered(0, 1), segment(0, "left_lung"))
    np.testing.assert_array_equal(read_label_file(exact, names).labels, 2 * scattered(0, 1))


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_names_beyond_ascii(tmp_path, encoding):
    image = SPACE.image(scattered(0, 9))
    for key, value in segment(0, "GROESSE", 9).items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(tmp_path / "a.seg.nrrd"), False)
    data = (tmp_path / "a.seg.nrrd").read_bytes()
    (tmp_path / "ü b.seg.nrrd").write_bytes(data.replace(b"GROESSE", "Größe".encode(encoding)))
    names = {"background": 0, "Größe": 1, "ignore": 2}
    np.testing.assert_array_equal(read_label_file(tmp_path / "ü b.seg.nrrd", names).labels, scattered(0, 1))


def test_unknown_names_are_listed_unless_empty(tmp_path):
    layer = scattered(0, 1, 2, 3)
    header = {**segment(0, "liver"), **segment(1, "spleen", 2), **segment(2, "Segment_3", 3), **segment(3, "nothing", 4)}
    message = refused(write_by_hand(tmp_path / "a.seg.nrrd", layer, header))
    assert "'Segment_3', 'spleen'." in message
    assert "nothing" not in message
    assert ", ".join(map(repr, NAMES)) in message
    assert "Rename" in message


@pytest.mark.parametrize("name", ["query_box", "query box", "Query-Box"])
def test_the_helper_is_passed_over_in_a_layer_of_the_others_too(tmp_path, name):
    layer = scattered(0, 1, 2)
    file = write_by_hand(tmp_path / "a.seg.nrrd", layer, {**segment(0, name, 1), **segment(1, "vena_cava", 2)})
    np.testing.assert_array_equal(read_label_file(file, NAMES).labels, 3 * (layer == 2))


def test_two_segments_of_one_label_are_one(tmp_path):
    first, second = box((0, 3), (0, 3), (0, 3)), box((2, 5), (2, 5), (2, 5))
    file = write_by_slicerio(tmp_path / "a.seg.nrrd", {"liver": first, "Liver": second})
    np.testing.assert_array_equal(read_label_file(file, NAMES).labels, first | second)


@pytest.mark.parametrize("order", [["liver", "vena_cava", "ignore"], ["ignore", "vena_cava", "liver"]])
def test_what_is_also_ignore_is_ignore(tmp_path, order):
    """Paint that strays out of the box, where all is ignore; even two labels there clash with nothing."""
    masks = {
        "liver": box((0, 3), (0, 6), (0, 7)),
        "vena_cava": box((2, 6), (0, 6), (0, 7)),
        "ignore": box((2, 3), (0, 7), (0, 8)),
    }
    expected = np.where(masks["ignore"], 4, np.where(masks["liver"], 1, np.where(masks["vena_cava"], 3, 0)))
    file = write_by_slicerio(tmp_path / "a.seg.nrrd", {name: masks[name] for name in order})
    np.testing.assert_array_equal(read_label_file(file, NAMES).labels, expected)


@pytest.mark.parametrize("other", ["vena_cava", "background"])
def test_two_labels_at_one_voxel(tmp_path, other):
    first, second = box((0, 3), (0, 3), (0, 3)), box((2, 5), (1, 5), (1, 5))
    message = refused(write_by_slicerio(tmp_path / "a.seg.nrrd", {"liver": first, other: second}))
    assert f"4 voxels are both 'liver' and {other!r}" in message
    assert "Overwrite" in message
    assert "Subtract" in message


def test_values_of_no_segment(tmp_path):
    layers = np.stack([scattered(0, 1), scattered(0, 5)])
    message = refused(write_by_hand(tmp_path / "a.seg.nrrd", layers, {**segment(0, "liver"), **segment(1, "ignore", 2, 1)}))
    assert f"no segment has in layer 1: 5 ({int((layers[1] == 5).sum())} voxels)" in message


def test_files_from_before_label_values(tmp_path):
    """A layer of ones for each segment; no LabelValue, no Layer."""
    labels = scattered(0, 1, 2)
    layers = np.stack([labels == 2, labels == 1]).astype(np.uint8)
    header = {"Segment0_Name": "liver tumour", "Segment1_Name": "liver", "Segmentation_MasterRepresentation": "Binary labelmap"}
    file = write_by_hand(tmp_path / "a.seg.nrrd", layers, header)
    np.testing.assert_array_equal(read_label_file(file, NAMES).labels, labels)
    single = write_by_hand(tmp_path / "b.seg.nrrd", layers[0], {"Segment0_Name": "ignore"})
    np.testing.assert_array_equal(read_label_file(single, NAMES).labels, 4 * layers[0])


@pytest.mark.parametrize("ending", [".seg.nrrd", ".nrrd"])
def test_the_header_counts_and_not_the_name_of_the_file(tmp_path, ending):
    labels = scattered(0, 1, 2)
    file = write_by_hand(tmp_path / f"a{ending}", labels, {**segment(0, "liver", 2), **segment(1, "ignore", 1)})
    read = read_label_file(file, NAMES)
    np.testing.assert_array_equal(read.labels, np.array([0, 4, 1])[labels])
    assert (read.by_name, read.whole) == (True, False)
    plain = read_label_file(write_by_hand(tmp_path / f"b{ending}", labels, {}), NAMES)
    np.testing.assert_array_equal(plain.labels, labels)
    assert (plain.by_name, plain.whole) == (False, True)


@pytest.mark.parametrize("key", ["Segmentation_SourceRepresentation", "Segmentation_MasterRepresentation"])
def test_representations(tmp_path, key):
    layer = scattered(0, 1)
    contained = "Segmentation_ContainedRepresentationNames"
    for number, (source, names) in enumerate(
        [("Closed surface", "Closed surface|"), ("Fractional labelmap", "Binary labelmap|")]
    ):
        header = {**segment(0, "liver"), key: source, contained: names}
        message = refused(write_by_hand(tmp_path / f"{number}.seg.nrrd", layer, header))
        assert f"{source!r}" in message
        assert "Segmentations module" in message
    for number, (source, names) in enumerate([("Closed surface", "Closed surface|Binary labelmap|"), ("Binary labelmap", "")]):
        header = {**segment(0, "liver"), key: source, contained: names}
        file = write_by_hand(tmp_path / f"good{number}.seg.nrrd", layer, header)
        np.testing.assert_array_equal(read_label_file(file, NAMES).labels, layer)


def test_nothing_painted(tmp_path):
    """Slicer then saves one voxel at no particular place."""
    space = Space((1, 1, 1), (1, 1, 1), (0, 0, 0), SPACE.direction)
    empty = np.zeros((1, 1, 1), np.uint8)
    assert "no segment has a voxel" in refused(write_by_hand(tmp_path / "a.seg.nrrd", empty, segment(0, "liver"), space))
    one = read_label_file(write_by_hand(tmp_path / "b.seg.nrrd", empty + 1, segment(0, "liver"), space), NAMES)
    assert one.labels.tolist() == [[[1]]]


@pytest.mark.parametrize("change", [{"Segment0_Layer": "3"}, {"Segment0_LabelValue": "one"}, {"Segment0_Layer": "-1"}])
def test_headers_that_make_no_sense(tmp_path, change):
    message = refused(write_by_hand(tmp_path / "a.seg.nrrd", scattered(0, 1), {**segment(0, "liver"), **change}))
    assert "'liver'" in message


def write_by_mitk(file: Path, groups: list[dict[str, int]], layers: np.ndarray, content: str | None = None) -> Path:
    """As MITK's IO: ITK's writer, one component per group, labels in JSON."""
    labels = [
        {"labels": [{"name": n, "value": v, "color": [1, 0, 0], "visible": True} for n, v in group.items()], "name": "g"}
        for group in groups
    ]
    several = len(layers) > 1
    image = sitk.GetImageFromArray(np.moveaxis(layers, 0, -1) if several else layers[0], isVector=several)
    image.SetSpacing(SPACE.spacing)
    image.SetOrigin(SPACE.origin)
    image.SetDirection(SPACE.direction)
    start = "org.mitk.multilabel.segmentation"
    image.SetMetaData("modality", start)
    image.SetMetaData(f"{start}.version", "2")
    image.SetMetaData(f"{start}.unlabeledlabellock", "0")
    image.SetMetaData(f"{start}.labelgroups", json.dumps(labels, ensure_ascii=False) if content is None else content)
    sitk.WriteImage(image, str(file), True)
    return file


def test_mitk_in_one_group(tmp_path):
    labels = scattered(*range(5))
    values = {"Liver": 12, "liver tumour": 300, "vena cava": 2, "ignore": 1}
    stored = np.array([0, 12, 300, 2, 1], np.uint16)[labels]
    file = write_by_mitk(tmp_path / "a.nrrd", [{"Unlabeled": 0, **values, "never used": 40}], stored[None])
    read = read_label_file(file, NAMES)
    np.testing.assert_array_equal(read.labels, labels)
    np.testing.assert_allclose(read.space.affine, SPACE.affine, atol=1e-9)
    assert (read.by_name, read.whole) == (True, True)


def test_mitk_in_several_groups(tmp_path):
    labels = scattered(*range(4))
    layers = np.stack([np.array([0, 0, 5, 0])[labels], np.array([0, 7, 0, 2])[labels]]).astype(np.uint16)
    groups = [{"liver tumour": 5}, {"liver": 7, "vena_cava": 2}]
    file = write_by_mitk(tmp_path / "a.nrrd", groups, layers)
    np.testing.assert_array_equal(read_label_file(file, NAMES).labels, labels)
    layers[:, 0, 0] = [[5], [7]]
    message = refused(write_by_mitk(tmp_path / "b.nrrd", groups, layers))
    assert "voxels are both 'liver tumour' and 'liver'" in message
    assert f": {SPACE.shape[2]} voxels" in message


def test_mitk_says_what_is_unknown_or_broken(tmp_path):
    layers = scattered(0, 1)[None]
    message = refused(write_by_mitk(tmp_path / "a.nrrd", [{'New label "1"': 1}], layers))
    assert """'New label "1"'.""" in message
    for content in ("{", "[1]", '[{"labels": [{"name": "liver"}]}]', "3"):
        assert "list of labels" in refused(write_by_mitk(tmp_path / "b.nrrd", [], layers, content))
    assert "no segment has" in refused(write_by_mitk(tmp_path / "c.nrrd", [], layers, "null"))
