"""nnactive_compare refuses what is not comparable: it names both experiments, what differs and a remedy, and writes nothing."""

from __future__ import annotations

import shutil
from importlib import import_module
from pathlib import Path

import pytest
from results import NETWORK, POOL, edit, write_experiment

from nnactive_ext.cli import compare
from nnactive_ext.compare.differences import difference
from nnactive_ext.compare.writing import replacing_folder
from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import read_json, write_json

CURVE = (0.4, 0.5, 0.6)


@pytest.fixture(autouse=True)
def without_figures(monkeypatch):
    monkeypatch.setattr(import_module("nnactive_ext.compare.compare"), "_draw", lambda *_: {})


@pytest.fixture
def refuses(capsys, tmp_path: Path):
    """Compare folders, which must fail with all ``words`` on stderr and without an output folder."""

    def call(folders, *words: object) -> str:
        capsys.readouterr()
        out = tmp_path / "out"
        with pytest.raises(SystemExit) as caught:
            compare.main(["-d", *map(str, folders), "-o", str(out)])
        assert caught.value.code == 1
        message = capsys.readouterr().err
        for word in words:
            assert str(word) in message
        assert "Traceback" not in message
        assert not out.exists()
        assert not list(tmp_path.glob(".nnactive*"))
        return message

    return call


def changed_pool(**changes):
    return {**POOL, **changes}


CHANGES = [{"what": "added", "after": ["case_5"], "before": None, "after_cycle": 1}]
DIFFERENCES = {
    "test set": ({"test": ["case_6", "case_9"]}, ["test set", "case_7", "case_9"]),
    "a case less in the pool": ({"pool": {k: POOL[k] for k in list(POOL)[:5]}}, ["pool", "case_5"]),
    "another image": ({"pool": changed_pool(case_1={**POOL["case_1"], "shape": [9, 9, 9]})}, ["pool", "case_1", "[9, 9, 9]"]),
    "cases that came later": ({"changes": CHANGES}, ["case_5", "after cycle 1"]),
    "test cases of another folder": ({"test_folder": "imagesTs"}, ["test set", "case_6 (imagesTs)"]),
    "groups": ({"groups": {"case_0": "p", "case_1": "p"}}, ["groups of cases", "case_0, case_1"]),
    "trainer": ({"trainer": "nnActiveTrainer_5epochs"}, ["trainer", "nnActiveTrainer against nnActiveTrainer_5epochs"]),
    "pretrained": (
        {"pretrained": {"file": "mae.pth", "sha256": "0123456789abcdef"}},
        ["start of members", "from scratch against pretrained weights 0123456789ab (mae.pth)"],
    ),
    "folds": ({"folds": 3}, ["folds", "5 against 3"]),
    "configuration": ({"configuration": "2d"}, ["configuration", "3d_fullres against 2d"]),
    "network": ({"record": {"network": {**NETWORK, "batch_size": 4}}}, ["network", "batch_size: 2 against 4"]),
    "deep in the network": (
        {"record": {"network": {**NETWORK, "architecture": {"n_stages": 4, "features": [8, 16, 32]}}}},
        ["architecture.n_stages: 3 against 4"],
    ),
    "starting budget": ({"record": {"start": [["case_0", 9, 9, 9, 2, 6, 6]]}}, ["starting budget of seed 1", "-start_from"]),
    "classes": ({"record": {"classes": {"liver": [1], "cyst": [2]}}}, ["classes", "cyst", "tumour"]),
    "labels of the pool": ({"pool_foreground_voxels": 9_999}, ["foreground voxels", "9999"]),
    "the same method and seed": ({"method": "random"}, ["random with seed 1"]),
}


@pytest.mark.parametrize("what", DIFFERENCES)
def test_what_differs_is_refused(tmp_path, refuses, what):
    changes, words = DIFFERENCES[what]
    first = write_experiment(tmp_path / "results", 501, CURVE)
    second = write_experiment(tmp_path / "results", 502, CURVE, **{"method": "the_other", **changes})
    message = refuses([first, second], "Dataset501_X", "Dataset502_X", first, second, *words)
    assert "leave" in message.lower()


