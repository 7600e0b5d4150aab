"""Stock nnU-Net with our trainer, as a person types it: plan, train, kill, continue, predict, query."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import SimpleITK as sitk
from fake_members import copy_of
from filelock import FileLock, Timeout

from nnactive_ext.cli import phantom, plan
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.marks import LOCK
from nnactive_ext.files import read_json

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the commands are typed into sh")
BIN = Path(sys.executable).parent
PLAN = "-patch_size 8 16 16 -query_size 6 -cycles 2 -folds 2 --preset cpu --disable_progress_bar"
QUICK = {"nnactive_iterations_per_epoch": "2", "nnactive_val_iterations_per_epoch": "1", "nnUNet_n_proc_DA": "0"}


@pytest.fixture
def shell(nnunet_folders, tmp_path):
    """Runs a line in a shell that has only run ``eval "$(nnactive_env)"``."""

    def run(line: str, wait: bool = True):
        environment = {**os.environ, **QUICK, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        environment.pop("nnUNet_extTrainer", None)
        command = ["sh", "-c", f'eval "$(nnactive_env)"; exec {line}']
        with open(tmp_path / "output.txt", "w") as output:
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
            if wait:
                status = process.wait(timeout=300)
                assert status == 0, (tmp_path / "output.txt").read_text()[-3000:]
        return process

    return run


@pytest.mark.slow
def test_train_and_query(shell, planned):
    """The shortest of all: one epoch of two iterations on tiny images, then a query. The other tests are slow."""
    trainer = "nnActiveTrainer_1epochs"
    shell(f"env nnactive_skip_validation=1 nnUNetv2_train 101 3d_fullres 0 -tr {trainer} -device cpu")
    fold = planned.model_folder.with_name(planned.model_folder.name.replace(planned.plan.trainer, trainer)) / "fold_0"
    assert read_json(fold / "nnactive_member.json")["finished"]
    assert (fold / "progress.png").is_file()
    shell(f"nnactive_query -d 101 -f 0 -tr {trainer} -device cpu --disable_progress_bar")
    loop = read_json(planned.raw / "loop_001.json")
    assert (loop["method"], len(loop["patches"])) == ("clasp_pe", 4)
    assert Experiment.find(101).state["cycle"] == 1


@pytest.mark.slow
def test_the_member_of_all_annotated_cases_is_trained_and_asked(shell, planned):
    trainer = "nnActiveTrainer_1epochs"
    skip = "env nnactive_skip_validation=1"
    shell(f"{skip} nnUNetv2_train 101 3d_fullres all -tr {trainer} -device cpu")
    fold = planned.model_folder.with_name(planned.model_folder.name.replace(planned.plan.trainer, trainer)) / "fold_all"
    mark = read_json(fold / "nnactive_member.json")
    assert mark["finished"]
    assert mark["cases"] == sorted(case for case, counts in planned.state["annotated"].items() if counts)
    assert mark["environments"][0]["device"] == "cpu"
    shell(f"nnactive_query -d 101 -f all -tr {trainer} -device cpu --disable_progress_bar")
    loop = read_json(planned.raw / "loop_001.json")
    assert (loop["members"], len(loop["patches"])) == (["all"], 4)


@pytest.mark.slow
def test_train_kill_continue_predict_and_query(shell, nnunet_folders, tmp_path, monkeypatch):
    phantom.main("-d 900 -n 8".split())
    plan.main(f"-d 900 -o 901 -tr nnActiveTrainer_4epochs {PLAN}".split())
    experiment = Experiment.find(901)
    fold = experiment.model_folder / "fold_0"

    training = shell("nnUNetv2_train 901 3d_fullres 0 -tr nnActiveTrainer_4epochs -device cpu", wait=False)
    _wait_for(fold / "checkpoint_latest.pth", training)
    training.send_signal(signal.SIGKILL)
    training.wait()
    assert not (fold / "checkpoint_final.pth").is_file(), "the training ended before it was killed"

    shell("env nnactive_skip_validation=1 nnUNetv2_train 901 3d_fullres 0 -tr nnActiveTrainer_4epochs -device cpu --c")
    logs = sorted(fold.glob("training_log_*.txt"), key=lambda file: file.stat().st_mtime)
    assert "Epoch 0" not in [line.split(": ")[-1] for line in logs[-1].read_text().splitlines()], "it began anew"
    assert read_json(fold / "nnactive_member.json")["finished"]
    assert (fold / "progress.png").is_file()

    images = tmp_path / "images"
    images.mkdir()
    name = experiment.plan.test[0]
    image = experiment.source.cases[name].images[0]
    (images / image.name).write_bytes(image.read_bytes())
    out = tmp_path / "predicted"
    shell(
        f"nnUNetv2_predict -i {images} -o {out} -d 901 -c 3d_fullres -f 0 -tr nnActiveTrainer_4epochs -device cpu "
        "-npp 0 -nps 0 --disable_tta"
    )
    predicted = sitk.ReadImage(str(out / f"{name}.nii.gz"))
    assert predicted.GetSize() == sitk.ReadImage(str(image)).GetSize()

    query = "nnactive_query -d 901 -f 0 -device cpu --disable_progress_bar"
    with monkeypatch.context() as patch:
        copy_of(nnunet_folders, tmp_path / "copy", patch)
        shell(f"env OMP_NUM_THREADS=1 {query}")
        alone = (Experiment.find(901).raw / "loop_001.json").read_bytes()
    shell(f"env OMP_NUM_THREADS=2 {query}")
    assert (experiment.raw / "loop_001.json").read_bytes() == alone, "the number of threads changed the query"
    loop = read_json(experiment.raw / "loop_001.json")
    assert len(loop["patches"]) == 6
    assert loop["method"] == "clasp_pe"
    assert Experiment.find(901).state["cycle"] == 1


@pytest.mark.slow
def test_a_killed_run_leaves_no_training_behind_and_goes_on(shell, nnunet_folders):
    fold = _killed_run(shell)
    shell("nnactive_run -d 901 -device cpu --disable_progress_bar")
    experiment = Experiment.find(901)
    assert read_json(experiment.results / "cycle_000.json")["patches"] == 6
    # Continued, not begun anew.
    assert len([*fold.glob("training_log_*.txt")]) == 2
    assert "Epoch 0" in (experiment.results / "cycle_000" / "train_fold_0.log").read_text()


def _killed_run(shell) -> Path:
    """The folder of the fold that was trained when its run was killed."""
    phantom.main("-d 900 -n 8".split())
    plan.main(f"-d 900 -o 901 -tr nnActiveTrainer_4epochs_NoMirroring {PLAN.replace('-cycles 2', '-cycles 1')}".split())
    fold = Experiment.find(901).model_folder / "fold_0"
    run = shell("env nnactive_iterations_per_epoch=10 nnactive_run -d 901 -device cpu --disable_progress_bar", wait=False)
    _wait_for(fold / "checkpoint_latest.pth", run)
    held = FileLock(fold / LOCK)
    with pytest.raises(Timeout):
        held.acquire(timeout=0)
    run.kill()
    run.wait()
    held.acquire(timeout=20)  # the training has ended
    held.release()
    assert not (fold / "checkpoint_final.pth").is_file(), "it ended because it was done"
    return fold


def _wait_for(file: Path, process: subprocess.Popen, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not file.is_file():
        assert process.poll() is None, "the training ended by itself"
        assert time.monotonic() < end, f"no {file.name} after {seconds} s"
        time.sleep(0.05)
    time.sleep(0.3)  # let it be written whole


@pytest.mark.slow
@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_whole_runs(shell, nnunet_folders, configuration):
    phantom.main("-d 900 -n 8".split())
    plan.main(f"-d 900 -o 901 -c {configuration} -tr nnActiveTrainer_2epochs_NoMirroring {PLAN}".split())
    shell("nnactive_run -d 901 -device cpu --disable_progress_bar")
    experiment = Experiment.find(901)
    results = [read_json(experiment.results / f"cycle_00{i}.json") for i in range(2)]
    assert [result["patches"] for result in results] == [6, 12]


@pytest.mark.slow
def test_neither_threads_nor_parts_change_a_query(shell, nnunet_folders, tmp_path, monkeypatch):
    """Also with the real network in it, and images large enough for the engine to use its threads."""
    phantom.main("-d 900 -n 8".split())
    plan.main(f"-d 900 -o 901 -tr nnActiveTrainer_2epochs_NoMirroring {PLAN}".split())
    shell("nnactive_run -d 901 -device cpu --disable_progress_bar")
    shutil.rmtree(Experiment.find(901).results)

    def queried(name: str, *lines: str) -> bytes:
        with monkeypatch.context() as patch:
            copy_of(nnunet_folders, tmp_path / name, patch)
            for line in lines:
                shell(line)
            return (Experiment.find(901).raw / "loop_002.json").read_bytes()

    query = "nnactive_query -d 901 -f 0 1 -device cpu --disable_progress_bar"
    alone = queried("one", f"env OMP_NUM_THREADS=1 {query}")
    assert queried("two", f"env OMP_NUM_THREADS=2 {query}") == alone
    assert queried("parts", *(f"{query} -num_parts 3 -part_id {part}" for part in range(3)), query) == alone


@pytest.mark.slow
def test_regions(shell, nnunet_folders):
    """Region-based training: organ including lesion, and lesion alone."""
    phantom.main("-d 900 -n 8".split())
    file = nnunet_folders.raw / "Dataset900_Phantom" / "dataset.json"
    content = file.read_text()
    import json

    content = json.loads(content)
    content["labels"] = {"background": 0, "organ": [1, 3], "vessel": 2, "lesion": 3}
    content["regions_class_order"] = [1, 2, 3]
    file.write_text(json.dumps(content))
    plan.main(f"-d 900 -o 901 -tr nnActiveTrainer_2epochs_NoMirroring {PLAN}".split())
    shell("nnactive_run -d 901 -device cpu --disable_progress_bar")
    experiment = Experiment.find(901)
    assert set(read_json(experiment.results / "cycle_001.json")["dice_per_class"]) == {"organ", "vessel", "lesion"}
