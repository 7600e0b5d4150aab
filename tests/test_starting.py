"""Tasks start with predictions of classes that members are known to find, and blank for the others."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import scripted_expert as expert
import SimpleITK as sitk
import torch
from hypothesis import given
from hypothesis import strategies as st
from rollouts import OPTIONS, Rollout
from serving import client

from nnactive_ext.cli import annotate
from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.blank_starts import started_blank
from nnactive_ext.exchange.export import export
from nnactive_ext.exchange.starting import starting
from nnactive_ext.experiment.result import result_file
from nnactive_ext.files import read_json, write_json
from nnactive_ext.geometry.grid import Grid
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.labelling.ledger import sha256
from nnactive_ext.members.prediction import predict_box

GRID = Grid((2, 3, 5), (0, 1, 2), (0, 0, 0), (2, 3, 5), (2, 3, 5))


@given(st.integers(0, 2**31), st.sets(st.integers(1, 3)))
def test_what_is_not_proposed_is_the_likeliest_of_the_rest(seed, without):
    """Voxel by voxel: a lesion that is not proposed is organ again where an organ is likelier than background."""
    logits = torch.from_numpy(np.random.default_rng(seed).normal(size=(4, 2, 3, 5)).astype(np.float32))
    ensemble = SimpleNamespace(logits=lambda image, case: iter([("fold 0", logits)]))
    image, patch = np.zeros((1, 2, 3, 5), np.float32), Patch("a", (0, 0, 0), (2, 3, 5))
    labels = predict_box(ensemble, image, GRID, patch, (1, 1, 1), None, without)
    regions = predict_box(ensemble, image, GRID, patch, (1, 1, 1), (2, 1, 3, 4), {channel - 1 for channel in without})
    for z, y, x in np.ndindex(2, 3, 5):
        scores = logits[:, z, y, x].tolist()
        best = max(scores[c] for c in range(4) if c not in without)
        assert labels[z, y, x] not in without
        assert scores[labels[z, y, x]] >= best - 1e-6, "probabilities in single precision may be equal where logits are nearly"
        found = [value for c, value in enumerate((2, 1, 3, 4)) if scores[c] > 0 and c + 1 not in without]
        assert regions[z, y, x] == (found[-1] if found else 0)


class Bright:
    """A member that labels by brightness: the body, an organ in it, a lesion in that."""

    def logits(self, image: np.ndarray, case: str = ""):
        centres = np.quantile(image[0], (0.1, 0.6, 0.95)).astype(np.float32)
        yield "fold 0", torch.from_numpy(-np.abs(image[:1] - centres[:, None, None, None]))


@pytest.fixture
def queried(rollout: Rollout, tmp_path) -> Rollout:
    """Its first query is open."""
    rollout.plan(OPTIONS.replace("-cycles 3", "-cycles 2"))
    for task in rollout.export(tmp_path / "start"):
        expert.in_place(task)
    rollout.annotate(f"import {tmp_path / 'start'} -who anna --accept_unchanged --disable_progress_bar")
    rollout.run()
    return rollout


def validated(rollout: Rollout, **dice: float | None) -> None:
    file = result_file(rollout.experiment.results, 0)
    content = read_json(file)
    write_json(file, {**content, "cross_validation": {"dice_per_class": dice, "mean_dice": None} if dice else None})


def exported(rollout: Rollout, folder, **more) -> set[int]:
    """The values in the boxes of all tasks."""
    export(rollout.experiment, 1, folder, Bright, progress=False, **more)
    return {int(v) for t in expert.look(folder, rollout.label) for v in np.unique(sitk.GetArrayFromImage(t.shown)[t.box])}


def test_classes_below_the_dice_start_blank(queried, tmp_path, capsys):
    organ, lesion = 1, 2
    validated(queried, organ=0.5, lesion=0.49)
    assert exported(queried, tmp_path / "a") == {0, organ}
    page, task = (tmp_path / "a" / "index.html").read_text(), expert.look(tmp_path / "a", queried.label)[0]
    assert "starts blank for it: lesion 49.0 % (CV Dice below 50.0 %)" in page
    assert read_json(task.folder / "task.json")["starts_blank"] == ["lesion"]
    assert "start blank" in (tmp_path / "a" / "README.txt").read_text()
    assert set(map(tuple, started_blank(queried.experiment).values())) == {("lesion",)}
    assert exported(queried, tmp_path / "b", start_above=0.4) == {0, organ, lesion}
    assert started_blank(queried.experiment) == {}, "all of them are proposed now"
    validated(queried, organ=0.1, lesion=None)
    assert exported(queried, tmp_path / "c") == {0}
    assert not read_json(expert.look(tmp_path / "c", queried.label)[0].folder / "task.json")["predicted"]
    assert exported(queried, tmp_path / "d", start_above=0) == {0, organ, lesion}
    validated(queried)
    found = starting(queried.experiment)
    assert found.proposed == ()
    assert found.words == "organ, lesion (CV Dice not known)"
    for wrong in (-0.1, 50.0, float("nan")):
        with pytest.raises(NnActiveError, match="-start_above"):
            starting(queried.experiment, wrong)


def test_what_came_back_as_it_went_out_is_told_apart(queried, tmp_path, capsys):
    """As before: an unsaved file is no answer, unless it is accepted; then the command says what a blank start means."""
    validated(queried, organ=0.8, lesion=0.0)
    exported(queried, tmp_path / "out")
    first, second, *_ = expert.look(tmp_path / "out", queried.label)
    assert sha256(first.label) in read_json(queried.experiment.annotation / "exported.json")[first.id]
    expert.in_place(second)
    capsys.readouterr()
    queried.annotate(f"import {tmp_path / 'out'} -who anna --disable_progress_bar")
    said = capsys.readouterr().out
    assert "not saved after the export" in said
    assert "started blank" not in said
    queried.annotate(f"import {tmp_path / 'out'} -who anna --accept_unchanged --disable_progress_bar")
    said = capsys.readouterr().out
    assert "3 label maps came back as exported, and started blank for lesion" in said
    assert "nnactive_annotate withdraw -d 601 TASK" in said


def test_the_command_says_which_classes_start_blank(queried, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("nnactive_ext.members.ensemble.NnUNetEnsemble", lambda *_: Bright())
    validated(queried, organ=0.9, lesion=0.2)
    words = ["export", "-d", "601", "-device", "cpu", "-o", str(tmp_path / "out"), "--disable_progress_bar"]
    annotate.main(words)
    assert "These classes start blank: lesion 20.0 % (CV Dice below 50.0 %). -start_above 0" in capsys.readouterr().out
    annotate.main([*words, "-start_above", "0.2"])
    assert "start blank" not in capsys.readouterr().out


@pytest.mark.parametrize("organ", [0.9, 0.1])
def test_tasks_in_the_browser_start_as_exported_ones(queried, tmp_path, monkeypatch, organ):
    monkeypatch.setattr("nnactive_ext.members.ensemble.NnUNetEnsemble", lambda *_: Bright())
    validated(queried, organ=organ, lesion=0.2)
    assert exported(queried, tmp_path / "out") == ({0, 1} if organ > 0.5 else {0})
    with client(601, blank=False, device="cpu") as asking:
        for task in expert.look(tmp_path / "out", queried.label):
            shown = asking.get(f"/tasks/{task.id}/crop").json()
            assert shown["predicted"] == (organ > 0.5)
            assert "lesion 20.0 %" in shown["start"]
            (tmp_path / "start.nii.gz").write_bytes(asking.get(f"/tasks/{task.id}/label").content)
            found = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "start.nii.gz")))
            np.testing.assert_array_equal(found, sitk.GetArrayFromImage(task.shown))
