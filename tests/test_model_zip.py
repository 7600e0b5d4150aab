"""The members as a zip: what is in it and what is not, what is refused, and that stock nnU-Net predicts the same with it."""

from __future__ import annotations

import os
import re
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from fake_members import fake_train
from printed import understood
from stock import Stock

from nnactive_ext.cli import export_labels, export_model_to_zip
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import read_json, write_json
from nnactive_ext.geometry.axes import Turn
from nnactive_ext.members.ensemble import NnUNetEnsemble, fold_folder
from nnactive_ext.members.model_zip import INSTRUCTIONS, export_model
from nnactive_ext.members.training import train_member
from nnactive_ext.nnunet.network import _network

FOLDER = "Dataset101_Tiny/nnUNetTrainer__nnUNetPlans__3d_fullres"
AXES = (0, 2)


def with_members(experiment: Experiment) -> Experiment:
    """Members with weights that nobody trained, in checkpoints as nnU-Net writes them."""
    described, plans = experiment.dataset.json, experiment.preprocessed.plans
    experiment.model_folder.mkdir(parents=True)
    write_json(experiment.model_folder / "plans.json", {**plans, "continue_training": False})
    write_json(experiment.model_folder / "dataset.json", described)
    network = _network(*experiment.preprocessed.manager(), described)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    for fold in experiment.folds():
        fake_train(experiment, fold)
        checkpoint = {
            "network_weights": {name: torch.full(shape, float(fold)) for name, shape in shapes.items()},
            "optimizer_state": {"cases": sorted(experiment.plan.pool)},
            "logging": {"mean_fg_dice": [np.float64(0.5)]},
            "init_args": {"plans": plans, "configuration": "3d_fullres", "fold": fold, "dataset_json": described},
            "trainer_name": experiment.plan.trainer,
            "inference_allowed_mirroring_axes": AXES,
        }
        torch.save(checkpoint, fold_folder(experiment, fold) / "checkpoint_final.pth")
    return experiment


@pytest.fixture
def members(planned) -> Experiment:
    return with_members(planned)


def refused(line: str, capsys) -> str:
    with pytest.raises(SystemExit) as ended:
        export_model_to_zip.main(line.split())
    assert ended.value.code == 1
    return capsys.readouterr().err


def test_the_zip_holds_what_nnunet_reads_and_no_name_of_a_case(members, tmp_path, capsys):
    export_model_to_zip.main(f"-d 101 -o {tmp_path / 'model.zip'}".split())
    said = capsys.readouterr().out
    assert f"nnUNetv2_predict -i FOLDER -o PREDICTED -d {members.name} -c 3d_fullres -f 0 1 2 -tr nnUNetTrainer" in said
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "out")
    files = {file.relative_to(tmp_path / "out").as_posix() for file in (tmp_path / "out").rglob("*") if file.is_file()}
    checkpoints = {f"{FOLDER}/fold_{fold}/checkpoint_final.pth" for fold in (0, 1, 2)}
    assert files == {*checkpoints, f"{FOLDER}/plans.json", f"{FOLDER}/dataset.json", f"Dataset101_Tiny/{INSTRUCTIONS}"}
    names = [*members.plan.pool, *members.plan.test, str(members.raw)]
    for file in (tmp_path / "out").rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        assert not [name for name in names if name.encode() in content], file
        assert not re.search(rb"nnactive", content, re.IGNORECASE), file
    described = read_json(tmp_path / "out" / FOLDER / "dataset.json")
    assert described["labels"] == {"background": 0, "organ": 1, "lesion": 2}
    # Nothing has to be unpickled that could run code.
    for fold in (0, 1, 2):
        found = torch.load(tmp_path / "out" / FOLDER / f"fold_{fold}" / "checkpoint_final.pth", weights_only=True)
        assert {key: value for key, value in found.items() if key != "network_weights"} == {
            "trainer_name": "nnUNetTrainer",
            "init_args": {"configuration": "3d_fullres", "fold": fold},
            "inference_allowed_mirroring_axes": AXES,
        }
        assert all((tensor == fold).all() for tensor in found["network_weights"].values())


