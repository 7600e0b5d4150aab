"""Loop files: what was written is read, the published nnActive's files too, and gaps are errors."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.loops import by_case, entry, last_loop, loop_file, read_loop, read_loops, write_loop
from nnactive_ext.geometry.patch import Patch

FIRST = [Patch("b", (1, 2, 3), (4, 5, 6)), Patch("a.x", (0, 0, 0), (4, 5, 6))]
SECOND = [Patch("b", (9, 2, 3), (4, 5, 6))]
PUBLISHED = '{"patches": [{"file": "case_1.nii.gz", "coords": [1, 2, 3], "size": [4, 5, 6]}]}'


def write(folder, cycle, patches, **facts):
    write_loop(loop_file(folder, cycle), [entry(p, ".nii.gz", stratum="s") for p in patches], facts)


def test_a_published_file_is_read(tmp_path):
    (tmp_path / "loop_000.json").write_text(PUBLISHED)
    assert read_loop(tmp_path / "loop_000.json", ".nii.gz") == [Patch("case_1", (1, 2, 3), (4, 5, 6))]
    assert read_loops(tmp_path, ".nii.gz") == [Patch("case_1", (1, 2, 3), (4, 5, 6))]


def test_ours_has_what_the_published_one_has(tmp_path):
    write(tmp_path, 0, FIRST, method="random")
    content = json.loads((tmp_path / "loop_000.json").read_text())
    assert content["method"] == "random"
    wanted = {"file": "b.nii.gz", "coords": [1, 2, 3], "size": [4, 5, 6]}
    assert wanted.items() <= content["patches"][0].items()


names = st.from_regex(r"[A-Za-z0-9_.-]{1,12}", fullmatch=True)
starts, sizes = (st.tuples(*[st.integers(least, 999)] * 3) for least in (0, 1))


@given(patches=st.lists(st.builds(Patch, names, starts, sizes)), ending=st.sampled_from([".nii.gz", ".mha"]))
def test_round_trip(tmp_path_factory, patches, ending):
    file = tmp_path_factory.mktemp("loops") / "loop_003.json"
    write_loop(file, [entry(patch, ending) for patch in patches], {})
    assert read_loop(file, ending) == patches


def test_all_loops_in_order_up_to_one(tmp_path):
    assert last_loop(tmp_path) == -1
    assert read_loops(tmp_path, ".nii.gz") == []
    write(tmp_path, 0, FIRST)
    write(tmp_path, 1, SECOND)
    assert last_loop(tmp_path) == 1
    assert read_loops(tmp_path, ".nii.gz") == FIRST + SECOND
    assert read_loops(tmp_path, ".nii.gz", 0) == FIRST
    assert read_loops(tmp_path, ".nii.gz", -1) == []


@pytest.mark.parametrize(("present", "missing"), [((0, 2), 1), ((1,), 0), ((0, 1, 2, 4, 5), 3)])
def test_a_gap_is_an_error_that_names_what_is_missing(tmp_path, present, missing):
    for cycle in present:
        write(tmp_path, cycle, FIRST)
    for read in (last_loop, lambda folder: read_loops(folder, ".nii.gz")):
        with pytest.raises(NnActiveError) as caught:
            read(tmp_path)
        assert str(loop_file(tmp_path, missing)) in str(caught.value)


def test_other_files_are_no_loops(tmp_path):
    write(tmp_path, 0, FIRST)
    for name in ("loop_001.json.bak", ".tmp_loop_001.json", "loop_1.json", "xloop_001.json"):
        (tmp_path / name).write_text("{}")
    assert last_loop(tmp_path) == 0


def test_more_than_a_thousand_cycles_have_distinct_names(tmp_path):
    assert loop_file(tmp_path, 7).name == "loop_007.json"
    assert loop_file(tmp_path, 1007).name == "loop_1007.json"


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '{"patches": 3}',
        '{"patches": [{"file": "a.nii.gz", "coords": [1, 2, 3]}]}',
        '{"patches": [{"file": "a.nii.gz", "coords": [1, 2], "size": [1, 1, 1]}]}',
        '{"patches": [{"file": 3, "coords": [1, 2, 3], "size": [1, 1, 1]}]}',
        '{"patches": [{"file": "a.nii.gz", "coords": [1, 2, "x"], "size": [1, 1, 1]}]}',
    ],
)
def test_a_damaged_file_is_named(tmp_path, text):
    file = tmp_path / "loop_000.json"
    file.write_text(text)
    with pytest.raises(NnActiveError) as caught:
        read_loop(file, ".nii.gz")
    assert str(file) in str(caught.value)


def test_by_case_keeps_the_order_of_patches_and_sorts_cases():
    groups = by_case(FIRST + SECOND)
    assert list(groups) == ["a.x", "b"]
    assert groups["b"] == [FIRST[0], SECOND[0]]
