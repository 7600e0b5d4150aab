"""AbeT's trainer with stock nnU-Net, as a person types it: it trains, continues after a kill, predicts and is queried."""

from __future__ import annotations

import os
import shutil
import signal

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from test_member_kinds_run import QUIET, started, typed  # noqa: F401
from test_real_nnunet import _wait_for

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import read_json
from nnactive_ext.members.ensemble import NnUNetEnsemble
from nnactive_ext.members.model_zip import export_model
from nnactive_ext.nnunet.abet_head import COLDEST, TemperatureHead
from nnactive_ext.nnunet.environment import trainers_folder

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="the commands are typed into sh")]
TRAINER = "nnActiveTrainer_AbeT_4epochs_NoMirroring"


@pytest.mark.usefixtures("tiny", "stock_convolutions")
def test_it_trains_continues_predicts_and_its_energy_is_asked_for(typed, tmp_path):  # noqa: F811
    typed(
        "nnactive_plan -d 100 -o 101 -patch_size 5 5 3 -query_size 4 -starting_budget 6 -cycles 2 --preset cpu -np 1 "
        f"-folds 1 -tr {TRAINER} --method badge --disable_progress_bar"
    )
    experiment = Experiment.find(101)
    fold = experiment.model_folder / "fold_0"
    environment = f"env nnUNet_extTrainer={trainers_folder()} nnactive_skip_validation=1"
    train = f"{environment} nnUNetv2_train 101 3d_fullres 0 -tr {TRAINER} -device cpu"
    running = started(train, tmp_path / "killed.txt")
    _wait_for(fold / "checkpoint_latest.pth", running)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not (fold / "checkpoint_final.pth").is_file(), "it ended before it was killed"
    typed(f"{train} --c")
    assert read_json(fold / "nnactive_member.json")["finished"]
    weights = torch.load(fold / "checkpoint_final.pth", weights_only=False)["network_weights"]
    heads = {name.rpartition("seg_layers.")[2] for name in weights if "seg_layers" in name}
    last = max(int(name.partition(".")[0]) for name in heads)
    assert {f"{last}.temperature.weight", f"{last}.norm.running_mean", f"{last}.weight"} <= heads
    assert f"{last}.bias" not in heads
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())

    (images := tmp_path / "images").mkdir()
    case = experiment.test_cases()[0]
    for channel, file in enumerate(case.images):
        shutil.copy(file, images / f"{case.name}_{channel:04d}.nii.gz")
    typed(
        f"{environment} nnUNetv2_predict -i {images} -o {tmp_path / 'out'} -d 101 -c 3d_fullres -f 0 -tr {TRAINER} -device cpu "
        "-npp 0 -nps 0"
    )
    predicted = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / f"{case.name}.nii.gz")))
    ensemble = NnUNetEnsemble(experiment, [0], "cpu")
    np.testing.assert_array_equal(predicted, ensemble.segment(experiment.source.cases[case.name]))

    image, _ = experiment.preprocessed.load(next(iter(experiment.plan.pool)))
    ((_, logits),) = ensemble.logits(image)
    assert isinstance(ensemble._predictor.network.decoder.seg_layers[-1], TemperatureHead)
    assert float(logits.abs().max()) <= 1 / COLDEST + 0.1
    with pytest.raises(NnActiveError, match="network of its own"):
        export_model(experiment, [0], tmp_path / "model.zip")
    typed(f"nnactive_query -d 101 -f 0 {QUIET}")
    assert len(read_json(experiment.raw / "loop_001.json")["patches"]) == 4
