"""Classes added, renamed, split and merged in the middle of a roll-out on the phantom, with members that are really trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import scripted_expert as expert
import SimpleITK as sitk
import torch

from nnactive_ext.cli import annotate, change, compare, phantom, plan, report, run, status
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.marks import MEMBER
from nnactive_ext.experiment.result import read_results
from nnactive_ext.files import read_json, write_json
from nnactive_ext.labelling.tasks import all_tasks
from nnactive_ext.members.ensemble import NnUNetEnsemble, check_members

pytestmark = pytest.mark.long
QUIET = "--disable_progress_bar"
PLAN = (
    "--labels liver vessel tumour -patch_size 8 16 16 -starting_budget 8 -query_size 4 -cycles 4 -folds 2 --preset cpu -np 1 "
    f"-tr nnActiveTrainer_1epochs_NoMirroring {QUIET}"
)
FIRST = ["add necrosis from tumour", "rename liver organ", "split vessel into artery vein"]
NAMES = {"background": 0, "organ": 1, "artery": 2, "tumour": 3, "necrosis": 4, "vein": 5, "ignore": 6}
TABLE = [0, 1, 6, 6]
"""What the values 0 to 3 of before are after FIRST."""
THEN = "merge artery vein into vessel"
NAMES_THEN = {"background": 0, "organ": 1, "vessel": 2, "tumour": 3, "necrosis": 4, "ignore": 5}
TABLE_THEN = [0, 1, 2, 3, 4, 2, 5]
"""What the values 0 to 6 of NAMES are after THEN."""


@pytest.fixture
def hospital(nnunet_folders, tmp_path, monkeypatch) -> Path:
    """A folder with ``cts``, ``points.csv`` and, in ``anatomy``, label maps that only the expert knows."""
    monkeypatch.setenv("nnactive_iterations_per_epoch", "2")
    monkeypatch.setenv("nnactive_val_iterations_per_epoch", "1")
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    monkeypatch.setattr("nnactive_ext.nnunet.fingerprint._SAMPLES", 1e5)
    phantom.main("-d 900 -n 4".split())
    raw = next(nnunet_folders.raw.glob("Dataset900_*"))
    (tmp_path / "cts").mkdir()
    for file in sorted((raw / "imagesTr").iterdir()):
        shutil.copy(file, tmp_path / "cts" / file.name.replace("_0000", ""))
    shutil.move(raw / "labelsTr", tmp_path / "anatomy")
    shutil.rmtree(raw)
    rng, rows = np.random.default_rng(0), ["case,class,i,j,k"]
    for value, name in ((1, "liver"), (2, "vessel"), (3, "tumour")):
        shown = [(f, sitk.GetArrayFromImage(sitk.ReadImage(str(f)))) for f in sorted((tmp_path / "anatomy").iterdir())]
        for file, labels in [(f, a) for f, a in shown if (a == value).any()][:2]:
            z, y, x = rng.choice(np.argwhere(labels == value))
            rows.append(f"{file.name.removesuffix('.nii.gz')},{name},{x},{y},{z}")
    (tmp_path / "points.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def _type(command, line: str) -> None:
    command.main([*line.split(), QUIET])


def _run() -> None:
    run.main(["-d", "601", "-device", "cpu", QUIET])


def _seen(folder: Path, hospital: Path) -> list[expert.Seen]:
    return expert.look(folder, lambda case: hospital / "anatomy" / f"{case}.nii.gz")


def _answer(task: expert.Seen, table: list[int]) -> np.ndarray:
    """Saves the truth, whose values are those of ``table`` in the task's labels; returns what is in the patch."""
    labels = np.full(task.truth.shape, task.names["ignore"], np.uint8)
    labels[task.box] = np.array(table)[task.truth[task.box]]
    task.write(labels)
    return labels[task.box]


def _check_labels(answers: dict[str, np.ndarray], ignore: int) -> None:
    """The partial labels of all cases are the ``answers``, one after the other, and nothing else."""
    experiment = Experiment.find(601)
    for case, geometry in experiment.plan.pool.items():
        expected = np.full(geometry.shape, ignore)
        for task in all_tasks(experiment):
            if task.patch.case == case and task.cycle <= experiment.state["cycle"]:
                inside, said = expected[task.patch.slices], answers[task.id]
                inside[said != ignore] = said[said != ignore]
        np.testing.assert_array_equal(experiment.dataset.label_map(case), expected, err_msg=case)


def _outputs(fold: Path) -> int:
    """The outputs of a member's last layer."""
    weights = torch.load(fold / "checkpoint_final.pth", map_location="cpu", weights_only=False)["network_weights"]
    return next(value.shape[0] for name, value in weights.items() if "seg_layers" in name and name.endswith("weight"))


