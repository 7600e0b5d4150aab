"""Folders, trainers and torchvision are checked before nnU-Net fails on them in its own words."""

from __future__ import annotations

import importlib.machinery
import os
import subprocess
import sys
import types

import pytest

from nnactive_ext.cli import env
from nnactive_ext.errors import NnActiveError
from nnactive_ext.nnunet import environment
from nnactive_ext.nnunet.environment import TRAINERS


def test_importing_is_free_and_silent():
    code = "import sys, nnactive_ext.nnunet.environment, nnactive_ext.cli.env; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("False", "")


def test_trainers_folder_is_added_once_after_the_users_own(monkeypatch, tmp_path):
    assert (environment.trainers_folder() / "nnActiveTrainer.py").is_file()
    ours = str(environment.trainers_folder())
    monkeypatch.delenv(TRAINERS, raising=False)
    environment.extend_environment()
    assert os.environ[TRAINERS] == ours
    monkeypatch.setenv(TRAINERS, os.pathsep.join([str(tmp_path), "", str(tmp_path)]))
    for _ in range(2):
        environment.extend_environment()
        assert os.environ[TRAINERS].split(os.pathsep) == [str(tmp_path), ours]


def test_unset_folders_are_named(monkeypatch, tmp_path):
    for name in environment.FOLDERS:
        monkeypatch.setenv(name, str(tmp_path))
    environment.require_nnunet_folders()
    monkeypatch.delenv("nnUNet_raw")
    monkeypatch.setenv("nnUNet_results", "")
    with pytest.raises(NnActiveError) as error:
        environment.require_nnunet_folders()
    assert "nnUNet_raw" in str(error.value)
    assert "nnUNet_results" in str(error.value)
    assert "nnUNet_preprocessed" not in str(error.value)


def test_torchvision_that_works_is_accepted():
    environment.check_torchvision()


def test_missing_torchvision(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)  # makes the import fail
    with pytest.raises(NnActiveError, match="pip install") as error:
        environment.check_torchvision()
    assert error.value.__cause__ is not None


def test_torchvision_for_another_torch(monkeypatch):
    def nms(*_):
        raise RuntimeError("operator torchvision::nms does not exist")

    broken = types.ModuleType("torchvision")
    broken.__spec__ = importlib.machinery.ModuleSpec("torchvision", None)
    broken.ops = types.SimpleNamespace(nms=nms)
    monkeypatch.setitem(sys.modules, "torchvision", broken)
    with pytest.raises(NnActiveError, match="torchvision::nms does not exist"):
        environment.check_torchvision()


def test_torchvision_that_fails_while_imported(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(NnActiveError, match="torchvision::nms does not exist"):
        environment.check_torchvision()


@pytest.mark.skipif(os.name == "nt", reason="needs sh")
def test_env_line_evaluates_in_sh(monkeypatch, capsys, tmp_path):
    theirs = tmp_path / "it's $HOME's; folder"
    monkeypatch.setenv(TRAINERS, str(theirs))
    env.main([])
    line = capsys.readouterr().out
    shown = subprocess.run(["sh", "-c", f'eval "$1"; printf %s "${TRAINERS}"', "sh", line], capture_output=True, text=True)
    assert shown.stdout == f"{theirs}{os.pathsep}{environment.trainers_folder()}"
    assert os.environ[TRAINERS] == str(theirs)


@pytest.mark.parametrize(
    ("shell", "expected"),
    [
        ("fish", "set -gx nnUNet_extTrainer '/it\\'s"),
        ("powershell", "$env:nnUNet_extTrainer = '/it''s"),
        ("cmd", "set \"nnUNet_extTrainer=/it's"),
    ],
)
def test_env_lines_of_other_shells(monkeypatch, capsys, shell, expected):
    monkeypatch.setenv(TRAINERS, "/it's")
    env.main(["--shell", shell])
    assert capsys.readouterr().out.startswith(expected)


def test_a_device_that_is_not_there_is_refused():
    import torch

    from nnactive_ext.nnunet.environment import prepare_device

    prepare_device("cpu")
    if not torch.cuda.is_available():
        with pytest.raises(NnActiveError, match="cpu"):
            prepare_device("cuda")
