"""The results file of a cycle: read and written without a change, and refused by every command when it is damaged."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from fake_members import fake_tools
from hypothesis import given
from hypothesis import strategies as st
from results import cycle_result, edit, write_experiment

from nnactive_ext.cli import compare, run, status
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.inference import Inference
from nnactive_ext.experiment.result import (
    CrossValidation,
    CycleResult,
    InferenceScores,
    SurfaceCases,
    read_results,
    result_file,
    result_files,
)
from nnactive_ext.files import read_json, write_json
from nnactive_ext.loop.cycles import run_cycles
from nnactive_ext.members.tools import Tools

NAMES = st.text(max_size=5)
COUNT = st.integers(0, 2**40)
SHARE = st.none() | st.floats(0, 1)
LENGTH = st.none() | st.floats(0, 1e6)
COUNTS, SHARES, LENGTHS = (st.dictionaries(NAMES, one, max_size=3) for one in (COUNT, SHARE, LENGTH))
CROSS = st.builds(
    CrossValidation,
    dice_per_class=SHARES,
    mean_dice=SHARE,
    voxels_per_class=COUNTS,
    cases=COUNT,
    cases_left_out=COUNT,
    folds=COUNT,
)
INFERENCE = st.builds(Inference, mirroring=st.booleans(), step=st.floats(0, 1))
TABLES = {
    "dice_per_class": SHARES,
    **{f"{name}_per_case": st.dictionaries(NAMES, one, max_size=2) for name, one in (("dice", SHARES), ("nsd", SHARES))},
    "hd95_per_case": st.dictionaries(NAMES, LENGTHS, max_size=2),
}
RESULTS = st.builds(
    CycleResult,
    cycle=COUNT,
    mean_dice=SHARE,
    dice_per_class=SHARES,
    cases_per_class=COUNTS,
    classes_left_out=st.lists(NAMES, max_size=3).map(tuple),
    nsd_per_class=SHARES,
    hd95_per_class=LENGTHS,
    surface_cases_per_class=st.dictionaries(NAMES, st.builds(SurfaceCases, nsd=COUNT, hd95=COUNT, infinite=COUNT), max_size=3),
    tolerance_mm=LENGTH,
    tolerance_mm_per_class=LENGTHS,
    cross_validation=st.none() | CROSS,
    patches=COUNT,
    new_patches=COUNT,
    annotated_cases=COUNT,
    annotated_voxels=COUNT,
    annotated_voxels_per_label=COUNTS,
    foreground_share=SHARE,
    share_of_all_foreground=LENGTH,
    new_patches_per_class=COUNTS,
    new_voxels_per_label=COUNTS,
    new_foreground_share=SHARE,
    dice_per_case=st.dictionaries(NAMES, SHARES, max_size=2),
    nsd_per_case=st.dictionaries(NAMES, SHARES, max_size=2),
    hd95_per_case=st.dictionaries(NAMES, LENGTHS, max_size=2),
    inference=st.none() | INFERENCE,
    as_before=st.none() | st.builds(InferenceScores, cycle=COUNT, mean_dice=SHARE, inference=INFERENCE, **TABLES),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
KEYS = [one.name for one in fields(CycleResult)]
NEEDED = ("cycle", "mean_dice", "dice_per_class", "patches", "new_patches", "annotated_cases", "annotated_voxels")
GOOD = cycle_result(1, {"liver": 0.5, "tumour": None}, ("liver", "tumour"), 0.01, 20, 10)


@given(RESULTS)
def test_what_is_written_is_read(tmp_path_factory, result):
    file = tmp_path_factory.mktemp("results") / "cycle_000.json"
    result.write(file)
    assert CycleResult.read(file) == result
    before = file.read_bytes()
    CycleResult.read(file).write(file)
    assert file.read_bytes() == before


@given(st.sampled_from(KEYS), JSON)
def test_any_value_is_read_as_it_is_or_refused(key, value):
    """Never another error, and never another value."""
    content = {**GOOD, key: value}
    try:
        found = CycleResult.of(content)
    except ValueError as error:
        refusal = str(error)
    else:
        plain = json.loads(json.dumps(getattr(found, key), default=vars))
        refusal = "" if value == plain or key in ("cross_validation", "environment", "inference", "as_before") else "changed"
    assert not refusal or key in refusal


@given(JSON)
def test_what_is_no_object_is_refused(content):
    with pytest.raises(ValueError, match=r"missing|no object"):
        CycleResult.of(content)


def test_the_file_keeps_its_keys_and_their_order(planned):
    """As files of all versions have them: one key for each field, those of a cycle first."""
    run_cycles(planned, fake_tools(classes=3), progress=False, say=lambda text: None)
    content = read_json(result_file(planned.results, 2))
    assert list(content) == [key for key in KEYS if key != "as_before"], "which only a last cycle has, if others are cheaper"
    assert KEYS[:2] == ["cycle", "mean_dice"]
    assert KEYS.index("cross_validation") + 1 == KEYS.index("patches")
    assert KEYS[-4:] == ["hd95_per_case", "environment", "inference", "as_before"]
    assert [one.name for one in fields(CrossValidation)][:2] == ["dice_per_class", "mean_dice"]


@pytest.mark.parametrize("key", NEEDED)
def test_a_key_of_all_versions_is_needed(key):
    with pytest.raises(ValueError, match=key):
        CycleResult.of({name: value for name, value in GOOD.items() if name != key})


def test_files_of_other_versions_are_read():
    earlier = CycleResult.of({key: GOOD[key] for key in NEEDED})
    assert earlier.nsd_per_class == {}
    assert earlier.tolerance_mm is earlier.foreground_share is earlier.cross_validation is None
    assert CycleResult.of({**GOOD, "of a later version": 1}) == CycleResult.of(GOOD)


WRONG = {
    "Dice 7": ("mean_dice", 7),
    "Dice below 0": ("mean_dice", -0.1),
    "no number": ("mean_dice", float("nan")),
    "an infinite distance": ("hd95_per_class", {"liver": float("inf")}),
    "a negative distance": ("hd95_per_class", {"liver": -1.0}),
    "Dice of a class as text": ("dice_per_class", {"liver": "0.5"}),
    "Dice of a case above 1": ("dice_per_case", {"a": {"liver": 61.2}}),
    "no object": ("dice_per_class", [0.5]),
    "null instead of an object": ("cases_per_class", None),
    "text instead of a list": ("classes_left_out", "liver"),
    "numbers in a list of names": ("classes_left_out", [1]),
    "half a patch": ("patches", 10.5),
    "a truth value": ("patches", True),
    "fewer patches than none": ("patches", -1),
    "cases without infinite ones": ("surface_cases_per_class", {"liver": {"nsd": 2, "hd95": 2}}),
    "a cross-validation without Dice": ("cross_validation", {"cases": 3}),
    "a cross-validation that is none": ("cross_validation", [1]),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_value_is_named_with_its_file_and_what_to_do(tmp_path, what):
    key, value = WRONG[what]
    file = tmp_path / "cycle_001.json"
    file.write_text(json.dumps({**GOOD, key: value}))
    with pytest.raises(NnActiveError) as error:
        CycleResult.read(file)
    assert all(part in str(error.value) for part in (str(file), key, "nnactive_run"))


def test_cycles_come_in_order_and_other_files_are_none(tmp_path):
    for cycle in (1000, 2, 0):
        replace(CycleResult.of(GOOD), cycle=cycle).write(result_file(tmp_path, cycle))
    for name in ("cycle_3.json", "cycle_004.json.bak", "experiment.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "cycle_005").mkdir()
    assert list(result_files(tmp_path)) == [0, 2, 1000]
    assert [result.cycle for result in read_results(tmp_path)] == [0, 2, 1000]
    assert read_results(tmp_path / "nowhere") == []


def without(file: Path, key: str) -> None:
    content = read_json(file)
    del content[key]
    write_json(file, content)


DAMAGES = {
    "a missing key": lambda file: without(file, "mean_dice"),
    "another missing key": lambda file: without(file, "annotated_voxels"),
    "a wrong type": lambda file: edit(file, dice_per_class={"organ": "0.5"}),
    "cut off": lambda file: file.write_bytes(file.read_bytes()[:100]),
    "a list": lambda file: file.write_text("[]"),
    "Dice 7": lambda file: edit(file, mean_dice=7),
}


@pytest.fixture
def damaged(planned) -> Path:
    """The results file of cycle 1 of a finished experiment; tests damage it."""
    run_cycles(planned, fake_tools(classes=3), progress=False, say=lambda text: None)
    return result_file(planned.results, 1)


def refused(command, arguments: list[str], file: Path, capsys) -> None:
    """The command ends with a status, not a traceback, and says which file and what to do about it."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code not in (0, None)
    said = capsys.readouterr().err
    assert str(file) in said
    assert "estore" in said


