"""A test set in imagesTs and labelsTs is checked, evaluated, compared and reported, and its labels reach nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import report_experiment
import SimpleITK as sitk
from fake_members import FakeEnsemble

from nnactive_ext.cli import compare, plan, report
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.result import read_results
from nnactive_ext.members.evaluation import evaluate

PLAN = "-patch_size 5 5 3 -query_size 4 -starting_budget 6 -cycles 2 -folds 2 --preset cpu -np 1 --disable_progress_bar"
HELD_OUT = ("tiny_3", "tiny_6")


def with_test_folder(dataset: Path) -> Path:
    for part in ("images", "labels"):
        (dataset / f"{part}Ts").mkdir()
        for case in HELD_OUT:
            for file in sorted((dataset / f"{part}Tr").glob(f"{case}*")):
                file.rename(dataset / f"{part}Ts" / file.name)
    return dataset


@pytest.fixture
def source(tiny) -> Path:
    return with_test_folder(tiny)


def made(number: int, more: str = "", name: str = "Folder", dataset: int = 100) -> Experiment:
    plan.main(f"-d {dataset} -o {number} -name {name} {PLAN} {more}".split())
    return Experiment.find(number)


def test_the_pool_is_all_of_imagestr_and_the_test_set_is_evaluated(source, quick_planning):
    experiment = made(902)
    assert experiment.plan.test == HELD_OUT
    assert sorted(experiment.plan.pool) == [f"tiny_{i}" for i in range(8) if f"tiny_{i}" not in HELD_OUT]
    assert set(experiment.dataset.cases) == set(experiment.plan.pool), "nnU-Net never sees the test cases"
    assert [case.label.parent.name for case in experiment.test_cases()] == ["labelsTs", "labelsTs"]

    class Perfect(FakeEnsemble):
        def segment(self, case, inference=None) -> np.ndarray:
            return sitk.GetArrayFromImage(sitk.ReadImage(str(source / "labelsTs" / f"{case.name}.nii.gz")))

    found = evaluate(experiment, lambda folds: Perfect(experiment), experiment.folds(), progress=False)
    assert set(found.dice_per_case) == set(HELD_OUT)
    assert found.mean_dice == 1


@pytest.mark.slow
def test_report_and_comparison_find_the_test_cases(source, quick_planning, tmp_path):
    for number, method in ((902, "random"), (903, "predictive_entropy")):
        start = f"-start_from {Experiment.find(902).raw / 'loop_000.json'}" if number == 903 else ""
        report_experiment.run(made(number, f"--method {method} {start}", name=f"Folder{number}"))
        assert all(set(result.dice_per_case) == set(HELD_OUT) for result in read_results(Experiment.find(number).results))
    report.main(["-d", "902", "-o", str(tmp_path / "r.html"), "-device", "none", "--disable_progress_bar"])
    assert "of imagesTs" in (tmp_path / "r.html").read_text(encoding="utf-8")
    compare.main(["-d", "902", "903", "-o", str(tmp_path / "compared")])
    assert (tmp_path / "compared" / "comparison.md").is_file()


def test_a_damaged_test_case_is_found_before_anything_is_made(source, quick_planning, capsys, nnunet_folders):
    file = source / "labelsTs" / f"{HELD_OUT[1]}.nii.gz"
    image = sitk.ReadImage(str(file))
    sitk.WriteImage(image + 5, str(file))
    with pytest.raises(SystemExit):
        made(902)
    assert str(file) in capsys.readouterr().err
    assert not list(nnunet_folders.raw.glob("Dataset902*"))


def test_a_test_label_that_went_away_is_told_by_its_evaluation(source, quick_planning):
    experiment = made(902)
    (source / "labelsTs" / f"{HELD_OUT[0]}.nii.gz").unlink()
    with pytest.raises(Exception, match=HELD_OUT[0]):
        evaluate(Experiment.find(902), lambda folds: FakeEnsemble(experiment, 3), experiment.folds(), progress=False)


def test_labels_that_came_later_do_not_change_an_experiment(source, quick_planning, tmp_path):
    shutil.move(source / "labelsTs", tmp_path / "hidden")
    experiment = made(902)
    assert set(experiment.plan.test).isdisjoint(HELD_OUT)
    shutil.move(tmp_path / "hidden", source / "labelsTs")
    again = Experiment.find(902)
    assert [case.name for case in again.test_cases()] == list(experiment.plan.test)
    assert [case.label.parent.name for case in again.test_cases()] == ["labelsTr"] * len(experiment.plan.test)


def test_labels_of_the_test_set_reach_nothing_but_the_evaluation(source, quick_planning, nnunet_folders):
    honest = made(902)
    other = Path(shutil.copytree(source, nnunet_folders.raw / "Dataset110_Tiny"))
    rng = np.random.default_rng(0)
    for case in HELD_OUT:
        image = sitk.ReadImage(str(other / "labelsTs" / f"{case}.nii.gz"))
        array = sitk.GetArrayFromImage(image)
        lies = sitk.GetImageFromArray(rng.integers(0, 3, array.shape).astype(array.dtype))
        lies.CopyInformation(image)
        sitk.WriteImage(lies, str(other / "labelsTs" / f"{case}.nii.gz"))
    poisoned = made(903, dataset=110)
    for file in ("loop_000.json", *(f"labelsTr/{case}.nii.gz" for case in honest.plan.pool)):
        assert (honest.raw / file).read_bytes() == (poisoned.raw / file).read_bytes(), file
    for file in ("dataset_fingerprint.json", "splits_final.json"):
        assert (honest.preprocessed.folder / file).read_bytes() == (poisoned.preprocessed.folder / file).read_bytes(), file
    plans = [json.loads((e.raw / "nnactive_plan.json").read_text()) for e in (honest, poisoned)]
    for content in plans:
        for key in ("experiment", "dataset", "source"):
            del content[key]
    assert plans[0] == plans[1]
    dice = [
        evaluate(e, lambda folds, e=e: FakeEnsemble(e, 3), e.folds(), progress=False).dice_per_case for e in (honest, poisoned)
    ]
    assert dice[0] != dice[1], "the poison did not reach the evaluation"
