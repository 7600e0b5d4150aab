"""The crops of a report: what is around a queried patch, and what the members that chose it say, kept for the next time."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_experiment import Opened

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import loop_file
from nnactive_ext.experiment.marks import MEMBER
from nnactive_ext.experiment.plan import ALL_LABELS
from nnactive_ext.files import read_json, write_json
from nnactive_ext.geometry.patch import Patch, triple
from nnactive_ext.labelling.tasks import Task
from nnactive_ext.members.prediction import predict_box
from nnactive_ext.report import crops as module
from nnactive_ext.report.crops import _margin, gallery_crops, representative
from nnactive_ext.report.predictions import FIRST, NOT_ASKED, PastMembers
from nnactive_ext.report.section_gallery import spread_of


def crops(experiment, opened=None, device="cpu", **more):
    return gallery_crops(experiment, device, progress=False, opened=opened or Opened(), **{"per_cycle": 2, **more})


def files(experiment, cycle=0):
    return sorted((experiment.results / f"cycle_{cycle:03d}" / "gallery").glob("*.npz"))


def archived(experiment, cycle=0):
    return experiment.results / f"cycle_{cycle:03d}" / experiment.model_folder.name


def test_every_cycle_with_image_annotation_and_prediction(finished):
    opened = Opened()
    found = crops(finished, opened, per_cycle=100)
    assert {cycle: len(made) for cycle, made in found.items()} == {0: 6, 1: 4, 2: 4}
    dataset = finished.dataset
    for cycle, made in found.items():
        entries = read_json(loop_file(finished.raw, cycle))["patches"]
        assert [crop.patch.case + ".nii.gz" for crop in made] == [item["file"] for item in entries]
        assert [crop.score for crop in made] == [item.get("score") for item in entries]
        for crop in made:
            case = dataset.cases[crop.patch.case]
            image, properties = dataset.reader_writer.read_images([str(file) for file in case.images])
            labels = dataset.reader_writer.read_seg(str(case.label))[0][0]
            start = np.subtract(crop.patch.start, crop.box.start)
            place = tuple(slice(a, a + n) for a, n in zip(start, crop.space.shape, strict=True))
            np.testing.assert_array_equal(crop.image, image[0][place])
            np.testing.assert_array_equal(crop.annotation, labels[place])
            assert (crop.annotation[crop.box.slices] != crop.ignore).all(), "the whole patch is annotated"
            origin = properties["sitk_stuff"]["origin"]
            if not start.any():
                np.testing.assert_allclose(crop.space.origin, origin)
            shapes = {array.shape for array in (crop.image, crop.annotation, crop.prediction) if array is not None}
            assert shapes == {crop.space.shape}
            assert (crop.prediction is None, crop.uncertainty is None) == (cycle == 0, cycle == 0)
            assert crop.missing == (FIRST if cycle == 0 else "")
            if cycle:
                assert crop.uncertainty.dtype == np.float32
                assert 0 <= crop.uncertainty.min() <= crop.uncertainty.max() <= np.log(3) + 1e-3
    assert [folder for folder, _ in opened.calls] == [archived(finished, 0), archived(finished, 1)]
    assert spread_of(0, found[0]) is None
    assert spread_of(1, found[1]).patches == 4
    again = crops(finished, per_cycle=100, device=None)
    np.testing.assert_array_equal([crop.apart for crop in again[1]], [crop.apart for crop in found[1]])


def test_the_prediction_is_that_of_the_whole_crop(finished):
    crop = crops(finished, per_cycle=1)[1][0]
    start = triple(np.subtract(crop.patch.start, crop.box.start))
    image, grid = finished.preprocessed.load(crop.patch.case)
    window = finished.preprocessed.manager()[1].patch_size
    ensemble = Opened()(finished, [0], "cpu", archived(finished))
    expected = predict_box(ensemble, image, grid, Patch(crop.patch.case, start, crop.space.shape), window, None)
    np.testing.assert_array_equal(crop.prediction, expected)
    assert len(np.unique(expected)) > 1


def test_the_second_report_asks_no_member_and_is_the_same(finished):
    first, opened = crops(finished), Opened()
    second = crops(finished, opened)
    without = crops(finished, opened, device=None)
    assert not opened.calls
    for again in (second, without):
        for cycle, made in first.items():
            for one, other in zip(made, again[cycle], strict=True):
                assert one.missing == other.missing
                for name in ("prediction", "uncertainty"):
                    np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("damage", [b"", b"PK\3\4nonsense", "half", "middle"])
def test_a_damaged_file_is_computed_again(finished, damage):
    before = crops(finished)[1]
    file = files(finished)[0]
    content = file.read_bytes()
    if damage == "half":
        damage = content[: len(content) // 2]
    elif damage == "middle":
        damage = content[:300] + bytes(b ^ 255 for b in content[300:340]) + content[340:]
    file.write_bytes(damage)
    opened = Opened()
    after = crops(finished, opened)[1]
    assert len(opened.calls) == 1
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.prediction, other.prediction)
    with np.load(file) as mended:
        assert set(mended.files) == {"labels", "uncertainty", "apart", "trainings", "facts"}


def test_members_trained_anew_are_asked_anew(finished):
    crops(finished)
    mark = archived(finished) / "fold_0" / MEMBER
    write_json(mark, {**read_json(mark), "training": "another"})
    opened = Opened()
    crops(finished, opened)
    assert [folder for folder, _ in opened.calls] == [archived(finished)]


def test_deleted_members_are_said_to_be_missing(finished):
    (archived(finished) / "fold_0" / "checkpoint_final.pth").unlink()
    shutil.rmtree(archived(finished, 1))
    opened = Opened()
    found = crops(finished, opened)
    assert not opened.calls
    for cycle in (1, 2):
        assert {crop.missing for crop in found[cycle]} == {
            f"The members of cycle {cycle - 1}, which chose it, are not all there any more."
        }
        assert all(crop.prediction is None and crop.uncertainty is None for crop in found[cycle])


def test_what_deleted_members_said_is_kept(finished):
    before = crops(finished)
    shutil.rmtree(archived(finished))
    after = crops(finished)
    assert all(crop.missing == "" for crop in after[1])
    np.testing.assert_array_equal(before[1][0].prediction, after[1][0].prediction)


def test_members_in_two_folders_while_the_next_cycle_is_trained(finished):
    """As when it is stopped after its first fold: the second one's member is not put away yet."""
    last = finished.state["cycle"]
    model = finished.model_folder
    for fold in sorted(archived(finished, last - 1).glob("fold_*"))[1:]:
        shutil.rmtree(model / fold.name)
        shutil.move(fold, model / fold.name)
    found = PastMembers.of(finished, last - 1)
    assert found.complete
    assert [len(folds) for folds in found.folds.values()] == [1, len(finished.folds()) - 1]
    opened = Opened()
    assert all(crop.prediction is not None for crop in crops(finished, opened)[last])
    assert {folder for folder, _ in opened.calls if folder != archived(finished, 0)} == set(found.folds)


