"""Checkpoints are opened without running what is in them, wherever one is opened."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from weights import MakesAFolder, marked_as_cuda, nnunet_checkpoint

from nnactive_ext.errors import NnActiveError
from nnactive_ext.nnunet.checkpoints import check_checkpoint, read_checkpoint


def malicious(file: Path, how: str) -> Path:
    """A checkpoint that creates ``created`` beside it if it is unpickled."""
    content = {"network_weights": {"a": torch.ones(2)}, "x": MakesAFolder(file.parent / "created")}
    if how == "plain":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=how == "archive")
    return file


@pytest.mark.parametrize("how", ["archive", "legacy", "plain"])
@pytest.mark.parametrize("opened", [read_checkpoint, check_checkpoint])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, how, opened):
    file = malicious(tmp_path / "bad.pth", how)
    with pytest.raises((NnActiveError, pickle.UnpicklingError)) as refused:
        opened(file)
    if how != "plain":  # torch cannot name what a plain pickle of a later protocol needs
        assert isinstance(refused.value, NnActiveError)
        assert f"{os.mkdir.__module__}.mkdir" in str(refused.value)
        assert str(file) in str(refused.value)
    assert not (tmp_path / "created").exists()


def test_it_would_have_created_the_file(tmp_path):
    """Or the test above proves nothing."""
    read_checkpoint(malicious(tmp_path / "bad.pth", "archive"), trust=True)
    assert (tmp_path / "created").exists()


def test_a_finished_checkpoint_of_nnunet_is_read(tmp_path):
    content = read_checkpoint(nnunet_checkpoint(tmp_path))
    assert content["_best_ema"] == 0.5
    assert content["logging"]["mean_fg_dice"] == [0.5, 0.25]
    assert isinstance(content["logging"]["mean_fg_dice"][0], np.float64)


def test_one_of_numpy_1(tmp_path):
    """numpy 1 calls the module numpy.core; torch writes names as they are."""
    file = tmp_path / "numpy1.pth"
    torch.save({"a": np.float64(0.5)}, file)
    renamed = tmp_path / "renamed.pth"
    with zipfile.ZipFile(file) as read, zipfile.ZipFile(renamed, "w") as written:
        for entry in read.infolist():
            written.writestr(entry.filename, read.read(entry).replace(b"cnumpy._core.", b"cnumpy.core."))
    assert b"cnumpy.core.multiarray" in renamed.read_bytes()
    assert read_checkpoint(renamed) == {"a": 0.5}


def test_one_that_was_saved_on_a_gpu_is_read_on_the_cpu(tmp_path):
    file = nnunet_checkpoint(tmp_path)
    marked = marked_as_cuda(file)
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load(marked, weights_only=False)
    found, plain = read_checkpoint(marked)["network_weights"], read_checkpoint(file)["network_weights"]
    assert {value.device.type for value in found.values()} == {"cpu"}
    assert all(torch.equal(found[name], plain[name]) for name in plain)


@pytest.mark.parametrize("content", [b"hello", b"", b"PK\x03\x04 no archive"])
def test_files_that_are_no_checkpoints(tmp_path, content):
    file = tmp_path / "file.pth"
    file.write_bytes(content)
    with pytest.raises(NnActiveError, match=r"file\.pth"):
        read_checkpoint(file)
    with pytest.raises(NnActiveError, match=r"none\.pth"):
        read_checkpoint(tmp_path / "none.pth")
    torch.save([1], file)
    with pytest.raises(NnActiveError, match="dictionary"):
        read_checkpoint(file)
