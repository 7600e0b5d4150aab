"""What nnactive_plan, nnactive_status and nnactive_run print is typed into a shell, trainings included, for three experiments:
the default plans, those of a residual encoder, and the CPU preset."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
import SimpleITK as sitk
from folders import folders_below, set_folders
from printed import commands_in

from conftest import TINY
from nnactive_ext.cli import plan
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.result import read_results
from nnactive_ext.files import read_json

pytestmark = [pytest.mark.long, pytest.mark.skipif(os.name == "nt", reason="the commands are typed into sh")]
QUICK = {
    "nnactive_iterations_per_epoch": "1",
    "nnactive_val_iterations_per_epoch": "1",
    "nnactive_skip_validation": "1",
    "nnUNet_n_proc_DA": "0",
    "nnUNet_def_n_proc": "2",
}
PLAN = "-d 100 -patch_size 5 5 3 -query_size 4 -starting_budget 6 -cycles 2 -folds 2 -np 1 --disable_progress_bar"
PLAN += " -tr nnActiveTrainer_1epochs_NoMirroring"
KINDS = {"default": "-o 1101", "resenc": "-o 102 -pl nnUNetPlannerResEncM", "cpu": "-o 103 --preset cpu"}


@pytest.fixture(params=KINDS)
def experiment(request, built_once, nnunet_folders, tiny_template) -> SimpleNamespace:
    """A planned experiment in this test's own folders, and what planning printed."""

    def build(root: Path) -> None:
        with pytest.MonkeyPatch.context() as monkeypatch:
            shutil.copytree(tiny_template, set_folders(monkeypatch, root).raw / TINY)
            monkeypatch.setattr("nnactive_ext.nnunet.fingerprint._SAMPLES", 1e5)
            with redirect_stdout(StringIO()) as printed:
                plan.main(f"{PLAN} {KINDS[request.param]}".split())
        (root / "printed.txt").write_text(printed.getvalue())

    root = built_once(f"printed_{request.param}", build)
    for name in ("raw", "preprocessed"):
        shutil.copytree(getattr(folders_below(root), name), getattr(nnunet_folders, name), dirs_exist_ok=True)
    number = int(KINDS[request.param].split()[1])
    return SimpleNamespace(number=number, printed=(root / "printed.txt").read_text())


def typed(*lines: str, folder: Path | None = None) -> str:
    """What one shell prints that these lines are typed into; the first that fails ends it."""
    environment = {**os.environ, **QUICK, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("nnUNet_extTrainer", None)
    script = "\n".join(["set -e", *lines])
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, cwd=folder, timeout=1200)
    assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def test_step_by_step(experiment):
    lines = commands_in(experiment.printed.partition("step by step")[2].partition("Next:")[0])
    assert [line.split()[0] for line in lines] == ["eval", "nnUNetv2_train", "nnUNetv2_train", "nnactive_query"]
    typed(*lines)
    made = Experiment.find(experiment.number)
    loop = read_json(made.raw / "loop_001.json")
    assert (len(loop["patches"]), loop["members"], made.state["cycle"]) == (4, [0, 1], 1)
    (where,) = loop["environments"]
    assert where["device"] == "cpu"
    assert where["versions"] == loop["versions"]


def test_what_is_next_until_nothing_is(experiment, tmp_path):
    (run, *_) = commands_in(experiment.printed.partition("Next:")[2])
    printed = typed(run)
    made = Experiment.find(experiment.number)
    assert [result.environment.device for result in read_results(made.results)] == ["cpu", "cpu"]
    report = commands_in(printed.strip().splitlines()[-1])[0]
    lines = commands_in(typed(f"nnactive_status -d {experiment.number}"))
    assert report in lines
    assert [line.split()[0] for line in lines] == [
        *("eval", "nnUNetv2_predict", "nnactive_export_model_to_zip", "nnactive_export_labels"),
        *("nnactive_change", "nnactive_run", "nnactive_report"),
    ]
    case = made.source.cases[made.plan.test[0]]
    (tmp_path / "FOLDER").mkdir()
    for image in case.images:
        shutil.copy(image, tmp_path / "FOLDER")
    typed(*lines, folder=tmp_path)
    assert sitk.ReadImage(str(tmp_path / "PREDICTED" / case.label.name)).GetSize() == sitk.ReadImage(str(case.label)).GetSize()
    page = (made.results / "report.html").read_text(encoding="utf-8")
    for line in lines[2:4]:
        assert line in page
    assert (tmp_path / "model.zip").is_file()
    assert len(list((tmp_path / "labels").glob("*.nii.gz"))) == len(made.plan.pool)
    assert len(read_results(made.results)) == 3