def test_a_fold_whose_folder_is_gone_is_missed(finished):
    (archived(finished) / "train_fold_0.log").parent.mkdir(exist_ok=True)
    for fold in (0, 1):
        (finished.results / "cycle_000" / f"train_fold_{fold}.log").write_text("")
    assert PastMembers.of(finished, 0).complete
    shutil.rmtree(archived(finished) / "fold_1")
    assert not PastMembers.of(finished, 0).complete


def test_without_a_device_nothing_is_predicted(finished):
    found = crops(finished, device=None)
    assert {crop.missing for crop in found[1]} == {NOT_ASKED}
    assert not files(finished)


def test_members_that_fail_are_asked_once(finished):
    asked = []

    def fails(*arguments):
        asked.append(arguments)
        raise NnActiveError("a member cannot be opened.\nDelete it.")

    found = crops(finished, fails)
    assert len(asked) == 2, "once a cycle"
    says = "The members of cycle 0, which chose it, could not predict it: a member cannot be opened."
    assert {crop.missing for crop in found[1]} == {says}


def test_no_reference_label_is_read(finished):
    before = crops(finished, per_cycle=3)
    shutil.rmtree(finished.source.folder / "labelsTr")
    after = crops(Experiment(finished.name), per_cycle=3)
    for cycle, made in before.items():
        for one, other in zip(made, after[cycle], strict=True):
            np.testing.assert_array_equal(one.annotation, other.annotation)
            assert (one.annotation == one.ignore).any()


def test_an_image_that_is_gone_is_named(finished):
    case = crops(finished, per_cycle=1)[0][0].patch.case
    file = finished.dataset.cases[case].images[0]
    os.remove(file)
    with pytest.raises(NnActiveError, match=file.name):
        crops(Experiment(finished.name))


def test_a_gone_label_file_is_no_annotation(finished):
    case = crops(finished, per_cycle=1)[1][0].patch.case
    finished.dataset.cases[case].label.unlink()
    found = [crop for made in crops(Experiment(finished.name)).values() for crop in made]
    assert all((crop.annotation is None) == (crop.patch.case == case) for crop in found)


def test_the_other_channel(finished):
    one, other = (crops(finished, per_cycle=1, channel=channel)[0][0] for channel in (0, 1))
    assert (one.image != other.image).any()