def test_a_roll_out_whose_classes_change(hospital, capsys, tmp_path):
    plan.main(["-i", str(hospital / "cts"), "-o", "601", "-name", "Phantom", *PLAN.split()])
    _type(annotate, f"points -d 601 {hospital / 'points.csv'} -who anna")
    _type(annotate, f"export -d 601 --blank -o {hospital / 'tasks_0'}")
    before = {task.id: _answer(task, [0, 1, 2, 3]) for task in _seen(hospital / "tasks_0", hospital)}
    _type(annotate, f"import -d 601 {hospital / 'tasks_0'} -who anna --accept_unchanged")
    _run()
    _check_labels(before, 4)
    _type(annotate, f"export -d 601 -device cpu -o {hospital / 'tasks_1'}")
    out = _seen(hospital / "tasks_1", hospital)
    for task in out[:1]:
        before[task.id] = _answer(task, [0, 1, 2, 3])
        _type(annotate, f"import -d 601 {task.folder} -who anna")

    experiment = Experiment.find(601)
    members = {fold: _outputs(experiment.model_folder / f"fold_{fold}") for fold in (0, 1)}
    assert members == {0: 4, 1: 4}
    file = hospital / "changes.json"
    file.write_text(json.dumps({"changes": FIRST}))
    _type(change, f"-d 601 -who boss -labels {file}")
    after = Experiment.find(601)
    assert after.dataset.json["labels"] == NAMES
    answers = {name: np.array([*TABLE, 6])[said] for name, said in before.items()}
    _check_labels(answers, 6)
    with pytest.raises(NnActiveError):
        check_members(after, [0, 1])
    archive = after.results / "cycle_000" / "labels_0" / after.model_folder.name
    opened = NnUNetEnsemble(after, [0, 1], "cpu", archive)  # as they were
    assert opened._predictor.dataset_json["labels"] == {"background": 0, "liver": 1, "vessel": 2, "tumour": 3, "ignore": 4}

    shutil.rmtree(after.model_folder)
    forged = shutil.copytree(archive, after.model_folder)
    for fold in (0, 1):
        write_json(forged / f"fold_{fold}" / MEMBER, {**read_json(forged / f"fold_{fold}" / MEMBER), "labels": 1})
    with pytest.raises(NnActiveError, match="liver"):  # whatever their marks say
        NnUNetEnsemble(after, [0, 1], "cpu")
    for fold in (0, 1):
        shutil.rmtree(forged / f"fold_{fold}")

    # One more answer to the first export, and the others with the new classes.
    for task in out[1:2]:
        answers[task.id] = np.array([*TABLE, 6])[_answer(task, [0, 1, 2, 3])]
        _type(annotate, f"import -d 601 {task.folder} -who anna")
    _type(annotate, f"export -d 601 --blank -o {hospital / 'tasks_1_new'}")
    # To the expert half of the vessels are veins, and tumours are necrotic.
    for task in _seen(hospital / "tasks_1_new", hospital):
        answers[task.id] = _answer(task, [0, 1, 5, 4])
    _type(annotate, f"import -d 601 {hospital / 'tasks_1_new'} -who anna --accept_unchanged")
    _run()
    _check_labels(answers, 6)
    after = Experiment.find(601)
    assert after.state["cycle"] == 1
    assert check_members(after, [0, 1])
    assert {fold: _outputs(after.model_folder / f"fold_{fold}") for fold in (0, 1)} == {0: 6, 1: 6}
    results = read_results(after.results)
    assert list(results[0].cross_validation.dice_per_class) == ["liver", "vessel", "tumour"]
    assert list(results[1].cross_validation.dice_per_class) == ["organ", "artery", "tumour", "necrosis", "vein"]

    _type(change, f"-d 601 -who boss -labels {THEN}")
    assert Experiment.find(601).dataset.json["labels"] == NAMES_THEN
    answers = {name: np.array(TABLE_THEN)[said] for name, said in answers.items()}
    _check_labels(answers, 5)
    _run()  # the tasks of cycle 2 are open: the members of cycle 1 are trained anew, to predict in them
    after = Experiment.find(601)
    assert {fold: _outputs(after.model_folder / f"fold_{fold}") for fold in (0, 1)} == {0: 5, 1: 5}
    _type(annotate, f"export -d 601 -device cpu -o {hospital / 'tasks_2'}")
    assert _seen(hospital / "tasks_2", hospital)[0].names == NAMES_THEN

    capsys.readouterr()
    status.main(["-d", "601"])
    told = capsys.readouterr().out
    assert THEN in told
    assert "split vessel into artery vein" in told
    assert "nnactive_annotate export -d 601 -cycle 0" in told
    report.main(["-d", "601", "-o", str(tmp_path / "report.html"), "-device", "cpu", "-patches", "1", QUIET])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"nnactive_change -d 601 -labels {THEN}" in page
    assert "could not predict" not in page
    with pytest.raises(SystemExit):
        compare.main(["-d", "601", "-o", str(tmp_path / "comparison")])
    told = capsys.readouterr().err
    assert "liver, vessel, tumour, ignore to organ, artery, tumour, necrosis, vein, ignore" in told
    assert read_json(after.results / "experiment.json")["plan"]["changes"][1]["operations"] == [THEN]