def test_groups_are_the_same_by_whatever_names(tmp_path, refuses):
    groups = {"case_0": "p", "case_1": "p", "case_2": "q"}
    renamed = {"case_2": "1", "case_1": "7", "case_0": "7"}
    first = write_experiment(tmp_path / "results", 501, CURVE, groups=groups)
    second = write_experiment(tmp_path / "results", 502, CURVE, method="the_other", groups=renamed)
    compare.main(["-d", str(first), str(second), "-o", str(tmp_path / "out")])
    third = write_experiment(tmp_path / "results", 503, CURVE, method="third", groups={**groups, "case_2": "p"})
    shutil.rmtree(tmp_path / "out")
    refuses([first, second, third], "groups of cases", "Dataset503_X")


QUERY = {"cycle": 1, "method": "clasp_pe", "options": {"alpha": "1"}, "seed": 1}
UNPLANNED = {
    "another method": ({"method": "random", "options": {}}, ["made with random, planned was clasp_pe alpha=1"]),
    "other options": ({"options": {"alpha": "2"}}, ["clasp_pe alpha=2", "clasp_pe alpha=1"]),
    "another seed": ({"seed": 7}, ["seed 7", "planned was 1"]),
    "fewer members": ({"members": [0, 1]}, ["2 members were asked, planned were 5"]),
    "another size": ({"patches": 3, "missing": 1}, ["4 patches were asked for, planned were 10"]),
}


@pytest.mark.parametrize("what", UNPLANNED)
def test_queries_that_are_not_the_planned_ones(tmp_path, refuses, what):
    changes, words = UNPLANNED[what]
    queries = [QUERY, {**QUERY, "cycle": 2, **changes}]
    made = {"options": {"alpha": "1"}, "record": {"queries": queries}}
    folder = write_experiment(tmp_path / "results", 501, CURVE, "clasp_pe", **made)
    refuses([folder], folder, "the query of cycle 2 is not the planned one", *words)
    compare.main(["-d", str(folder), "-o", str(tmp_path / "out"), "-cycles", "2"])  # without what it led to


def test_queries_as_planned_or_not_recorded_pass(tmp_path):
    changed = [{"what": "seed", "before": 1, "after": 2, "after_cycle": 1}]
    planned = [QUERY, {**QUERY, "cycle": 2, "seed": 2, "members": [0, 1, 2, 3, 4]}]
    made = {"options": {"alpha": "1"}, "changes": changed, "record": {"queries": planned}}
    folders = [write_experiment(tmp_path, 501, CURVE, "clasp_pe", 2, **made)]
    folders.append(write_experiment(tmp_path, 502, CURVE, "bald", 2, record={"queries": [{"cycle": 1}]}))
    few = {"cycle": 1, "members": [0, 1, 2]}
    folders.append(write_experiment(tmp_path, 503, CURVE, "random", 2, record={"queries": [few]}))
    edit(folders[-1] / "cycle_000.json", annotated_cases=3)  # which have three folds
    used_up = {"cycle": 2, "patches": 7, "missing": 3}
    folders.append(write_experiment(tmp_path, 504, CURVE, "pe", 2, record={"queries": [used_up]}))
    compare.main(["-d", *map(str, folders), "-o", str(tmp_path / "out")])


def test_foreground_of_the_pool_that_is_not_known_differs_from_nothing(tmp_path, refuses):
    folders = [
        write_experiment(tmp_path / "results", 500 + i, CURVE, f"method_{i}", pool_foreground_voxels=number)
        for i, number in enumerate((0, 10_000, 10_000))
    ]
    full = write_experiment(tmp_path / "results", 510, [0.9], purpose="all labels", pool_foreground_voxels=0)
    compare.main(["-d", *map(str, [*folders, full]), "-o", str(tmp_path / "known")])
    assert "The full Dice, on all labels" in (tmp_path / "known" / "comparison.md").read_text()
    other = write_experiment(tmp_path / "results", 520, CURVE, "method_9", pool_foreground_voxels=9_999)
    refuses([*folders, other], "foreground voxels", "10000 against 9999")