def test_a_rollout_whose_boxes_are_open(tasks):
    """Nobody has answered, nothing is trained: there is the image, and all around it nothing annotated."""
    (made,) = gallery_crops(tasks.experiment, "cpu", progress=False).values()
    assert len(made) == 7
    assert {crop.missing for crop in made} == {FIRST}
    assert all((crop.annotation == crop.ignore).all() for crop in made)
    assert {crop.stratum for crop in made} >= {"random", "marked: organ"}


def test_overlap_is_that_with_earlier_cycles(finished):
    file = loop_file(finished.raw, 2)
    content, before = read_json(file), read_json(loop_file(finished.raw, 1))["patches"]
    content["patches"][0].update(before[0])
    write_json(file, content)
    first, *others = crops(finished, per_cycle=4, device=None)[2]
    assert first.overlap == 1
    assert all(crop.overlap < 1 for crop in others)
    assert all(crop.overlap == 0 for crop in crops(finished, device=None)[0])


def test_crops_are_not_too_large():
    assert _margin((10, 24, 24)) == (10, 24, 24)
    for size in ((64, 64, 64), (4, 300, 300), (100, 100, 100)):
        margin = _margin(size)
        assert all(0.19 * n <= m <= n for m, n in zip(margin, size, strict=True))
    assert np.prod([n + 2 * m for n, m in zip((64, 64, 64), _margin((64, 64, 64)), strict=True)]) == pytest.approx(
        2**20, rel=0.1
    )


def test_large_crops_are_thinned_when_they_are_made(finished, monkeypatch):
    monkeypatch.setattr(module, "MOST_VOXELS", 50)
    monkeypatch.setattr(module, "_margin", lambda size: (1, 1, 1))
    monkeypatch.setattr(module, "KEPT_VOXELS", 600)  # of six crops: 100 each
    for crop in (crop for made in crops(finished).values() for crop in made):
        arrays = [a for a in (crop.image, crop.annotation, crop.prediction, crop.uncertainty) if a is not None]
        assert len(arrays) == (4 if crop.cycle else 2), "what is predicted is predicted before"
        assert {array.shape for array in arrays} == {crop.space.shape}
        assert np.prod(crop.space.shape) <= 100 < np.prod([n + 1 for n in crop.patch.size])
    assert files(finished)


@given(st.integers(0, 10_000))
def test_all_crops_together_are_bounded(number):
    each = module.most_voxels(number)
    assert module.MOST_VOXELS <= each <= 4 << 20
    assert each == module.MOST_VOXELS or each * number <= module.KEPT_VOXELS


def test_with_all_labels_nothing_was_queried(finished):
    whole = Experiment(finished.name, replace(finished.plan, purpose=ALL_LABELS))
    assert crops(whole) == {}


NAMES = st.sampled_from(["organ", "lesion", "all"])
TASKS = st.sampled_from([st.none(), st.integers(0, 50)]).flatmap(lambda s: st.lists(st.tuples(NAMES, s), max_size=25))
"""Strata and scores; a method gives all its patches a score or none."""


@given(TASKS, st.integers(0, 12))
def test_the_patches_shown(drawn, most):
    tasks = [
        Task(f"t{i}", 1, i, Patch("a", (i, 0, 0), (1, 1, 1)), stratum, None if score is None else float(score))
        for i, (stratum, score) in enumerate(drawn)
    ]
    shown = representative(tasks, most)
    assert len(shown) == min(most, len(tasks))
    assert [task.number for task in shown] == sorted({task.number for task in shown}), "in order, none twice"
    for stratum in {task.stratum for task in tasks}:
        members, chosen = ([task for task in some if task.stratum == stratum] for some in (tasks, shown))
        fair = most // len({task.stratum for task in tasks})
        assert len(chosen) >= min(len(members), fair), "no stratum is crowded out"
        if chosen and all(task.score is not None for task in members):
            assert max(task.score for task in chosen) == max(task.score for task in members)
        if len(chosen) > 1 and all(task.score is not None for task in members):
            assert min(task.score for task in chosen) == min(task.score for task in members)


def test_results_that_may_only_be_read_are_shown(finished):
    folder = finished.results / "cycle_000" / "gallery"
    folder.write_text("a file in the way, as good as no permission, which root always has")
    assert all(crop.prediction is not None for crop in crops(finished)[1])


def test_of_a_stratum_the_best_the_last_and_the_middle_are_shown():
    tasks = [
        Task(f"t{i}", 1, i, Patch("a", (i, 0, 0), (1, 1, 1)), "organ", score)
        for i, score in enumerate((1.0, 5.0, 3.0, 4.0, 2.0))
    ]
    assert [[task.number for task in representative(tasks, most)] for most in (1, 2, 3)] == [[1], [0, 1], [0, 1, 2]]
