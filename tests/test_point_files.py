"""Points as 3D Slicer's older versions and its tables hold them, and cases as people call them: read right, or refused."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from test_points import labels, markup, save

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.points import read_points
from nnactive_ext.images.names import case_name

CASES = ("Muller_1", "Muller_2", "liver_1", "liver_10", "P7", "p7", "scan_0001", "scan_0002", case_name("肝臓 3"))
NAMES = ("background", "organ", "Portal Vein")
COLUMNS = "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
ROW = "vtkMRMLMarkupsFiducialNode_0,1,2,3,0,0,0,1,1,1,0,organ-1,,"


def write(folder: Path, text: str, name: str) -> Path:
    (folder / name).write_bytes(text.encode())
    return folder / name


def read(file: Path) -> list[tuple]:
    return [(point.case, point.label, point.position or point.index) for point in read_points(file, CASES, NAMES)]


def refused(file: Path, *words: str) -> None:
    with pytest.raises(NnActiveError) as raised:
        read_points(file, CASES, NAMES)
    assert all(word in str(raised.value) for word in [str(file), *words]), raised.value


LPS, RAS = (1.0, 2.0, 3.0), (-1.0, -2.0, 3.0)
FIDUCIALS = {
    "Slicer 5": (f"# Markups fiducial file version = 5.6\n# CoordinateSystem = LPS\n{COLUMNS}\n{ROW},2,0\n", LPS),
    "Slicer 5, RAS": (f"# Markups fiducial file version = 5.2\n# CoordinateSystem = RAS\n{COLUMNS}\n{ROW}\n", RAS),
    "Slicer 4.10": (f"# Markups fiducial file version = 4.10\n# CoordinateSystem = 0\n{COLUMNS}\n{ROW}\n", RAS),
    "a number for LPS": (f"# Markups fiducial file version = 4.8\r\n# CoordinateSystem = 1\r\n{COLUMNS}\r\n{ROW}\r\n", LPS),
    "Slicer 4.3 without a system": (f"# Markups fiducial file version = 4.3\n{COLUMNS}\n{ROW}\n", RAS),
    "Slicer 3": ("# Fiducial List file /tmp/L.fcsv\n# version = 2\n# name = L\n# numPoints = 1\norgan,1,2,3,1,1\n", RAS),
    "Slicer 3 with columns": ("# columns = label,x,y,z,sel,vis\norgan,1,2,3,1,1\n", RAS),
    "another order": (
        "# Markups fiducial file version = 4.11\n# CoordinateSystem = LPS\n# columns = label,z,y,x\norgan,3,2,1\n",
        LPS,
    ),
    "a spreadsheet": (
        "# Markups fiducial file version = 4.11,,,,,,,,,,,,,\n# CoordinateSystem = 0,,,,,,,,,,,,,\n"
        f"{COLUMNS}\n{ROW}\n,,,,,,,,,,,,,\n",
        RAS,
    ),
    "the class in the description": (
        f"# Markups fiducial file version = 4.11\n# CoordinateSystem = LPS\n{COLUMNS}\n"
        '1,1,2,3,0,0,0,1,1,1,0,F-1,"organ",vtkMRMLScalarVolumeNode1\n',
        LPS,
    ),
}


@pytest.mark.parametrize("kind", FIDUCIALS)
def test_older_point_files(tmp_path, kind):
    text, place = FIDUCIALS[kind]
    assert read(write(tmp_path, text, "liver_1.fcsv")) == [("liver_1", "organ", place)]


def test_points_that_were_never_placed_are_passed_over(tmp_path):
    rows = "\n".join(f"{ROW.replace('organ-1', f'organ-{status}')},{status},0" for status in (0, 1, 2, 3))
    text = f"# Markups fiducial file version = 5.6\n# CoordinateSystem = LPS\n{COLUMNS}\n{rows}\n"
    assert [point.where[-6:] for point in read_points(write(tmp_path, text, "liver_1.fcsv"), CASES, NAMES)] == ["line 6"]
    table = "label,l,p,s,defined,selected,visible,locked,description\norgan-1,1,2,3,1,1,1,0,\norgan-2,0,0,0,0,1,1,0,\n"
    assert read(write(tmp_path, table, "liver_1.csv")) == [("liver_1", "organ", LPS)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"# Markups fiducial file version = 4.11\n# CoordinateSystem = IJK\n{COLUMNS}\n{ROW}\n", ["'IJK'", "LPS"]),
        (f"# Markups fiducial file version = 4.11\n# CoordinateSystem = 2\n{COLUMNS}\n{ROW}\n", ["'2'"]),
        (f"# Markups fiducial file version = 5.0\n{COLUMNS}\n{ROW}\n", ["no coordinate system"]),
        (f"# CoordinateSystem = LPS\n{COLUMNS}\n{ROW.replace(',1,2', ',one,2', 1)}\n", ["line 3", "'one, 2, 3'"]),
        (f"# CoordinateSystem = LPS\n{COLUMNS}\n{ROW.replace('organ-1', 'F-1')}\n", ["'F-1' is no class"]),
        (f"# CoordinateSystem = LPS\n{COLUMNS}\n{ROW.replace('organ-1', 'organ, left')}\n", ["15 values for 14 columns"]),
        ("# CoordinateSystem = LPS\n# columns = id,r,a,s\n1,2,3,4\n", ["x, y, z and label"]),
        (f"# CoordinateSystem = LPS\n{COLUMNS}\n", ["no point"]),
    ],
)
def test_older_point_files_that_leave_something_open(tmp_path, text, words):
    refused(write(tmp_path, text, "liver_1.fcsv"), *words)


def test_a_point_file_of_no_case_or_of_two(tmp_path):
    text = FIDUCIALS["Slicer 5"][0]
    refused(write(tmp_path, text, "liver_2.fcsv"), "CASE.fcsv", "liver_10")
    assert read(write(tmp_path, text, "p7 late.fcsv"))[0][0] == "p7"
    cases = ("Muller", "Muller_1")
    with pytest.raises(NnActiveError, match="may be Muller or Muller_1"):
        read_points(write(tmp_path, text, "Muller 1.fcsv"), cases, NAMES)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("label,r,a,s,defined,selected,visible,locked,description\norgan-1,1,2,3,1,1,1,0,\n", RAS),
        ("label,l,p,s,defined,selected,visible,locked,description\nF-1,1,2,3,1,1,1,0,organ\n", LPS),
        ("label\tR\tA\tS\tdescription\norgan\t1\t2\t3\t\n", RAS),
        ("class;x_ras (mm);y_ras (mm);z_ras (mm)\norgan;1,0;2,0;3,0\n", RAS),
        ("class,i,j,k\norgan,1,2,3\n", (3.0, 2.0, 1.0)),
        ("class,X-LPS,Y-LPS,Z-LPS,unit\norgan,1,2,3,mm\n", LPS),
    ],
)
def test_a_table_without_cases_is_of_the_case_that_it_is_called_after(tmp_path, text, place):
    assert read(write(tmp_path, text, "liver_10_anna.csv")) == [("liver_10", "organ", place)]
    refused(write(tmp_path, text, "export.csv"), "lacks case", "CASE.csv")
    refused(write(tmp_path, text, "P7 p7.csv".lower().replace("p7 p7", "liver_3")), "lacks case")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("label,r,p,s\norgan,1,2,3\n", ["the coordinates, x_lps"]),
        ("label,x,y,z\norgan,1,2,3\n", ["x, y, z may mean"]),
        ("label,r,a,s,x_lps,y_lps,z_lps\norgan,1,2,3,1,2,3\n", ["there twice"]),
        ("label,r (um),a (um),s (um)\norgan,1,2,3\n", ["the coordinates"]),
        ("label,r,a,s,unit\norgan,1,2,3,um\n", ["'um'", "mm"]),
        ("label,r,a,s,coordinate system\norgan,1,2,3,LPS\n", ["'LPS'", "RAS"]),
        ("label,r,a,s\nF-1,1,2,3\n", ["'F-1' is no class"]),
    ],
)
def test_tables_whose_coordinates_or_classes_cannot_be_known(tmp_path, text, words):
    refused(write(tmp_path, text, "liver_1.csv"), *words)


@pytest.mark.parametrize(
    ("cell", "case"),
    [
        ("Müller 1", "Muller_1"),
        (unicodedata.normalize("NFD", "Müller 2"), "Muller_2"),
        ("MÜLLER 1.nii.gz", "Muller_1"),
        ("D:\\daten\\Müller 2.NII.GZ", "Muller_2"),
        ("images/liver_1_0000.nii.gz", "liver_1"),
        ("Liver_10.nrrd", "liver_10"),
        ("LIVER_1/scan/0001.dcm", "liver_1"),
        ("p7", "p7"),
        ("P7.mha", "P7"),
        ("肝臓 3.nii", case_name("肝臓 3")),
        ("scan_0002_0000.nii.gz", "scan_0002"),
    ],
)
def test_a_cell_names_a_case_as_people_do(tmp_path, cell, case):
    assert read(write(tmp_path, f"case,class,i,j,k\n{cell},organ,1,2,3\n", "points.csv"))[0][0] == case
    assert read(write(tmp_path, f"File;class;i;j;k\n{cell};organ;1;2;3\n", "points.csv"))[0][0] == case


@pytest.mark.parametrize("cell", ["Mueller 1", "liver_1/liver_10.nii.gz", "scan_0003.nii.gz", "liver", "", "Müller"])
def test_a_cell_that_names_no_case_or_two(tmp_path, cell):
    refused(write(tmp_path, f"case,class,i,j,k\n{cell},organ,1,2,3\n", "points.csv"), "line 2")


def test_upper_and_lower_case_count_where_two_cases_differ_by_them(tmp_path):
    text = "case,class,i,j,k\nLIVER_A,organ,1,2,3\n"
    with pytest.raises(NnActiveError, match="may be liver_a or Liver_A"):
        read_points(write(tmp_path, text, "points.csv"), ("liver_a", "Liver_A"), NAMES)


@pytest.mark.parametrize("name", ["Müller 1.mrk.json", unicodedata.normalize("NFD", "Müller 1 late.mrk.json"), "LIVER_1.json"])
def test_a_point_list_is_called_after_peoples_file(tmp_path, name):
    (point,) = read_points(save(tmp_path, markup("organ"), name=name), CASES, NAMES)
    assert point.case == ("liver_1" if "LIVER" in name else "Muller_1")


def test_or_its_list_is(tmp_path):
    file = save(tmp_path, markup("organ", name="Müller 2"), name="all.mrk.json")
    assert [point.case for point in read_points(file, CASES, NAMES)] == ["Muller_2"]
    assert labels(save(tmp_path, markup("liver"))) == ["liver"]