def test_the_odd_one_out_is_told_whatever_the_order(tmp_path, refuses):
    folders = [write_experiment(tmp_path / "results", 500 + i, CURVE, f"method_{i}") for i in range(4)]
    odd = write_experiment(tmp_path / "results", 400, CURVE, "a_first_one", folds=2)
    message = refuses([odd, *folders], odd, "folds: 5 against 2")
    assert message == refuses([*folders[::-1], odd])
    assert "more like it" not in message


def test_everything_is_told_at_once(tmp_path, refuses):
    first = write_experiment(tmp_path / "results", 501, CURVE)
    second = write_experiment(tmp_path / "results", 502, CURVE, "bald", folds=2, trainer="nnActiveTrainer_1epoch")
    refuses([first, second], "folds", "trainer")


def test_two_experiments_on_all_labels_of_one_seed(tmp_path, refuses):
    one = write_experiment(tmp_path / "results", 501, CURVE)
    full = [write_experiment(tmp_path / "results", n, [0.9], purpose="all labels") for n in (502, 503)]
    refuses([one, *full], "Dataset502_X", "Dataset503_X")


def test_a_rollout_has_nothing_to_compare(tmp_path, refuses):
    refuses([write_experiment(tmp_path / "results", 601, [{"a": None}], classes=["a"], test=[])], "Dataset601_X", "test set")


def test_only_starts_and_full_ones_are_nothing_to_compare(tmp_path, refuses):
    full = write_experiment(tmp_path / "results", 501, [0.9], purpose="all labels")
    start = write_experiment(tmp_path / "results", 502, [0.4], purpose="start")
    refuses([full, start], "no experiment to compare")


def damage(folder: Path, file: str, text: str | None, **changes) -> Path:
    path = folder / file
    if text is None:
        content = read_json(path)
        for key, value in changes.items():
            content[key] = value
            if value is KeyError:
                del content[key]
        write_json(path, content)
    else:
        path.write_text(text)
    return path


DAMAGES = {
    "half a record": ("experiment.json", '{"name": "Da', {}),
    "a record without plan": ("experiment.json", None, {"plan": KeyError}),
    "an empty plan": ("experiment.json", None, {"plan": {}}),
    "half a cycle": ("cycle_001.json", '{"cycle": 1, ', {}),
    "a list": ("cycle_001.json", "[]", {}),
    "no Dice": ("cycle_001.json", None, {"mean_dice": KeyError}),
    "Dice in percent": ("cycle_001.json", None, {"mean_dice": 61.2}),
    "Dice as text": ("cycle_001.json", None, {"dice_per_class": {"liver": "0.5"}}),
    "patches as text": ("cycle_001.json", None, {"patches": "30"}),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_damaged_files_are_named(tmp_path, refuses, what):
    file, text, changes = DAMAGES[what]
    folder = write_experiment(tmp_path / "results", 501, CURVE)
    refuses([folder], damage(folder, file, text, **changes))


def test_a_folder_that_is_no_experiment(tmp_path, refuses):
    (tmp_path / "elsewhere").mkdir()
    refuses([tmp_path / "elsewhere"], tmp_path / "elsewhere" / "experiment.json", "nnactive_run")


def test_what_is_neither_folder_nor_dataset(tmp_path, refuses):
    refuses([tmp_path / "nowhere"], "-d", tmp_path / "nowhere", "neither")


def test_a_pattern_without_match(tmp_path, refuses, nnunet_folders):
    refuses(["Dataset7*"], "Dataset7*", "matches no experiment")
    refuses([tmp_path / "*" / "nnactive"], "matches no experiment")


def test_numbers_that_do_not_exist_or_were_not_planned(tmp_path, refuses, nnunet_folders):
    refuses(["777"], "777")
    (nnunet_folders.raw / "Dataset007_Plain").mkdir()
    refuses(["7"], "not an experiment", "nnactive_plan")


def test_numbers_need_the_folders_of_nnunet_and_folders_do_not(tmp_path, refuses, monkeypatch):
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.delenv(f"nnUNet_{name}", raising=False)
    refuses(["504"], "nnUNet_raw", "Not set")
    folder = write_experiment(tmp_path / "results", 501, CURVE)
    compare.main(["-d", str(folder), "-o", str(tmp_path / "out")])


def test_no_cycles_at_all_to_compare(tmp_path, capsys):
    folder = write_experiment(tmp_path / "results", 501, CURVE)
    with pytest.raises(SystemExit) as caught:
        compare.main(["-d", str(folder), "-o", str(tmp_path / "out"), "-cycles", "0"])
    assert caught.value.code == 1
    assert "-cycles 0" in capsys.readouterr().err


# The output folder


@pytest.mark.parametrize("what", ["folder", "file"])
def test_what_others_wrote_is_not_replaced(tmp_path, capsys, what):
    folder, out = write_experiment(tmp_path / "results", 501, CURVE), tmp_path / "out"
    if what == "folder":
        out.mkdir()
        (out / "thesis.tex").write_text("years of work")
    else:
        out.write_text("years of work")
    with pytest.raises(SystemExit) as caught:
        compare.main(["-d", str(folder), "-o", str(out)])
    assert caught.value.code == 1
    assert f"-o {out}" in capsys.readouterr().err
    assert (out if what == "file" else out / "thesis.tex").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "results"]


