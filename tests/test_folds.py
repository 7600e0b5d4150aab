"""Members by their folds: numbers, and nnU-Net's ``all``."""

from __future__ import annotations

import pytest
import torch
from fake_members import FakeEnsemble, fake_train

from nnactive_ext.cli import query
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment import marks
from nnactive_ext.experiment.marks import ALL, MEMBER, marks_in
from nnactive_ext.files import read_json
from nnactive_ext.members.ensemble import check_members, fold_folder
from nnactive_ext.querying.query import query_cycle
from nnactive_ext.report.predictions import PastMembers


def asked(experiment, folds, **options):
    opened = []

    def open_ensemble(experiment, folds):
        opened.append(list(folds))
        return FakeEnsemble(experiment, classes=3)

    query_cycle(experiment, open_ensemble, folds, progress=False, **options)
    return opened


@pytest.mark.parametrize(
    ("words", "folds"), [("0 1", [0, 1]), ("all", ["all"]), ("2 all", [2, "all"]), ("0 0", [0, 0]), ("07", [7])]
)
def test_folds_are_read(words, folds):
    assert query.parser().parse_args(["-d", "1", "-f", *words.split()]).f == folds


@pytest.mark.parametrize("words", ["-1", "1.5", "ALL", "every", "0,1", ""])
def test_what_is_no_fold_is_refused(words, capsys):
    with pytest.raises(SystemExit):
        query.parser().parse_args(["-d", "1", "-f", *(words.split() or [""])])
    assert "fold" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("folds", "named"), [([3], "3"), ([0, 9], "9"), ([], "no fold"), ([1, 1], "twice"), ([ALL, ALL], "twice")]
)
def test_folds_that_cannot_be_are_refused_with_those_that_are(planned, folds, named):
    for fold in planned.folds():
        fake_train(planned, fold)
    with pytest.raises(NnActiveError, match=named) as caught:
        check_members(planned, folds)
    assert "0, 1, 2" in str(caught.value)


@pytest.mark.parametrize("folds", [[ALL, 0], [1, 2, ALL]])
def test_all_stands_alone(planned, folds):
    for fold in (*planned.folds(), ALL):
        fake_train(planned, fold)
    with pytest.raises(NnActiveError, match="alone"):
        asked(planned, folds)
    assert planned.last_loop == 0


def test_the_member_of_all_cases_answers_queries(planned):
    fake_train(planned, ALL)
    assert asked(planned, [ALL]) == [[ALL]]
    assert read_json(planned.raw / "loop_001.json")["members"] == [ALL]
    past = PastMembers.of(planned, 0)
    assert past.complete
    assert past.folds == {planned.model_folder: [ALL]}


def test_of_a_query_by_folds_the_member_of_all_cases_is_no_part(planned):
    for fold in (*planned.folds(), ALL):
        fake_train(planned, fold)
    asked(planned, planned.folds())
    assert PastMembers.of(planned, 0).folds == {planned.model_folder: [0, 1, 2]}


def test_another_training_of_all_outdates_candidates(planned):
    fake_train(planned, ALL)
    asked(planned, [ALL], parts=(0, 2))
    assert asked(planned, [ALL], parts=(1, 2)) == [[ALL]]
    fake_train(planned, ALL)
    assert asked(planned, [ALL]) == [[ALL]]  # nothing of the parts is taken


def test_it_trains_on_each_annotated_case_once(planned):
    fake_train(planned, ALL)
    annotated = sorted(case for case, counts in planned.state["annotated"].items() if counts)
    assert read_json(fold_folder(planned, ALL) / MEMBER)["cases"] == annotated
    assert marks.annotated_cases(planned.preprocessed.folder) == annotated
    assert len(annotated) < len(planned.plan.pool) or planned.plan.pool.keys() == set(annotated)


def test_a_dataset_that_is_no_experiment_has_no_annotated_cases(tmp_path):
    assert marks.annotated_cases(tmp_path) == []


def test_marks_come_in_order_and_other_folders_are_none(planned):
    for fold in (2, ALL, 0):
        fake_train(planned, fold)
    (planned.model_folder / "fold_new").mkdir()
    assert list(marks_in(planned.model_folder)) == [0, 2, ALL]


def test_the_trainer_splits_all_by_what_is_annotated(planned, monkeypatch):
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    from nnactive_ext.trainers.nnActiveTrainer import nnActiveTrainer

    looked_at = []
    monkeypatch.setattr(nnUNetTrainer, "do_split", lambda self: (["nnU-Net's"], ["its validation"]))
    monkeypatch.setattr(nnActiveTrainer, "_look_at", lambda self, cases: looked_at.extend(cases))
    made = object.__new__(nnActiveTrainer)
    made.preprocessed_dataset_folder_base = str(planned.preprocessed.folder)
    made.fold = "all"
    train, validate = made.do_split()
    assert train == validate == marks.annotated_cases(planned.preprocessed.folder)
    assert set(looked_at) == set(train)
    made.fold = 0
    assert made.do_split() == (["nnU-Net's"], ["its validation"])
    assert looked_at[-2:] == ["nnU-Net's", "its validation"]
    made.fold, made.preprocessed_dataset_folder_base = "all", str(planned.raw)
    assert made.do_split() == (["nnU-Net's"], ["its validation"])


def test_devices_are_told(planned):
    from nnactive_ext.members.ensemble import device_of

    ensemble = FakeEnsemble(planned)
    assert device_of(ensemble) == ""
    ensemble.device = torch.device("cuda:1")
    assert device_of(ensemble) == "cuda"