@pytest.mark.parametrize("what", DAMAGES)
def test_every_command_refuses_a_damaged_file(damaged, tmp_path, monkeypatch, capsys, what):
    trained = []
    made = fake_tools(classes=3)
    tools = Tools(train=lambda *given: trained.append(given), open_ensemble=made.open_ensemble)
    monkeypatch.setattr(Tools, "of_nnunet", classmethod(lambda cls, device: tools))
    DAMAGES[what](damaged)
    refused(status, ["-d", "101"], damaged, capsys)
    refused(status, ["-d", "101", "--json"], damaged, capsys)
    refused(compare, ["-d", "101", "-o", str(tmp_path / "out")], damaged, capsys)
    refused(run, ["-d", "101", "-device", "cpu", "--disable_progress_bar"], damaged, capsys)
    assert not trained
    assert not (tmp_path / "out").exists()


def test_nothing_is_trained_before_a_damaged_file_is_refused(planned):
    """The first cycle is done, two are to come."""
    made, cycles = fake_tools(classes=3), []

    def train(experiment, fold):
        cycles.append(experiment.state["cycle"])
        if cycles[-1] == 1:
            raise KeyboardInterrupt
        made.train(experiment, fold)

    tools = Tools(train=train, open_ensemble=made.open_ensemble)
    with pytest.raises(KeyboardInterrupt):
        run_cycles(planned, tools, progress=False, say=lambda text: None)
    count = len(cycles)
    edit(result_file(planned.results, 0), patches="6")
    with pytest.raises(NnActiveError, match="patches"):
        run_cycles(planned, tools, progress=False, say=lambda text: None)
    assert len(cycles) == count


def test_a_comparison_tells_nothing_of_what_earlier_versions_did_not_store(tmp_path):
    """Empty cells, no zeros."""
    folder = write_experiment(tmp_path, 501, [0.5, 0.6, 0.7], old=True)
    compare.main(["-d", str(folder), "-o", str(tmp_path / "out")])
    heading, *rows = (tmp_path / "out" / "tables" / "trajectories.csv").read_text().splitlines()
    for column in ("new_foreground_share", "tolerance_mm"):
        where = heading.split(",").index(column)
        assert [row.split(",")[where] for row in rows] == ["", "", ""]