def test_the_same_members_give_the_same_bytes(members, tmp_path):
    for name in ("a.zip", "b.zip"):
        export_model(members, [0, 2], tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_what_cannot_be_exported_is_refused_and_nothing_is_written(members, tmp_path, capsys, monkeypatch):
    zips = tmp_path / "zips"
    zips.mkdir()
    (zips / "there.zip").write_bytes(b"")
    assert "exists already" in refused(f"-d 101 -o {zips}/there.zip", capsys)
    assert ".zip" in refused(f"-d 101 -o {zips}/model", capsys)
    assert "no such folder" in refused(f"-d 101 -o {zips}/none/model.zip", capsys)
    monkeypatch.setattr("nnactive_ext.members.model_zip.builds_its_own_network", lambda name: True)
    message = refused(f"-d 101 -o {zips}/model.zip", capsys)
    assert "builds a network of its own" in message
    assert "nnUNetv2_predict" in understood(message)[-1]
    assert [file.name for file in zips.iterdir()] == ["there.zip"]


def test_other_weights_and_missing_members_are_refused(members, tmp_path, capsys):
    file = fold_folder(members, 1) / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    checkpoint["network_weights"]["factors.weight"] = torch.zeros(2)
    torch.save(checkpoint, file)
    message = refused(f"-d 101 -o {tmp_path}/model.zip", capsys)
    assert "factors.weight: (2,), nnU-Net's none" in message
    file.unlink()
    assert "no trained member" in refused(f"-d 101 -o {tmp_path}/model.zip", capsys)
    assert not list(tmp_path.glob("*.zip"))
    assert not list(tmp_path.glob(".nnactive*"))
    export_model_to_zip.main(f"-d 101 -o {tmp_path}/model.zip -f 0 2".split())


def test_turned_images_are_told(members, tmp_path, capsys):
    turned = {next(iter(members.plan.pool)): Turn((0, 2, 1), (False, False, False))}
    experiment = Experiment(members.name, replace(members.plan, turned=turned))
    made = export_model(experiment, [0], tmp_path / "model.zip")
    assert "TURN IMAGES FIRST: 1 of the 8 images" in made.instructions
    assert "LP" in made.instructions


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="scripts are run by another Python")
@pytest.mark.usefixtures("stock_convolutions")
def test_stock_nnunet_without_this_package_predicts_the_same(planned, nnunet_folders, tmp_path, monkeypatch):
    stock = Stock(tmp_path / "stock")
    quick = {"nnactive_iterations_per_epoch": "20", "nnactive_val_iterations_per_epoch": "1", "nnUNet_n_proc_DA": "0"}
    for name, value in {**quick, "nnactive_skip_validation": "1"}.items():
        monkeypatch.setenv(name, value)
    replace(planned.plan, trainer="nnActiveTrainer_1epochs").write(planned.raw)
    experiment = Experiment(planned.name)
    for fold in (0, 1):
        train_member(experiment, fold, "cpu")
    export_model_to_zip.main(f"-d 101 -o {tmp_path}/model.zip -f 0 1".split())

    ensemble = NnUNetEnsemble(experiment, (0, 1), "cpu")
    for case, found in stock.predictions(tmp_path / "model.zip", experiment, (0, 1)).items():
        assert len(np.unique(found)) > 1, "nothing was found, which is the same with any members"
        np.testing.assert_array_equal(found, ensemble.segment(experiment.source.cases[case]))

    export_labels.main(f"-d 101 -o {tmp_path}/labels -f 0 1 -device cpu --disable_progress_bar".split())
    name = next(iter(experiment.plan.pool))
    known, predicted = experiment.dataset.label_map(name), ensemble.segment(experiment.dataset.cases[name])
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "labels" / f"{name}.nii.gz")))
    np.testing.assert_array_equal(labels, np.where(known == 3, predicted, known))