def test_an_output_that_cannot_be_written(tmp_path, capsys, monkeypatch):
    folder = write_experiment(tmp_path / "results", 501, CURVE)

    def denied(*args, **kwargs):
        raise PermissionError(13, "Permission denied", str(tmp_path))

    # Made up, because permissions do not stop the user root.
    monkeypatch.setattr("nnactive_ext.compare.writing.tempfile.mkdtemp", denied)
    with pytest.raises(SystemExit) as caught:
        compare.main(["-d", str(folder), "-o", str(tmp_path / "out")])
    assert caught.value.code == 1
    assert "Permission denied" in capsys.readouterr().err


def test_a_comparison_replaces_an_earlier_one_as_a_whole(tmp_path):
    folder, out = write_experiment(tmp_path / "results", 501, CURVE), tmp_path / "out"
    out.mkdir()  # an empty folder may be taken
    compare.main(["-d", str(folder), "-o", str(out)])
    before = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (out / "tables" / "old.csv").write_text("from another comparison")
    compare.main(["-d", str(folder), "-o", str(out)])
    assert before.keys() >= {Path("comparison.md"), Path("tables/summary.csv"), Path("tables/main_Organs.tex")}
    assert {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "results"]


def test_whatever_ends_it_the_old_folder_stays(tmp_path):
    out = tmp_path / "out"
    with replacing_folder(out) as new:
        (new / "a").write_text("first")
    with pytest.raises(FileNotFoundError), replacing_folder(out) as new:
        (new / "folder" / "a").write_text("second")
    assert (out / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_kill_between_the_renames_is_mended(tmp_path):
    out, old = tmp_path / "out", tmp_path / ".out.old"
    with replacing_folder(out) as new:
        (new / "a").write_text("first")
    out.rename(old)
    with pytest.raises(RuntimeError), replacing_folder(out):
        raise RuntimeError
    assert (out / "a").read_text() == "first"
    shutil.copytree(out, old)  # as when it came after both
    with replacing_folder(out) as new:
        (new / "a").write_text("second")
    assert (out / "a").read_text() == "second"
    assert not old.exists()


def test_a_folder_of_that_name_that_is_not_ours_is_left_alone(tmp_path):
    old = tmp_path / ".out.old"
    old.mkdir()
    (old / "mine").touch()
    with pytest.raises(NnActiveError, match=r"\.out\.old"), replacing_folder(tmp_path / "out"):
        pass
    assert [path.name for path in old.iterdir()] == ["mine"]
    assert [path.name for path in tmp_path.iterdir()] == [".out.old"]


def test_differences_in_words():
    assert difference({"a": [1, 2]}, {"a": [1, 2]}) == ""
    assert difference([f"c{i}" for i in range(9)], []) == "only the first has c0, c1, c2, c3, c4, 4 more"
    assert difference({"a": 1, "b": 2}, {"b": 3, "c": 4}) == "only the first has a; only the second has c; b: 2 against 3"
    assert difference(["a", "b"], ["b", "a"]) == '["a", "b"] against ["b", "a"]'
    assert len(difference("x" * 500, "y" * 500)) < 200
