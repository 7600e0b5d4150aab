"""Marked points: what a file says, told apart from what it may mean, and boxes around the voxels that were marked."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.points import Point, boxes_around, read_points
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.geometry.space import Space

CASES = ("liver_1", "liver_10", "liver_2")
NAMES = ("background", "liver", "Portal Vein", "tumour")
SCHEMA = Path(__file__).parent.parent.parent / "shared" / "spec" / "slicer-markups-schema-v1.0.3.json"
PLACE = [1.0, 2.0, 3.0]


def markup(*labels: str, name: str = "F", kind: str = "Fiducial", **more) -> dict:
    """A list as 3D Slicer writes it; a label may have its description behind a bar."""
    points = []
    for number, (label, _, description) in enumerate((label.partition("|") for label in labels), 1):
        point = {"id": str(number), "label": label, "description": description, "associatedNodeID": "", "position": PLACE}
        points.append({**point, "selected": True, "locked": False, "visibility": True, "positionStatus": "defined"})
    content = {"type": kind, "name": name, "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": points}
    return {**content, "locked": False, "labelFormat": "%N-%d", "lastUsedControlPointNumber": len(points), **more}


def save(folder: Path, *markups: dict, name: str = "liver_1.mrk.json") -> Path:
    content = {"@schema": "https://example.org/markups-schema-v1.0.3.json#", "markups": list(markups)}
    (folder / name).write_text(json.dumps(content))
    return folder / name


def table(folder: Path, text: str, name: str = "points.csv", encoding: str = "utf-8") -> Path:
    (folder / name).write_text(text, encoding=encoding)
    return folder / name


def labels(file: Path, names=NAMES) -> list[str]:
    return [point.label for point in read_points(file, CASES, names)]


def refused(file: Path, *texts: str, names=NAMES) -> str:
    with pytest.raises(NnActiveError) as raised:
        read_points(file, CASES, names)
    assert all(text in str(raised.value) for text in texts), raised.value
    assert str(file) in str(raised.value)
    return str(raised.value)


def test_the_lists_of_these_tests_are_slicers():
    if not SCHEMA.is_file():
        pytest.skip("needs Slicer's schema, which is not ours to hand on")
    content = {"@schema": "", "markups": [markup("tumour-1|second", "F-2")]}
    jsonschema.validate(content, json.loads(SCHEMA.read_text()))


def test_a_point_list(tmp_path):
    file = save(tmp_path, markup("tumour-1", "tumour_2", "tumour 3", "Tumour", "portal_vein-12", "F-6|liver", name="F"))
    points = read_points(file, CASES, NAMES)
    assert [point.label for point in points] == ["tumour"] * 4 + ["Portal Vein", "liver"]
    assert points[1] == Point("liver_1", "tumour", (1.0, 2.0, 3.0), None, f"{file}, point 2")


def test_the_class_is_in_the_label_or_the_description_or_the_lists_name(tmp_path):
    assert labels(save(tmp_path, markup("liver-1|tumour", "F-2|tumour", "F-3", name="background"))) == [
        "liver",
        "tumour",
        "background",
    ]
    assert "point 2" in refused(save(tmp_path, markup("liver", "F-2|here")), "'F-2' is no class", "Portal Vein")


def test_slicers_numbers_are_not_taken_for_those_of_classes(tmp_path):
    names = ("tumour", "tumour 2")
    assert labels(save(tmp_path, markup("tumour-1", "tumour-2", name="tumour")), names) == ["tumour", "tumour"]
    assert labels(save(tmp_path, markup("tumour 2-1", "tumour 2-2", name="tumour 2")), names) == ["tumour 2"] * 2
    assert labels(save(tmp_path, markup("tumour 2", "tumour")), names) == ["tumour 2", "tumour"]
    refused(save(tmp_path, markup("tumour-2")), "'tumour-2' may be tumour 2 or tumour", names=names)


def test_names_that_differ_too_little_must_be_written_exactly(tmp_path):
    names = ("Left Lung", "left_lung")
    assert labels(save(tmp_path, markup("left_lung", "Left Lung")), names) == ["left_lung", "Left Lung"]
    refused(save(tmp_path, markup("LEFT LUNG-1")), "may be Left Lung or left_lung", names=names)
    refused(table(tmp_path, "case,class,i,j,k\nliver_1,LEFT LUNG,0,0,0"), "no class 'LEFT LUNG'", names=names)


@pytest.mark.parametrize(
    ("system", "world"),
    [("LPS", (1, 2, 3)), ("RAS", (-1, -2, 3)), ("1", (1, 2, 3)), ("0", (-1, -2, 3)), (0, (-1, -2, 3)), (None, (1, 2, 3))],
)
def test_coordinate_systems(tmp_path, system, world):
    content = markup("liver", coordinateSystem=system)
    if system is None:
        del content["coordinateSystem"]
    (point,) = read_points(save(tmp_path, content), CASES, NAMES)
    assert point.position == world


def test_only_placed_points_count(tmp_path):
    content = markup("liver", "liver", "tumour", "tumour")
    for point, status in zip(content["controlPoints"], ("undefined", "preview", "defined", None), strict=True):
        point["positionStatus"] = status
    del content["controlPoints"][3]["positionStatus"]
    del content["controlPoints"][0]["position"]
    file = save(tmp_path, content)
    assert [point.where for point in read_points(file, CASES, NAMES)] == [f"{file}, point 3", f"{file}, point 4"]
    refused(save(tmp_path, markup()), "there is no point in it")


@pytest.mark.parametrize(
    ("file", "case"),
    [
        ("liver_1.mrk.json", "liver_1"),
        ("liver_10.mrk.json", "liver_10"),
        ("liver_10_AB.mrk.json", "liver_10"),
        ("liver_1-2.MRK.JSON", "liver_1"),
        ("liver_2.json", "liver_2"),
    ],
)
def test_the_case_is_in_the_files_name(tmp_path, file, case):
    (point,) = read_points(save(tmp_path, markup("liver"), name=file), CASES, NAMES)
    assert point.case == case


def test_or_in_the_lists_names(tmp_path):
    file = save(tmp_path, markup("liver", name="liver_2"), markup("tumour-1", name="liver_10"), name="all.mrk.json")
    assert [(point.case, point.label) for point in read_points(file, CASES, NAMES)] == [
        ("liver_2", "liver"),
        ("liver_10", "tumour"),
    ]
    refused(save(tmp_path, markup("liver"), name="liver_11.mrk.json"), "list 'F'", "cases: liver_1, liver_10, liver_2")
    refused(save(tmp_path, markup("liver", name="liver_2")), "that of another (liver_1)")


def test_a_point_lists_problems_are_told_together(tmp_path):
    broken = markup("liver", "liver", "nothing")
    broken["controlPoints"][0]["position"] = [1, float("nan"), 3]
    broken["controlPoints"][1]["position"] = [1, 2]
    file = save(tmp_path, markup("R-1", kind="ROI", name="R"), broken, markup("liver", coordinateSystem="IJK", name="I"))
    text = refused(file, "list 'R': it is a ROI", "point 1: its position", "point 2: its position", "point 3: its label")
    assert "'IJK'" in text
    assert len(text.splitlines()) == 5
    refused(save(tmp_path, markup("liver", coordinateUnits="um")), "in mm")
    refused(save(tmp_path, markup("liver", controlPoints=[PLACE])), "point 1: not one of 3D Slicer's")
    assert labels(save(tmp_path, markup("liver", coordinateUnits=["mm", "UCUM", "millimeter"]))) == ["liver"]


def test_other_files_are_refused(tmp_path):
    (tmp_path / "liver_1.mrk.json").write_text("[1, 2]")
    refused(tmp_path / "liver_1.mrk.json", "3D Slicer's markups")
    (tmp_path / "liver_1.mrk.json").write_text('{"markups": [')
    refused(tmp_path / "liver_1.mrk.json", "not valid JSON")
    refused(tmp_path / "points.fcsv", "No such file")
    refused(tmp_path / "points.mps", ".mrk.json", ".fcsv")
    refused(tmp_path / "missing.csv", "no such file")


@pytest.mark.parametrize(("delimiter", "name"), [(",", "a.csv"), (";", "a.csv"), ("\t", "a.csv"), ("\t", "a.tsv")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_table(tmp_path, delimiter, name, encoding):
    text = "Case,CLASS,x_lps,y_lps,z_lps,remark\r\n\r\nliver_1,portal vein,1,2.5,-3e1,Fläche\r\n liver_2 ,liver,0,0,0,\r\n"
    file = table(tmp_path, text.replace(",", delimiter), name, encoding)
    assert read_points(file, CASES, NAMES) == [
        Point("liver_1", "Portal Vein", (1.0, 2.5, -30.0), None, f"{file}, line 3"),
        Point("liver_2", "liver", (0.0, 0.0, 0.0), None, f"{file}, line 4"),
    ]


def test_the_columns_say_what_the_coordinates_are(tmp_path):
    (ras,) = read_points(table(tmp_path, "class,z_ras,y_ras,x_ras,case\nliver,3,2,1,liver_1\n"), CASES, NAMES)
    assert (ras.position, ras.index) == ((-1.0, -2.0, 3.0), None)
    (voxel,) = read_points(table(tmp_path, "case,class,i,j,k\nliver_1,liver,1,2,3.5\n"), CASES, NAMES)
    assert (voxel.position, voxel.index) == (None, (3.5, 2.0, 1.0))
    text = refused(table(tmp_path, "case,class,x,y,z\nliver_1,liver,1,2,3\n"), "line 1: x, y, z may mean", "ITK-SNAP")
    assert all(column in text for column in ("x_lps,y_lps,z_lps", "x_ras,y_ras,z_ras", "i,j,k", "from 1", "NIFTI"))
    refused(table(tmp_path, "case,class,i,j,k,x_ras\nliver_1,liver,1,2,3,4\n"), "there twice, as ras and ijk")


def test_decimal_commas(tmp_path):
    (point,) = read_points(table(tmp_path, "case;class;x_lps;y_lps;z_lps\nliver_1;liver;1,5;-2,25;3\n"), CASES, NAMES)
    assert point.position == (1.5, -2.25, 3.0)
    refused(table(tmp_path, "case;class;x_lps;y_lps;z_lps\nliver_1;liver;1.234,5;0;0\n"), "x_lps is '1.234,5'")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        ("\n \n", "it is empty"),
        ("case,class,i,j,k\n", "there is no point in it"),
        ("case,class,i,j\nliver_1,liver,1,2\n", "line 1: this line should name the columns, and lacks k."),
        ("class,x_ras,y_ras\n", "lacks case, z_ras"),
        ("case,class\n", "lacks the coordinates, x_lps,y_lps,z_lps or"),
        ("liver_1,liver,1,2,3\n", "lacks case, class, the coordinates"),
        ("case,case,class,i,j,k\n", "the column case is there twice"),
        ("case,class,i,j,k\nliver_1,liver,1,2\n", "line 2: 4 values for 5 columns"),
        ("case,class,i,j,k\nliver_1,liver,1,5,2,0,3,0\n", "line 2: 8 values for 5 columns"),
    ],
)
def test_tables_that_are_no_tables_of_points(tmp_path, text, said):
    refused(table(tmp_path, text), said)


def test_a_tables_problems_are_told_together(tmp_path):
    text = "case,class,i,j,k\nliver_3,liver,1,2,3\nliver_1,spleen,1,2,3\n\nliver_1,liver,one,nan,inf\nliver_1,liver,,0,0\n"
    said = refused(table(tmp_path, text), "line 2: there is no case 'liver_3'", "line 3: there is no class 'spleen'")
    assert "Classes: background, liver, Portal Vein, tumour." in said
    starts = ("2: there", "3: there", "5: i is 'one'", "5: j is 'nan'", "5: k is 'inf'", "6: i is ''")
    for line, start in zip(said.splitlines(), starts, strict=True):
        assert line.startswith(f"{tmp_path / 'points.csv'}, line {start}")
    many = refused(table(tmp_path, "case,class,i,j,k\n" + "nobody,liver,1,2,3\n" * 50))
    assert many.splitlines()[-1] == "... and 30 more."


def test_a_table_in_another_encoding(tmp_path):
    refused(table(tmp_path, "case,class,i,j,k\nFläche,liver,1,2,3\n", encoding="latin-1"), "CSV UTF-8")
    refused(table(tmp_path, "case,class,i,j,k\n", encoding="utf-16-le"), "CSV UTF-8")
    refused(table(tmp_path, "case,class,i,j,k\n", encoding="utf-16"), "no point")


@st.composite
def spaces(draw) -> Space:
    rotation = Rotation.from_euler("xyz", draw(st.tuples(*[st.floats(-180, 180)] * 3)), degrees=True).as_matrix()
    signs = np.diag(draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3)))
    shape = draw(st.tuples(*[st.integers(1, 12)] * 3))
    spacing, origin = draw(st.tuples(*[st.floats(0.3, 5)] * 3)), draw(st.tuples(*[st.floats(-300, 300)] * 3))
    return Space(shape, spacing, origin, tuple((rotation @ signs).ravel().tolist()))


@given(spaces(), st.data())
def test_the_box_is_around_the_voxel_that_was_marked(tmp_path_factory, space, data):
    """Whichever way it is written, rounded as viewers round: ITK's place of a voxel leads back to it."""
    voxel = data.draw(st.tuples(*[st.integers(0, n - 1) for n in space.shape]))
    within = data.draw(st.tuples(*[st.floats(-0.4, 0.4)] * 3))
    index = [v + w for v, w in zip(voxel, within, strict=True)]
    image = space.image(np.zeros(space.shape, np.uint8))
    x, y, z = image.TransformContinuousIndexToPhysicalPoint(index[::-1])
    k, j, i = index
    folder = tmp_path_factory.mktemp("points")
    files = [
        table(folder, f"case,class,x_lps,y_lps,z_lps\nliver_1,liver,{x:.3f},{y:.3f},{z:.3f}\n", "lps.csv"),
        table(folder, f"case,class,x_ras,y_ras,z_ras\nliver_1,liver,{-x:.3f},{-y:.3f},{z:.3f}\n", "ras.csv"),
        table(folder, f"case,class,i,j,k\nliver_1,liver,{i},{j},{k}\n", "ijk.csv"),
    ]
    for system, position in {"LPS": [x, y, z], "RAS": [-x, -y, z]}.items():
        content = markup("liver", coordinateSystem=system)
        content["controlPoints"][0]["position"] = position
        files.append(save(folder, content, name=f"liver_1.{system}.mrk.json"))
    points = [point for file in files for point in read_points(file, CASES, NAMES)]
    assert (
        boxes_around(points, {"liver_1": space}, {"liver_1": (1, 1, 1)}) == [(Patch("liver_1", voxel, (1, 1, 1)), "liver")] * 5
    )


