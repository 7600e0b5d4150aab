"""Replaying another experiment's loop files: what is taken as it is, and what is refused or told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import CLASSES, patches_of, world

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.loops import loop_file
from nnactive_ext.files import write_json
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.query_methods import methods
from nnactive_ext.query_methods.base import Request
from nnactive_ext.query_methods.precomputed import Precomputed

SIZE = (4, 5, 6)


def record(folder, *patches, loop=1, ending=".nii.gz"):
    """Patches as (case, start) or (case, start, size)."""
    entries = [{"file": p[0] + ending, "coords": p[1], "size": p[2] if len(p) > 2 else SIZE} for p in patches]
    write_json(loop_file(folder, loop), {"patches": entries})
    return Precomputed("precomputed", str(folder))


def draw(method, n=2, w=None, cycle=0):
    return method.draw((w or world()).pool(), Request(n, CLASSES, cycle=cycle))


def test_patches_are_taken_as_they_are_in_their_order(tmp_path):
    method = record(tmp_path, ("case_2", (8, 0, 0)), ("case_0", (1, 2, 3)))
    query = draw(method)
    assert patches_of(query) == [Patch("case_2", (8, 0, 0), SIZE), Patch("case_0", (1, 2, 3), SIZE)]
    assert (query.missing, query.warnings) == (0, ())


def test_each_cycle_has_its_file(tmp_path):
    record(tmp_path, ("case_1", (0, 0, 0)), loop=3)
    method = record(tmp_path, ("case_0", (0, 0, 0)), loop=1)
    assert patches_of(draw(method, 1, cycle=2)) == [Patch("case_1", (0, 0, 0), SIZE)]


def test_more_than_asked_for_the_first(tmp_path):
    method = record(tmp_path, ("case_0", (0, 0, 0)), ("case_1", (0, 0, 0)), ("stranger", (0, 0, 0)))
    assert [p.case for p in patches_of(draw(method, 2))] == ["case_0", "case_1"]


def test_fewer_than_asked_for_are_told(tmp_path):
    query = draw(record(tmp_path, ("case_0", (0, 0, 0))), 3)
    assert (len(query.patches), query.missing) == (1, 2)
    assert "loop_001.json holds only 1" in query.warnings[0]


def test_another_patch_size_is_told(tmp_path):
    query = draw(record(tmp_path, ("case_0", (0, 0, 0), (2, 2, 2)), ("case_1", (0, 0, 0))))
    assert query.patches[0].patch.size == (2, 2, 2)
    assert "1 patch(es)" in query.warnings[0]
    assert "(2, 2, 2)" in query.warnings[0]


@pytest.mark.parametrize("ending", ["", ".nii.gz", ".mha"])
@pytest.mark.parametrize("case", ["case", "case.v2", "case.v2.nii"])
def test_the_file_ending_does_not_matter_and_names_may_have_dots(tmp_path, ending, case):
    w = world(1)
    for kind in (w.references, w.statistics):
        kind["case"] = kind["case_0"]
        kind[case] = kind.pop("case_0")
    assert patches_of(draw(record(tmp_path, (case, (0, 0, 0)), ending=ending), 1, w))[0].case == case


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        (("stranger", (0, 0, 0)), "stranger.*pool.*same pool"),
        (("case_0", (9, 0, 0)), "not inside case_0.*same images"),
        (("case_0", (0, 0, -1)), "not inside case_0"),
        (("case_0", (0, 0, 0), (0, 5, 6)), "size.*loop file"),
        (("case_1", (3, 3, 3)), "overlaps.*starting budget"),
    ],
)
def test_what_cannot_be_replayed_names_the_file_and_what_to_do(tmp_path, patch, words):
    w = world()
    w.annotated["case_1"] = [Patch("case_1", (0, 0, 0), SIZE)]
    with pytest.raises(NnActiveError, match=f"loop_001.json: .*{words}"):
        draw(record(tmp_path, patch), 1, w)


def test_overlap_may_be_allowed(tmp_path):
    method = record(tmp_path, ("case_0", (0, 0, 0)), ("case_0", (0, 0, 5)))
    with pytest.raises(NnActiveError, match="overlap"):
        draw(method)
    assert len(draw(replace(method, overlap=0.2)).patches) == 2


def test_a_missing_loop_is_named(tmp_path):
    with pytest.raises(NnActiveError, match=r"loop_002.json: no such file.*more cycles"):
        draw(record(tmp_path, ("case_0", (0, 0, 0))), cycle=1)


def test_a_broken_loop_is_named(tmp_path):
    (tmp_path / "loop_001.json").write_text('{"patches": [{"file": "case_0"}]}')
    with pytest.raises(NnActiveError, match=r"loop_001.json: damaged .*coords.*loop file"):
        draw(Precomputed("precomputed", str(tmp_path)))


# Where the loops are


def test_the_source_is_a_number_a_name_or_a_folder(nnunet_folders, tmp_path, monkeypatch):
    folder = nnunet_folders.raw / "Dataset504_X"
    folder.mkdir()
    record(folder, ("case_0", (0, 0, 0)))
    monkeypatch.chdir(nnunet_folders.raw)
    for source in ("504", "Dataset504_X", str(folder), "./Dataset504_X"):
        method = methods.get("precomputed", source=source)
        assert len(draw(method, 1).patches) == 1


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({}, "source=NUMBER"),
        ({"source": "777"}, "number 777"),
        ({"source": "Dataset777_X"}, "Dataset777_X: no loop_NNN.json"),
        ({"source": "nowhere"}, "nowhere: no loop_NNN.json"),
    ],
)
@pytest.mark.usefixtures("nnunet_folders")
def test_a_source_that_is_none_is_refused_at_once(options, word):
    with pytest.raises(NnActiveError, match=word):
        methods.get("precomputed", **options)


def test_a_plan_keeps_absolute_folders(tmp_path, monkeypatch):
    (tmp_path / "loops").mkdir()
    monkeypatch.chdir(tmp_path)
    assert methods.lasting("precomputed", {"source": "loops"}) == ("precomputed", {"source": str(tmp_path / "loops")})
    for source in ("504", "Dataset504_X"):
        assert methods.lasting("precomputed", {"source": source}) == ("precomputed", {"source": source})
