"""Cases are found in every kind of folder, what does not fit is said at once. The files are empty: only names count."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest
from test_intake_dicom import VOXELS, refused, write_series

from nnactive_ext.intake.channel_names import channel_endings, channels_beside
from nnactive_ext.intake.find import FoundCase, find_cases


@pytest.fixture
def make(tmp_path):
    def touch(*names: str, folder: str = "in") -> Path:
        for name in names:
            file = tmp_path / folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        return tmp_path / folder

    return touch


def shape(cases: dict[str, FoundCase], folder: Path) -> dict[str, list[str]]:
    assert list(cases) == sorted(cases) == [case.name for case in cases.values()]
    return {name: [source.path.relative_to(folder).as_posix() for source in case.sources] for name, case in cases.items()}


def two(case: str, form: str) -> list[str]:
    return [form.format(case, channel) for channel in ("t1", "ce_t1")]


@pytest.mark.parametrize(
    ("names", "channels", "expected"),
    [
        (["b.nii.gz", "a.nrrd", "c.mha", "d.nii", "e.mhd", "e.raw"], None, "a b c d e"),
        (["a_0000.nii.gz", "b_0000.nii.gz"], None, "a b"),
        (["a_0000.nii.gz", "b_0000.nii.gz"], ["ct"], "a b"),
        (["p_0001.nii.gz", "p_0002.nii.gz"], None, "p_0001 p_0002"),
        (["p_0000.nii.gz", "p_0001.nii.gz"], ["ct"], "p_0000 p_0001"),
        (["p_0001.nii.gz", "q_0002.nii.gz", "r_0000.nii.gz"], None, "p_0001 q_0002 r_0000"),
        (["a_ct.nii.gz"], ["ct"], "a_ct"),
        (["a/image.nii.gz", "b/anything.nrrd"], None, "a b"),
        (["a/deep/er/image.nii.gz", "b_0000.nrrd", "c.mha"], ["ct"], "a b c"),
        (["a.nii.gz", "notes.txt", ".a.nii.gz", "._b.nii.gz", "Thumbs.db", "x.json", "y.csv", "z.pdf"], None, "a"),
    ],
)
def test_one_channel(make, names, channels, expected):
    folder = make(*names)
    found = find_cases(folder, channels)
    assert list(found) == expected.split()
    assert all(len(case.sources) == 1 and case.sources[0].path.is_file() for case in found.values())


@pytest.mark.parametrize(
    ("names", "channels"),
    [
        (["a_0000.nii.gz", "a_0001.nii.gz"], None),
        (["a_0000.nii.gz", "a_0001.nii.gz"], ["t1", "ce_t1"]),
        (two("a", "{}_{}.nii.gz"), ["t1", "ce_t1"]),
        (["a_T1.nii.gz", "a_CE_T1.nrrd"], ["t1", "ce_t1"]),
        (two("a", "{}/{}.nii.gz"), ["t1", "ce_t1"]),
        (two("a", "{0}/{0}_{1}.nrrd"), ["t1", "ce_t1"]),
        (two("a", "{0}/{1}/scan.mha"), ["t1", "ce_t1"]),
        (["a/x_0000.nii.gz", "a/x_0001.nii.gz"], None),
        (["a/0000.nii.gz", "a/0001.nii.gz"], ["t1", "ce_t1"]),
    ],
)
def test_two_channels_in_the_order_of_the_channels(make, names, channels):
    folder = make(*names)
    assert shape(find_cases(folder, channels), folder) == {"a": names}
    backwards = find_cases(folder, channels[::-1] if channels else None)
    by_number = channels is None or "0000" in names[0]
    assert shape(backwards, folder) == {"a": names if by_number else names[::-1]}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("{case}_{channel}", two("x_1", "{}_{}.nii.gz")),
        ("{channel}/{case}", two("x_1", "{1}/{0}.nii.gz")),
        ("{case}/anat/{case}_{channel}.nii.gz", two("x_1", "{0}/anat/{0}_{1}.nii.gz")),
        ("images\\{case}-{channel}", ["images/x_1-0000.mha", "images/x_1-0001.mha"]),
        ("{case}_{channel}/{channel}_(x+y)", two("x_1", "{0}_{1}/{1}_(x+y).nii")),
    ],
)
def test_patterns_pick_what_fits(make, pattern, names):
    folder = make(*names, "other/derived.nii.gz", "x_1.tif")
    assert shape(find_cases(folder, ["t1", "ce_t1"], pattern), folder) == {"x_1": names}


def test_a_pattern_decides_what_numbers_are(make):
    folder = make("p_0000.nii.gz", "p_0001.nii.gz")
    assert list(find_cases(folder, pattern="{case}")) == ["p_0000", "p_0001"]
    assert len(find_cases(folder, pattern="{case}_{channel}")["p"].sources) == 2


@pytest.mark.parametrize("pattern", ["scan", "{channel}", "{case}/{subject}", "{case", "{}_{case}"])
def test_patterns_that_are_none(make, pattern):
    refused(lambda: find_cases(make("a.nii.gz"), pattern=pattern), f'-pattern "{pattern}"', "{case}")


def test_patterns_that_do_not_fit(make):
    folder = make("a_x.nii.gz")
    refused(lambda: find_cases(folder, ["t1", "t2"], "{case}"), "{channel}")
    refused(lambda: find_cases(folder, pattern="{case}/scan"), "none of 1 images", "a_x")


def test_dicom_beside_files_and_below_folders(make, tmp_path):
    folder = make("a.nii.gz", "b.nrrd")
    write_series(folder / "c")
    write_series(folder / "d" / "study" / "series")
    found = find_cases(folder, ["ct"])
    assert shape(found, folder) == {"a": ["a.nii.gz"], "b": ["b.nrrd"], "c": ["c"], "d": ["d/study/series"]}
    assert [len(case.sources[0].series) for case in found.values()] == [0, 0, 6, 6]
    assert found["d"].sources[0].series[0] == folder / "d" / "study" / "series" / "001.dcm"


def test_dicom_channels_are_folders_named_after_them(make, tmp_path):
    for name in ("p/T1/s1", "p/x_T2", "q_t1", "q_t2"):
        write_series(tmp_path / "in" / name)
    found = find_cases(tmp_path / "in", ["t1", "t2"])
    assert shape(found, tmp_path / "in") == {"p": ["p/T1/s1", "p/x_T2"], "q": ["q_t1", "q_t2"]}


def test_dicom_files_without_an_ending_and_a_bad_folder_of_them(make, tmp_path):
    folder = tmp_path / "in"
    write_series(folder / "a")
    for file in (folder / "a").iterdir():
        file.rename(file.with_suffix(""))
    (make("i/scan.nii.gz") / "i" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    found = find_cases(folder)
    assert [len(found[name].sources[0].series) for name in found] == [6, 0]
    write_series(folder / "b", uid="1.2.3")
    write_series(folder / "b", VOXELS[:2], uid="1.2.4", prefix="x")
    make("c_seg.nii.gz")
    refused(lambda: find_cases(folder), "1.2.3", "1.2.4", "c_seg")
    refused(lambda: find_cases(folder / "a"), folder / "a", "folder of its own")


def test_names_of_other_scripts_and_with_spaces(make):
    found = find_cases(make("Müller José.nii.gz", "患者 1.nrrd", "a__b.mha"))
    names = list(found)
    assert names[:2] == [next(n for n in names if n.startswith("1_")), "Muller_Jose"]
    assert names[2] == "a_b"
    assert found["Muller_Jose"].sources[0].path.name == "Müller José.nii.gz"


def test_two_cases_of_one_name(make):
    refused(lambda: find_cases(make("a.nii.gz", "a.nrrd", "b.nii")), "a.nii.gz", "a.nrrd")
    refused(lambda: find_cases(make("x y.nii.gz", "x_y.nii.gz", folder="other")), "x y.nii.gz", "x_y.nii.gz")


def test_all_missing_channels_at_once(make):
    folder = make("a_0000.nii.gz", "a_0001.nii.gz", "b_0000.nii.gz", "c_0001.nii.gz", "d.nii.gz")
    words = ("b: no image for channel 0001", "c: no image for channel 0000")
    refused(lambda: find_cases(folder, pattern="{case}_{channel}"), *words)
    refused(lambda: find_cases(folder, ["t1", "t2"]), "b: no image for channel t2", "c: no image for channel t1", "d.nii.gz")
    folder = make("a_t1.nii.gz", "b_t2.nii.gz", "c_t3.nii.gz", "e/t1.nii.gz", "e/flair.nii.gz", folder="named")
    words = ("a: no image for channel t2", "b: no image for channel t1", "c_t3", "e: no image for channel t2", "flair")
    refused(lambda: find_cases(folder, ["t1", "t2"]), *words)


def test_more_channels_than_named_or_no_names_at_all(make):
    refused(lambda: find_cases(make("a_0000.nii", "a_0001.nii", "a_0002.nii"), ["t1", "t2"]), "a_0002", "only 2")
    refused(lambda: find_cases(make("p/t1.nii", "p/t2.nii", folder="other")), "t1.nii, t2.nii", "-channels")
    refused(lambda: find_cases(make("p/t1.nii", "p/t2.nii", folder="third"), ["t1"]), "t1.nii, t2.nii", "-channels")
    refused(lambda: find_cases(make("p.nii"), ["t1", "T1"]), "-channels t1 T1")


def test_many_numbers_after_one_name_are_asked_about(make):
    folder = make(*(f"p_{number:04d}.nii.gz" for number in range(12)))
    refused(lambda: find_cases(folder), "12 cases", '"{case}"', '"{case}_{channel}"')


def endings(found: dict[str, FoundCase]) -> list[str]:
    return channel_endings([source.path for source in case.sources] for case in found.values())


SITES = [f"{site}_{number:04d}.nii.gz" for site in ("north", "south", "west") for number in range(2)]
FOLDERS = [f"{folder}/{number:04d}.nrrd" for folder in ("p01", "p02") for number in range(2)]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (SITES, ["north_0000, north_0001 (3 names", "2 cases or 2 channels"]),
        (SITES[:3], ["2 cases or 2 channels"]),
        ([*SITES[:2], "a_0000.nii", "b_0000.nii", "c_0000.nii"], ["north_0000", "2 cases or 2 channels"]),
        ([f"{site}_{n:04d}.mha" for site in "ab" for n in range(30)], ["30 cases or 30 channels"]),
        (FOLDERS, ["p01/0000, p01/0001 (2 folders", "2 channels of the case p01", "p01_0000"]),
        ([f"{site}/{site}_{n:04d}.nii" for site in ("bern", "graz") for n in range(3)], ["3 channels of the case bern"]),
    ],
)
def test_numbers_of_several_names_are_asked_about(make, names, words):
    refused(lambda: find_cases(make(*names)), *words, "-pattern", "-channels")


@pytest.mark.parametrize("names", [SITES, FOLDERS])
@pytest.mark.parametrize("said", [{"channels": ["t1", "t2"]}, {"label_maps": True}])
def test_what_says_that_numbers_are_channels(make, names, said):
    folder = make(*names)
    cases = sorted({name.split("/")[0].split("_")[0] for name in names})
    if "label_maps" in said:
        said = {"label_maps": make(f"{cases[1]}.nii.gz", folder="labels")}
    found = find_cases(folder, **said)
    assert list(found) == cases
    assert all(len(case.sources) == 2 for case in found.values())
    assert endings(found) == ["0000", "0001"]


def test_what_says_that_numbers_are_cases(make):
    folder = make(*SITES)
    cases = sorted(name.split(".")[0] for name in SITES)
    labels = make("south_0001.nrrd", folder="labels")
    for said in ({"pattern": "{case}"}, {"channels": ["ct"]}, {"label_maps": labels}):
        assert list(find_cases(folder, **said)) == cases
    assert endings(find_cases(folder, pattern="{case}")) == []
    from_one = make("a_0001.nii", "a_0002.nii", "b_0001.nii", folder="from_one")
    assert list(find_cases(from_one)) == ["a_0001", "a_0002", "b_0001"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["p/p_t1.nii", "p/p_ce_t1.nii", "q/q_t1.nii", "q/q_ce_t1.nii"], ["t1", "ce_t1"]),
        (["p_T1.nii", "p_CE_T1.nrrd", "q_t1.nii", "q_ce_t1.nii"], ["T1, t1", "CE_T1, ce_t1"]),
        (["p/t1/a.nii", "p/ce_t1/b.nii"], ["t1/a", "ce_t1/b"]),
    ],
)
def test_what_was_taken_for_channels(make, names, expected):
    assert endings(find_cases(make(*names), ["t1", "ce_t1"])) == expected


@pytest.mark.parametrize(
    ("content", "names", "channels"),
    [
        ({"channel_names": {"0": "T1", "1": "FLAIR"}}, SITES, ["T1", "FLAIR"]),
        ({"modality": {"1": "PET", "0": "CT"}}, SITES, ["CT", "PET"]),
        ({"channel_names": {"0": "CT"}}, ["a_0000.nii", "b_0000.nii"], ["CT"]),
        ({"channel_names": {"0": "CT"}}, SITES, None),
        ({"channel_names": {"0": "T1", "1": "T2", "2": "T3"}}, SITES, None),
        ({"channel_names": {"0": "T1", "1": "T2"}}, [*SITES, "odd.nii"], None),
        ({"channel_names": ["T1", "T2"]}, SITES, None),
        ([1, 2], SITES, None),
        (None, SITES, None),
    ],
)
def test_nnunets_dataset_json_names_the_channels(make, content, names, channels):
    folder = make(*names, folder="Dataset007_X/imagesTr")
    if content is not None:
        (folder.parent / "dataset.json").write_text(json.dumps(content))
    assert channels_beside(folder) == channels
    if channels:
        assert all(len(case.sources) == len(channels) for case in find_cases(folder).values())
    (folder.parent / "dataset.json").write_text("{")
    assert channels_beside(folder) is None
    assert channels_beside(folder / "none") is None


@pytest.mark.parametrize("name", ["a_seg.nii.gz", "a.seg.nrrd", "a-label.nrrd", "a_labels.mha", "b/mask.nii", "a_Mask.nii"])
def test_label_maps_among_the_images(make, name):
    folder = make("a.nii.gz", "b/scan.nii.gz", name)
    refused(lambda: find_cases(folder), folder / name, "-label_maps")


def test_names_that_only_look_like_label_maps(make):
    assert len(find_cases(make("a_ct.nii", "a_mask.nii"), ["ct", "mask"])["a"].sources) == 2
    assert list(find_cases(make("a_mask.nii", folder="other"), pattern="{case}_mask")) == ["a"]


def test_label_maps_of_some(make):
    folder = make("Müller 1.nii.gz", "b_0000.nii.gz", "c.nii.gz", "d.nii.gz")
    labels = make("Müller 1.nii.gz", "b.mha", "c.seg.nrrd", "readme.txt", folder="labels")
    found = find_cases(folder, label_maps=labels)
    maps = {name: case.label_map and case.label_map.name for name, case in found.items()}
    assert maps == {"Muller_1": "Müller 1.nii.gz", "b": "b.mha", "c": "c.seg.nrrd", "d": None}
    ours = make("Muller_1.nii.gz", folder="ours")
    assert find_cases(folder, label_maps=ours)["Muller_1"].label_map == ours / "Muller_1.nii.gz"


def test_label_maps_inside_the_folder_or_beside_the_images(make):
    folder = make("a.nii.gz", "b.nii.gz", "labels/a.nii.gz")
    found = find_cases(folder, label_maps=folder / "labels")
    assert {name: case.label_map for name, case in found.items()} == {"a": folder / "labels" / "a.nii.gz", "b": None}
    folder = make("p/p_t1.nii", "p/p_t2.nii", "p/p_seg.nii", "q/q_t1.nii", "q/q_t2.nii", folder="brats")
    found = find_cases(folder, ["t1", "t2"], label_maps=folder, label_pattern="{case}/{case}_seg")
    assert found["p"].label_map == folder / "p" / "p_seg.nii"
    assert shape(found, folder)["q"] == ["q/q_t1.nii", "q/q_t2.nii"]
    assert found["q"].label_map is None
    refused(lambda: find_cases(make("a.nii", folder="c"), label_maps=make("a.nii", folder="c")), "besides the label maps")


def test_label_maps_that_belong_to_nobody_or_are_two(make):
    folder, labels = make("a.nii.gz", "b.nii.gz"), make("a.nii.gz", "a.nrrd", "x.nii.gz", "y_1.nrrd", folder="labels")
    refused(lambda: find_cases(folder, label_maps=labels), "a: 2 label maps", labels / "x.nii.gz", labels / "y_1.nrrd")
    refused(lambda: find_cases(folder, label_maps=labels, label_pattern="{case}_1"), labels / "a.nrrd", labels / "y_1.nrrd")
    refused(lambda: find_cases(folder, label_maps=labels, label_pattern="{case}_z"), labels, "-label_pattern")
    refused(lambda: find_cases(folder, label_maps=labels, label_pattern="{case}_{channel}"), "-label_pattern")
    refused(lambda: find_cases(folder, label_maps=folder / "none"), folder / "none")


def test_folders_that_hold_no_images(make, tmp_path):
    refused(lambda: find_cases(tmp_path / "none"), tmp_path / "none")
    refused(lambda: find_cases(make("a.txt", "b/c.json")), tmp_path / "in", ".nii.gz")
    folder = make("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz", folder="Dataset001_X")
    refused(lambda: find_cases(folder), folder / "imagesTr", f"-label_maps {folder / 'labelsTr'}")
    assert find_cases(folder / "imagesTr", label_maps=folder / "labelsTr")["a"].label_map


def test_images_of_other_formats_are_not_lost(make):
    folder = make("a.nii.gz", "b.mgz", "c.hdr")
    message = refused(lambda: find_cases(folder), folder / "b.mgz", folder / "c.hdr")
    assert "a.nii.gz" not in message


def test_links_to_files_and_folders_are_followed_and_loops_end(make, tmp_path):
    folder = make("a.nii.gz")
    real = make("x.nii.gz", "inside/y.nii.gz", folder="elsewhere")
    try:
        (folder / "b.nii.gz").symlink_to(real / "x.nii.gz")
        (folder / "c").symlink_to(real / "inside")
        (folder / "loop").symlink_to(folder)
        (real / "inside" / "up").symlink_to(folder.parent)
        (folder / "self.nii.gz").symlink_to(folder / "self.nii.gz")
    except OSError:
        pytest.skip("no right to make links here")
    (real / "inside" / "up").unlink()
    (real / "inside" / "up").symlink_to(real / "inside")
    assert list(find_cases(folder)) == ["a", "b", "c", "self"]


def test_twenty_problems_are_shown(make):
    folder = make(*(f"a{number}_seg.nii.gz" for number in range(33)))
    lines = refused(lambda: find_cases(folder)).splitlines()
    assert len(lines) == 22
    assert lines[20] == "... and 13 more."
    assert re.search("-channels.*-pattern.*-label_maps", lines[21])


LATIN_1 = os.fsdecode("M\u00fcller".encode("latin-1"))
BYTES = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are no bytes there")


@BYTES
@pytest.mark.parametrize("name", ["{}.nii.gz", "{}/a.nii.gz", "{}_0000.nii.gz"])
def test_names_that_are_no_utf_8(make, name):
    """ITK would end the process with them."""
    folder = make("a.nii.gz", name.format(LATIN_1)) if "_0000" not in name else make("a_0000.nii.gz", name.format(LATIN_1))
    refused(lambda: find_cases(folder), "M\\xfcller", "Rename it")


@BYTES
def test_series_in_names_that_are_no_utf_8(tmp_path):
    write_series(tmp_path / "in" / LATIN_1)
    refused(lambda: find_cases(tmp_path / "in"), "M\\xfcller", "Rename it").encode()
    (tmp_path / "in" / LATIN_1).rename(tmp_path / "in" / "a")
    file = next((tmp_path / "in" / "a").iterdir())
    file.rename(file.with_name(f"{LATIN_1}.dcm"))
    refused(lambda: find_cases(tmp_path / "in"), "M\\xfcller.dcm", "Rename it").encode()