@given(spaces(), st.permutations(range(3)), st.tuples(*[st.booleans()] * 3), st.data())
def test_an_index_is_that_of_the_file_even_if_the_reader_turns_it(file, order, flips, data):
    voxel = data.draw(st.tuples(*[st.integers(0, n - 1) for n in file.shape]))
    marked = np.zeros(file.shape, np.uint8)
    marked[voxel] = 1
    turned = sitk.Flip(sitk.PermuteAxes(file.image(marked), list(order)), list(flips))
    point = Point("a", "liver", None, tuple(map(float, voxel)), "here")
    ((box, _),) = boxes_around([point], {"a": Space.of_image(turned)}, {"a": (1, 1, 1)}, {"a": file})
    assert sitk.GetArrayFromImage(turned)[box.slices].item() == 1


def test_boxes_stay_inside_and_edges_belong_to_the_image():
    space = Space((10, 20, 30), (1.0, 1.0, 2.0), (5.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))

    def box(*index: float) -> Patch:
        ((patch, label),) = boxes_around([Point("a", "liver", None, index, "")], {"a": space}, {"a": (4, 5, 40)})
        assert label == "liver"
        return patch

    assert box(5, 10, 3) == Patch("a", (3, 8, 0), (4, 5, 30))
    assert box(-0.5, -0.5, -0.5) == Patch("a", (0, 0, 0), (4, 5, 30))
    assert box(9.5, 19.5, 29.5) == Patch("a", (6, 15, 0), (4, 5, 30))


def test_points_outside_are_named_together():
    space = Space((10, 20, 30), (1.0, 1.0, 2.0), (5.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    points = [
        Point("a", "liver", (-5.0, 3.0, 4.0), None, "f.csv, line 2"),
        Point("a", "liver", None, (1.0, 2.0, 3.0), "f.csv, line 3"),
        Point("a", "liver", None, (10.0, 2.0, 3.0), "f.csv, line 4"),
    ]
    with pytest.raises(NnActiveError) as raised:
        boxes_around(points, {"a": space}, {"a": (2, 2, 2)})
    first, second = str(raised.value).splitlines()
    assert first.startswith("f.csv, line 2: outside a, at voxel (-10.0, 3.0, 2.0) of 30 x 20 x 10 (x, y, z from 0).")
    assert second.startswith("f.csv, line 4: outside a, at voxel (3.0, 2.0, 10.0) of 30 x 20 x 10 (x, y, z from 0).")
