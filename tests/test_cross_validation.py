"""Without a test set: members on annotated voxels of cases they were not trained on, by hand and in whole roll-outs."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import scripted_expert
from fake_members import FakeEnsemble, fake_tools, fake_train

from nnactive_ext.experiment import marks
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.marks import STATE, read_mark
from nnactive_ext.experiment.result import read_results
from nnactive_ext.files import read_json, write_json
from nnactive_ext.loop.cycles import run_cycles
from nnactive_ext.loop.tables import cycle_table, final_report
from nnactive_ext.members import cross_validation
from nnactive_ext.members.cross_validation import cross_validate, held_out_cases
from nnactive_ext.members.ensemble import fold_folder


@pytest.fixture
def untested(planned) -> Experiment:
    """The planned simulation without its test set."""
    return Experiment(planned.name, planned=replace(planned.plan, test=()))


def set_splits(experiment, splits) -> None:
    splits = [{"train": train.split(), "val": val.split()} for train, val in splits]
    write_json(experiment.preprocessed.folder / "splits_final.json", splits)


def annotate(experiment, labels: dict[str, dict[tuple[int, int, int], int]]) -> None:
    """Exactly these voxels, by case and place, and the state that counts them."""
    reader, ignore = experiment.dataset.reader_writer, experiment.dataset.labels.ignore
    counts: dict[str, dict[int, int]] = {}
    for case, voxels in labels.items():
        file = str(experiment.dataset.cases[case].label)
        array, properties = reader.read_seg(file)
        array = np.full(array[0].shape, ignore, np.uint8)
        for place, label in voxels.items():
            array[place] = label
            counts.setdefault(case, {}).setdefault(label, 0)
            counts[case][label] += 1
        reader.write_seg(array, file, properties)
    state = {"experiment": experiment.plan.experiment, "cycle": 0, "annotated": counts}
    write_json(experiment.preprocessed.folder / STATE, state)


def says(predictions: dict[tuple[str, int], dict[tuple[int, int, int], int]], monkeypatch) -> None:
    """The member of each fold predicts these labels in each case, background elsewhere, and knows no other case."""

    class Told:
        def __init__(self, experiment, open_ensemble):
            self.fold, self.shapes = open_ensemble(), experiment.plan.pool

        def __call__(self, patch):
            array = np.zeros(self.shapes[patch.case].shape, np.uint16)
            for place, label in predictions[patch.case, self.fold].items():
                array[place] = label
            return array[patch.slices]

    monkeypatch.setattr(cross_validation, "Predictor", Told)


def one_fold(folds):
    (fold,) = folds
    return fold


def test_by_hand(untested, monkeypatch):
    a, b = list(untested.plan.pool)[:2]
    set_splits(untested, [(b, a), (a, b)])
    organ, lesion, nothing = 1, 2, 0
    p = [(2, 3, x) for x in range(6)]
    annotate(
        untested,
        {a: {p[0]: organ, p[1]: organ, p[2]: nothing, p[3]: lesion}, b: {p[0]: organ, p[1]: nothing, p[4]: nothing}},
    )
    told = {
        (a, 0): {p[0]: organ, p[1]: lesion, p[4]: organ, p[5]: lesion, (9, 9, 9): organ},  # what is not annotated counts not
        (b, 1): {p[0]: organ, p[1]: organ, p[4]: organ},
    }
    says(told, monkeypatch)
    found = cross_validate(untested, one_fold, [0, 1], progress=False)
    # organ: TP 2, FP 2, FN 1; lesion: TP 0, FP 1, FN 1. The mean of the cases' Dice would be 0.58 for organ.
    assert found.dice_per_class == pytest.approx({"organ": 4 / 7, "lesion": 0})
    assert found.mean_dice == pytest.approx(2 / 7)
    assert found.voxels_per_class == {"organ": 3, "lesion": 1}
    assert (found.cases, found.folds, found.cases_left_out) == (2, 2, 0)


def test_what_is_neither_annotated_nor_predicted_has_no_dice(untested, monkeypatch):
    a, b = list(untested.plan.pool)[:2]
    set_splits(untested, [(b, a), (a, b)])
    annotate(untested, {a: {(0, 0, 0): 1}, b: {(0, 0, 0): 1}})
    says({(a, 0): {(0, 0, 0): 1, (0, 0, 1): 2}, (b, 1): {}}, monkeypatch)
    found = cross_validate(untested, one_fold, [0, 1], progress=False)
    assert found.dice_per_class == {"organ": pytest.approx(2 / 3), "lesion": None}
    assert found.mean_dice == pytest.approx(2 / 3)


def test_nothing_to_count_is_no_number(untested, monkeypatch):
    a, b = list(untested.plan.pool)[:2]
    both = f"{a} {b}"
    set_splits(untested, [(both, both), (both, both)])  # as nnU-Net's for too few cases
    annotate(untested, {a: {(0, 0, 0): 1}, b: {(0, 0, 0): 1}})
    says({}, monkeypatch)
    found = cross_validate(untested, one_fold, [0, 1], progress=False)
    assert found.mean_dice is None
    assert found.dice_per_class == {"organ": None, "lesion": None}
    assert (found.cases, found.folds, found.cases_left_out) == (0, 0, 2)


def test_cases_no_member_can_be_asked_about_are_left_out(untested):
    a, b, c, d, e, f = untested.plan.pool
    everything = {case: {(0, 0, 0): 1} for case in (a, b, c, d, e)}
    annotate(untested, everything)
    # Two members of three folds; d validates twice, e nowhere, b where it is also trained on; f is not annotated.
    set_splits(untested, [(f"{b} {c}", f"{a} {b} {d} {f}"), (f"{a}", f"{c} {d}"), (f"{a}", e)])
    held_out, left_out = held_out_cases(untested, [0, 1])
    assert held_out == {0: [a, d], 1: [c]}
    assert sorted(left_out) == [b, e]


def test_a_member_is_asked_about_nothing_it_was_trained_on_before_the_folds_changed(untested):
    a, b, c = list(untested.plan.pool)[:3]
    annotate(untested, {case: {(0, 0, 0): 1} for case in (a, b, c)})
    first = [(f"{b} {c}", a), (f"{a} {c}", b), (f"{a} {b}", c)]
    set_splits(untested, first)
    for fold in range(3):
        fake_train(untested, fold)
    assert held_out_cases(untested, range(3)) == ({0: [a], 1: [b], 2: [c]}, [])
    set_splits(untested, [first[1], first[0], first[2]])
    assert held_out_cases(untested, range(3)) == ({2: [c]}, [a, b])


def test_a_continued_training_saw_the_cases_of_both_folds(untested):
    a, b, c = list(untested.plan.pool)[:3]
    annotate(untested, {case: {(0, 0, 0): 1} for case in (a, b, c)})
    set_splits(untested, [(b, f"{a} {c}"), (f"{a} {c}", b)])
    folder, preprocessed = fold_folder(untested, 0), untested.preprocessed.folder
    folder.mkdir(parents=True)
    marks.begin(folder, preprocessed, continued=False).release()
    set_splits(untested, [(f"{c}", f"{a} {b}"), (f"{a} {b}", c)])
    marks.begin(folder, preprocessed, continued=True).release()
    assert read_mark(folder)["cases"] == sorted([b, c])
    assert held_out_cases(untested, [0]) == ({0: [a]}, [b, c])
    marks.begin(folder, preprocessed, continued=False).release()
    assert read_mark(folder)["cases"] == [c]


def test_reference_labels_are_not_read_and_each_member_is_opened_alone(untested):
    opened = []

    def open_ensemble(folds):
        opened.append(list(folds))
        return FakeEnsemble(untested, classes=3)

    for fold in untested.folds():
        fake_train(untested, fold)
    honest = cross_validate(untested, open_ensemble, untested.folds(), progress=False)
    assert opened == [[fold] for fold in untested.folds()]
    assert honest.cases == len(untested.state["annotated"])
    shutil.rmtree(untested.source.folder / "labelsTr")
    assert cross_validate(untested, open_ensemble, untested.folds(), progress=False) == honest


def test_the_real_predictor_in_every_box(untested, monkeypatch):
    """Members that know the one value of the image where it is brighter: their labels reach the annotated voxels."""

    class Bright(FakeEnsemble):
        def logits(self, image, case=""):
            import torch

            bright = image[0] > np.quantile(image[0], 0.97)
            yield "fold 0", torch.from_numpy(np.stack([~bright, np.zeros_like(bright), bright]).astype(np.float32))

    for fold in untested.folds():
        fake_train(untested, fold)
    found = cross_validate(untested, lambda folds: Bright(untested), untested.folds(), progress=False)
    assert found.dice_per_class["lesion"] > 0.4, "the lesion is the brightest"
    assert found.dice_per_class["organ"] == 0


def test_a_simulation_without_a_test_set(untested):
    made = fake_tools(classes=3)
    run_cycles(untested, made, progress=False, say=lambda text: None)
    last = read_results(untested.results)[-1]
    assert last.mean_dice is None
    assert last.nsd_per_class == {"organ": None, "lesion": None}
    assert last.cross_validation.cases + last.cross_validation.cases_left_out == last.annotated_cases
    assert last.cross_validation.cases > 0


def test_a_simulation_with_one_has_none(planned):
    run_cycles(planned, fake_tools(classes=3), progress=False, say=lambda text: None)
    assert all(result.cross_validation is None for result in read_results(planned.results))
    report = final_report(planned)
    assert "CV" not in report
    assert "NSD at" in report
    assert "HD95" in report


def test_in_a_rollout(tasks):
    """And the tables say what it is, also those of results from before there was any."""
    for task in tasks.seen:
        scripted_expert.in_place(task)
    tasks.hand_in()
    tasks.run()
    experiment = tasks.experiment
    (result,) = read_results(experiment.results)
    found = result.cross_validation
    assert found.cases == result.annotated_cases > 1
    assert found.voxels_per_class == {name: result.annotated_voxels_per_label[name] for name in ("organ", "lesion")}
    assert 0 <= found.mean_dice <= 1
    for text in (cycle_table(experiment), final_report(experiment)):
        assert "CV Dice" in text
        assert "cannot be compared" in " ".join(text.split())
        assert f"{100 * found.mean_dice:.1f}" in text
    file = experiment.results / "cycle_000.json"
    old = {
        key: value for key, value in read_json(file).items() if not key.startswith(("cross", "nsd", "hd95", "surface", "tol"))
    }
    write_json(file, old)
    assert "not comparable" not in cycle_table(experiment)
    assert "NSD" not in final_report(experiment)
