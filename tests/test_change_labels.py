"""Classes of a roll-out change while it runs: every annotated voxel as worked out by hand, before and after the change."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import nrrd
import numpy as np
import pytest
import scripted_expert as expert
import SimpleITK as sitk
from disk_pages import noted
from fake_members import copy_of
from folders import quicken, set_folders
from open_tasks import POINTS
from rollouts import OPTIONS, Rollout, from_dataset

from nnactive_ext.cli import change, compare, report, status
from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.marking import marked
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.journal import JOURNAL
from nnactive_ext.experiment.marks import begin
from nnactive_ext.experiment.result import read_results
from nnactive_ext.files import read_json, write_json
from nnactive_ext.labelling.answers import CountingAnswers
from nnactive_ext.labelling.given import given_patches
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.tasks import Task, all_tasks
from nnactive_ext.loop.status import next_step
from nnactive_ext.members.ensemble import check_members, fold_folder

QUIET = "--disable_progress_bar"
BY_HAND = {
    "add vessel": (["background", "organ", "lesion", "vessel", "ignore"], [4, 1, 2, 4]),
    "add vessel from organ": (["background", "organ", "lesion", "vessel", "ignore"], [0, 4, 2, 4]),
    "rename lesion tumour": (["background", "organ", "tumour", "ignore"], [0, 1, 2, 3]),
    "merge organ lesion into tissue": (["background", "tissue", "ignore"], [0, 1, 1, 2]),
    "split organ into cortex medulla": (["background", "cortex", "lesion", "medulla", "ignore"], [0, 4, 2, 4]),
}
"""The classes after each change, and what the values 0, 1, 2 and 3 (ignore) of before are then."""
GIVEN = "tiny_6"
"""The case that a label map was given of."""


def painted(number: int, size: tuple[int, ...]) -> np.ndarray:
    """What the expert says about a patch: background, organ, lesion and some ignore, in another pattern for each task."""
    z, y, x = np.indices(size)
    return ((z + 2 * y + 3 * x + number) % 4).astype(np.uint8)


@dataclass
class Running:
    """A roll-out in its cycle 0, whose tasks are answered; the query of cycle 1 is made and its tasks are out in ``out``, the
    first of them answered."""

    rollout: Rollout
    out: Path

    @property
    def experiment(self) -> Experiment:
        return self.rollout.experiment

    @property
    def seen(self) -> list[expert.Seen]:
        return expert.look(self.out, self.rollout.label)

    def tasks(self, cycle: int) -> list[Task]:
        return [task for task in all_tasks(self.experiment) if task.cycle == cycle]

    def hand_in(self, *paths: Path, more: str = "", who: str = "anna") -> None:
        self.rollout.annotate(f"import {' '.join(map(str, paths))} -who {who} {QUIET} {more}")

    def change(self, words: str) -> None:
        change.main(["-d", "601", "-who", "boss", "-labels", *words.split(), QUIET])

    def labels(self, case: str) -> np.ndarray:
        return self.experiment.dataset.label_map(case)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.experiment.annotation)


def paint(task: expert.Seen, number: int, values: dict[int, int] | None = None, file: Path | None = None) -> Path:
    """Answers a task as :func:`painted` says; ``values``: what 0, 1, 2, 3 are in the task's own labels."""
    labels = np.full(task.truth.shape, task.names["ignore"], np.uint8)
    inside = painted(number, labels[task.box].shape)
    labels[task.box] = inside if values is None else np.vectorize(values.get)(inside)
    return task.write(labels, file)


@pytest.fixture(scope="module")
def template(tiny_template, planned_template, tmp_path_factory) -> SimpleNamespace:
    root = tmp_path_factory.mktemp("running")
    with pytest.MonkeyPatch.context() as patch:
        folders = set_folders(patch, root)
        quicken(patch, planned_template.preprocessed / "Dataset101_Tiny")
        rollout = from_dataset(tiny_template, root / "hospital")
        (maps := root / "maps").mkdir()
        shutil.copy(rollout.label(GIVEN), maps)
        rollout.plan(f"{OPTIONS} -label_maps {maps}")
        (root / "points.csv").write_text(POINTS)
        rollout.annotate(f"points {root / 'points.csv'} -who anna")
        for number, task in enumerate(rollout.export(root / "out0")):
            paint(task, number)
        rollout.annotate(f"import {root / 'out0'} -who anna {QUIET}")
        rollout.annotate(f"close -share 0 {QUIET}")
        experiment = rollout.experiment
        shutil.copy(experiment.raw / "dataset.json", experiment.preprocessed.folder)  # as nnU-Net's planner does
        rollout.run()
        rollout.export(root / "out")
        first = expert.look(root / "out", rollout.label)[0]
        rollout.annotate(f"import {paint(first, 100)} -who anna {QUIET}")
    return SimpleNamespace(folders=folders, rollout=rollout, root=root)


@pytest.fixture
def running(template, tmp_path, monkeypatch) -> Running:
    copy_of(template.folders, tmp_path, monkeypatch)
    shutil.copytree(template.root / "out0", tmp_path / "out0")
    return Running(template.rollout, Path(shutil.copytree(template.root / "out", tmp_path / "out")))


def expected(running: Running, case: str, table: list[int], answers: dict[str, np.ndarray]) -> np.ndarray:
    """The labels of a case from nothing but the given map, what was painted, and a ``table`` by hand."""
    ignore = table[3]
    shape = sitk.GetArrayFromImage(sitk.ReadImage(str(running.rollout.label(case)))).shape
    labels = np.full(shape, ignore)
    if case == GIVEN:
        labels = np.array(table)[sitk.GetArrayFromImage(sitk.ReadImage(str(running.rollout.label(case))))]
    for task in all_tasks(running.experiment):
        if task.patch.case == case and task.id in answers:
            inside = labels[task.patch.slices]
            inside[answers[task.id] != ignore] = answers[task.id][answers[task.id] != ignore]
    return labels


def answers_of_cycle_0(running: Running, table: list[int]) -> dict[str, np.ndarray]:
    return {task.id: np.array(table)[painted(n, task.patch.size)] for n, task in enumerate(running.tasks(0))}


@pytest.mark.parametrize("operation", BY_HAND)
def test_labels_voxel_for_voxel(running, operation, tmp_path):
    names, table = BY_HAND[operation]
    untouched = {file: file.read_bytes() for file in running.experiment.annotation.rglob("*.nii.gz")}
    first = running.ledger.folder.joinpath("ledger.jsonl").read_bytes()
    running.change(operation)

    experiment = running.experiment
    assert experiment.dataset.json["labels"] == {name: value for value, name in enumerate(names)}
    assert read_json(experiment.preprocessed.folder / "dataset.json")["labels"] == experiment.dataset.json["labels"]
    assert {file: file.read_bytes() for file in untouched} == untouched, "an answer was rewritten"
    assert running.ledger.folder.joinpath("ledger.jsonl").read_bytes().startswith(first)
    answers = answers_of_cycle_0(running, table)
    for case in experiment.plan.pool:
        np.testing.assert_array_equal(running.labels(case), expected(running, case, table, answers), err_msg=case)
        counts = {int(v): int((running.labels(case) == v).sum()) for v in range(table[3])}
        assert experiment.state["annotated"].get(case, {}) == {str(v): n for v, n in counts.items() if n}
        seg = _preprocessed(experiment, case)
        assert set(np.unique(seg)) <= {-1, *np.unique(running.labels(case)), *([0] if 0 in running.labels(case) else [])}

    # What was out with the earlier classes, and what is exported with the new ones.
    late = running.seen[1]
    running.hand_in(paint(late, 101))
    new = {old: (table[old] if table[old] != table[3] else table[1] if table[1] != table[3] else 1) for old in range(3)}
    running.rollout.annotate(f"export -o {tmp_path / 'new'} --blank {QUIET}")
    fresh = expert.look(tmp_path / "new", running.rollout.label)[2]
    assert list(fresh.names) == names
    running.hand_in(paint(fresh, 102, {**new, 3: table[3]}))
    tasks = running.tasks(1)
    answers |= {tasks[n].id: np.array(table)[painted(100 + n, tasks[n].patch.size)] for n in (0, 1)}
    answers[tasks[2].id] = np.array([*new.values(), table[3]])[painted(102, tasks[2].patch.size)]
    running.rollout.annotate(f"close -share 0 {QUIET}")
    for case in experiment.plan.pool:
        np.testing.assert_array_equal(running.labels(case), expected(running, case, table, answers), err_msg=case)
    running.rollout.run()
    assert running.experiment.state["cycle"] == 1
    assert read_results(running.experiment.results)[-1].cross_validation.dice_per_class.keys() == set(names) - {
        "background",
        "ignore",
    }


def _preprocessed(experiment: Experiment, case: str) -> np.ndarray:
    import blosc2

    return blosc2.open(urlpath=str(experiment.preprocessed.data_folder / f"{case}_seg.b2nd"), mode="r")[:]


def test_several_changes_one_after_the_other_and_from_a_file(running, tmp_path):
    """By hand: background is open; organ and lesion become tissue, then that is split and open too; nothing is left of cycle 0
    but what is answered anew."""
    file = tmp_path / "changes.toml"
    file.write_text('changes = ["add vessel from lesion", "rename organ liver"]')
    running.change(str(file))
    table = [0, 1, 4, 4]
    answers = answers_of_cycle_0(running, table)
    for case in running.experiment.plan.pool:
        np.testing.assert_array_equal(running.labels(case), expected(running, case, table, answers))
    running.change("merge liver vessel into tissue")
    table = [0, 1, 3, 3]
    answers = answers_of_cycle_0(running, table)
    for case in running.experiment.plan.pool:
        np.testing.assert_array_equal(running.labels(case), expected(running, case, table, answers))
    # An answer to the first export is mapped by both changes; one to an export in between by the second only.
    late = running.seen[1]
    running.hand_in(paint(late, 101))
    answer = CountingAnswers.of(running.ledger).counting(late.id)[0]
    np.testing.assert_array_equal(
        running.ledger.read_answer(answer.place), np.array(table)[painted(101, running.tasks(1)[1].patch.size)]
    )
    assert running.experiment.plan.label_version == 2
    assert [event["operations"] for event in running.ledger.events() if event["what"] == "labels"] == [
        ["add vessel from lesion", "rename organ liver"],
        ["merge liver vessel into tissue"],
    ]


def test_a_change_that_leaves_too_little_is_refused(running):
    """All that is annotated is organ: once that is split nothing is known."""
    for number, task in enumerate(expert.look(running.out.parent / "out0", running.rollout.label)):
        labels = np.full(task.truth.shape, 3, np.uint8)
        labels[task.box] = 1
        task.write(labels)
        running.hand_in(task.label)
        assert number < 99
    (running.experiment.annotation / "given" / f"{GIVEN}.nii.gz").unlink()
    before = running.experiment.plan
    with pytest.raises(SystemExit):
        running.change("split organ into cortex medulla")
    assert running.experiment.plan == before
    assert not (running.experiment.raw / JOURNAL).exists()


@pytest.mark.parametrize("words", ["add organ", "merge organ into x", "nothing.json", "split organ into organ x"])
def test_a_change_that_cannot_be_changes_nothing(running, words):
    """Nor does what was asked for with it."""
    before = running.experiment.plan, running.experiment.dataset.json
    with pytest.raises(SystemExit):
        running.change(f"{words} -cycles 9 -drop tiny_1")
    assert (running.experiment.plan, running.experiment.dataset.json) == before


def test_a_change_that_is_typed_again_is_made_once(running):
    running.change("add vessel")
    running.change("add vessel")
    assert running.experiment.plan.label_version == 1
    with pytest.raises(SystemExit):
        running.change("add organ")


def test_a_simulation_is_refused(planned, capsys):
    with pytest.raises(SystemExit):
        change.main(["-d", "101", "-who", "boss", "-labels", "add", "vessel"])
    assert "nnactive_plan" in capsys.readouterr().err
    assert not planned.plan.changes


def test_members_are_trained_anew_and_those_of_before_stay_usable(running):
    before = running.experiment
    folder = fold_folder(before, 0)
    write_json(before.model_folder / "dataset.json", {"labels": dict(before.dataset.labels.names)})
    write_json(before.model_folder / "plans.json", {})
    assert check_members(before, [0, 1])
    running.change("add vessel")
    with pytest.raises(NnActiveError, match="Train"):
        check_members(running.experiment, [0, 1])
    assert not folder.exists()
    archive = before.results / "cycle_000" / "labels_0" / before.model_folder.name
    assert (archive / "fold_0" / "checkpoint_final.pth").is_file()
    assert "vessel" not in read_json(archive / "dataset.json")["labels"]
    said: list[str] = []
    running.rollout.run(said.append)
    assert sum("training fold" in line for line in said) == 2
    assert check_members(running.experiment, [0, 1])
    assert "vessel" not in read_results(running.experiment.results)[0].cross_validation.dice_per_class


def test_a_member_whose_mark_was_left_is_refused(running):
    """As a copy of the fold's folder would be."""
    folder = fold_folder(running.experiment, 0)
    kept = shutil.copytree(folder, folder.parent.parent / "kept")
    running.change("merge organ lesion into tissue")
    shutil.copytree(kept, folder)
    with pytest.raises(NnActiveError, match="before the classes were changed"):
        check_members(running.experiment, [0])
    with pytest.raises(NnActiveError, match="before the classes were changed"):
        begin(folder, running.experiment.preprocessed.folder, continued=True)


def test_before_the_query_the_cycle_is_evaluated_again(running):
    """The result of the members of before is kept."""
    (running.experiment.raw / "loop_001.json").unlink()
    running.change("rename lesion tumour")
    running.rollout.run()
    results = running.experiment.results
    assert "tumour" in read_results(results)[0].cross_validation.dice_per_class
    assert "lesion" in read_json(results / "cycle_000" / "labels_0" / "cycle_000.json")["cross_validation"]["dice_per_class"]


def test_an_export_shows_what_is_open(running, tmp_path):
    running.change("add vessel")
    assert "export" in next_step(running.experiment), "the tasks that are out have the earlier classes"
    running.rollout.annotate(f"export -cycle 0 -o {tmp_path / 'again'} {QUIET}")
    for number, task in enumerate(expert.look(tmp_path / "again", running.rollout.label)):
        shown = sitk.GetArrayFromImage(task.shown)
        np.testing.assert_array_equal(shown[task.box], np.array([4, 1, 2, 4])[painted(number, shown[task.box].shape)])
        told = read_json(task.folder / "task.json")
        assert told["labels"] == {"background": 0, "organ": 1, "lesion": 2, "vessel": 3, "ignore": 4}
        assert told["label_version"] == 1
    assert "vessel" in (tmp_path / "again" / "labels.ctbl").read_text()


def test_a_folder_of_earlier_classes_is_not_written_over(running):
    """What is in it could no longer be understood."""
    before = {file: file.read_bytes() for file in running.out.rglob("*") if file.is_file()}
    running.change("rename lesion tumour")
    with pytest.raises(SystemExit):
        running.rollout.annotate(f"export -o {running.out} --blank {QUIET}")
    assert {file: file.read_bytes() for file in running.out.rglob("*") if file.is_file()} == before
    running.rollout.annotate(f"export --blank {QUIET}")
    assert (running.experiment.raw / "tasks" / "cycle_001_labels_1" / "index.html").is_file()
    assert "annotate the tasks" in next_step(running.experiment)


class TestFilesFromBefore:
    def test_by_names(self, running):
        """As 3D Slicer saves: a segment whose name is another class's today."""
        task = running.seen[1]
        running.change("rename organ vessel")
        running.change("rename lesion organ")
        expert.seg_nrrd(task, np.random.default_rng(0))
        running.hand_in(task.folder / f"{task.id}.seg.nrrd", more="--accept_unchanged")
        (answer,) = CountingAnswers.of(running.ledger).counting(task.id)
        np.testing.assert_array_equal(running.ledger.read_answer(answer.place), task.truth[task.box])
        names = {value: name for name, value in running.experiment.dataset.labels.names.items()}
        assert (names[1], names[2]) == ("vessel", "organ")

    def test_in_a_folder_that_the_task_was_exported_to_once(self, running, tmp_path):
        """There is no task.json beside it, but it cannot come from another export."""
        task = running.seen[1]
        running.change("add vessel")
        file = paint(task, 7, file=tmp_path / f"{task.id}_anna.nii.gz")
        running.hand_in(file)
        (answer,) = CountingAnswers.of(running.ledger).counting(task.id)
        size = running.tasks(1)[1].patch.size
        np.testing.assert_array_equal(running.ledger.read_answer(answer.place), np.array([4, 1, 2, 4])[painted(7, size)])

    def test_nothing_tells_with_which_classes(self, running, tmp_path, capsys):
        task = running.seen[1]
        running.change("add vessel")
        running.rollout.annotate(f"export -o {tmp_path / 'new'} --blank {QUIET}")
        file = paint(task, 7, file=tmp_path / f"{task.id}.nii.gz")
        with pytest.raises(SystemExit):
            running.hand_in(file)
        assert "-label_version 1" in capsys.readouterr().err
        assert not CountingAnswers.of(running.ledger).counting(task.id)
        size = running.tasks(1)[1].patch.size
        for version, table in ((0, [4, 1, 2, 4]), (1, [0, 1, 2, 3])):
            # By the later classes, what was ignore around the patch is vessel.
            running.hand_in(file, more=f"-label_version {version} --accept_outside")
            (answer,) = CountingAnswers.of(running.ledger).counting(task.id)
            np.testing.assert_array_equal(running.ledger.read_answer(answer.place), np.array(table)[painted(7, size)])
        with pytest.raises(SystemExit):
            running.hand_in(file, more="-label_version 2")

    @pytest.mark.parametrize(("version", "table"), [(0, [4, 1, 2, 4]), (1, [0, 1, 2, 3])])
    def test_a_download_tells_with_which_classes(self, running, tmp_path, version, table):
        """There is no task.json in a folder for downloads; the page wrote it into the file."""
        task = running.seen[1]
        running.change("add vessel")
        running.rollout.annotate(f"export -o {tmp_path / 'new'} --blank {QUIET}")
        file = paint(task, 7, file=tmp_path / f"{task.id}_20260131T140502Z.nii.gz")
        running.hand_in(noted(file, f"nnactive labels={version} seconds=5 page=ab12"), more="--accept_outside")
        (answer,) = CountingAnswers.of(running.ledger).counting(task.id)
        size = running.tasks(1)[1].patch.size
        np.testing.assert_array_equal(running.ledger.read_answer(answer.place), np.array(table)[painted(7, size)])

    def test_a_download_with_classes_that_never_were(self, running, tmp_path):
        task = running.seen[1]
        running.change("add vessel")
        file = paint(task, 7, file=tmp_path / f"{task.id}.nii.gz")
        with pytest.raises(SystemExit):
            running.hand_in(noted(file, "nnactive labels=2 seconds=5 page=ab12"))
        assert not CountingAnswers.of(running.ledger).counting(task.id)

    def test_a_task_with_labels_that_never_were(self, running):
        task = running.seen[1]
        running.change("add vessel")
        told = read_json(task.folder / "task.json")
        write_json(task.folder / "task.json", {**told, "labels": {"background": 0, "lesion": 1, "organ": 2, "ignore": 3}})
        with pytest.raises(SystemExit):
            running.hand_in(paint(task, 7))
        assert not CountingAnswers.of(running.ledger).counting(task.id)

    def test_of_a_version_that_wrote_no_number(self, running):
        """An experiment and its exports made before classes could be changed."""
        task = running.seen[1]
        told = read_json(task.folder / "task.json")
        del told["label_version"]
        write_json(task.folder / "task.json", told)
        running.change("split organ into cortex medulla")
        running.hand_in(paint(task, 7))
        (answer,) = CountingAnswers.of(running.ledger).counting(task.id)
        size = running.tasks(1)[1].patch.size
        np.testing.assert_array_equal(running.ledger.read_answer(answer.place), np.array([0, 4, 2, 4])[painted(7, size)])


def test_several_answers_and_withdrawals(running):
    """Each answer is mapped by the changes after it; one that is taken back uncovers one from before."""
    task = running.seen[0]
    running.hand_in(paint(task, 5, file=task.folder / f"{task.id}_bert.nii.gz"), who="bert")
    running.change("add vessel")
    counted = CountingAnswers.of(running.ledger)
    by = {answer.who: answer for answer in counted.answers[task.id]}
    size = running.tasks(1)[0].patch.size
    for who, number in (("anna", 100), ("bert", 5)):
        open_ones = int(np.isin(painted(number, size), (0, 3)).sum())
        assert by[who].unsure == open_ones
    running.rollout.annotate(f"withdraw {task.id} -who bert {QUIET}")
    running.rollout.annotate(f"withdraw {task.id} -who anna {QUIET}")
    assert not CountingAnswers.of(running.ledger).counting(task.id)


def test_given_label_maps_of_cases_that_were_added_after_a_change(running, tiny_template, tmp_path):
    """They have the classes of today; those from the start are mapped."""
    running.change("split organ into cortex medulla")
    images, maps = tmp_path / "images", tmp_path / "maps"
    images.mkdir()
    maps.mkdir()
    for channel, name in enumerate(("T1", "T2")):
        shutil.copy(tiny_template / "imagesTr" / f"tiny_0_{channel:04d}.nii.gz", images / f"new_{name}.nii.gz")
    truth = sitk.ReadImage(str(running.rollout.label("tiny_0")))
    array = np.array([0, 3, 2], np.uint8)[sitk.GetArrayFromImage(truth)]
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(truth)
    sitk.WriteImage(image, str(maps / "new.nii.gz"))
    change.main(["-d", "601", "-who", "boss", "-add", str(images), "-label_maps", str(maps), QUIET])
    np.testing.assert_array_equal(running.labels("new"), array)
    running.change("rename medulla pith")
    np.testing.assert_array_equal(running.labels("new"), array)
    running.change("merge cortex lesion into one")
    np.testing.assert_array_equal(running.labels("new"), np.array([0, 0, 1, 2])[array])
    assert {patch.case for patch in given_patches(running.experiment)} == {"new"}, "what is open can be asked for"


def test_marked_points_follow_their_class(rollout, tmp_path):
    rollout.plan()
    points = tmp_path / "points.csv"
    points.write_text(POINTS)
    rollout.annotate(f"points {points} -who anna")
    change.main(["-d", "601", "-who", "boss", "-labels", "rename", "organ", "liver", QUIET])
    assert marked(rollout.experiment)["liver"][0] == 2
    labels = [rollout.experiment.dataset.label_map(case) for case in rollout.experiment.plan.pool]
    assert all((array == 3).all() for array in labels)
    change.main(["-d", "601", "-who", "boss", "-labels", "add", "vessel", QUIET])
    labels = [rollout.experiment.dataset.label_map(case) for case in rollout.experiment.plan.pool]
    assert all((array == 4).all() for array in labels)
    before = len(all_tasks(rollout.experiment))
    rollout.annotate(f"points {_with(points, 'organ', 'liver')} -who anna")
    assert len(all_tasks(rollout.experiment)) == before, "points that were there are marked again"
    assert marked(rollout.experiment) == {"liver": (2, 1), "lesion": (3, 1), "vessel": (0, 1)}


def _with(points: Path, old: str, new: str) -> Path:
    file = points.with_name("renamed.csv")
    file.write_text(points.read_text().replace(old, new))
    return file


def test_status_report_and_comparison_tell_it(running, tmp_path, capsys):
    running.change("rename lesion tumour")
    running.change("add vessel from organ")
    capsys.readouterr()
    status.main(["-d", "601"])
    text = capsys.readouterr().out
    assert "rename lesion tumour" in text
    assert "export -d 601 -cycle 0" in text
    status.main(["-d", "601", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert list(found["labels"]) == ["background", "organ", "tumour", "vessel", "ignore"]
    assert {row["status"] for row in found["tasks"][0]["tasks"]} == {"partial"}
    assert found["classes"].keys() >= {"organ", "tumour", "vessel"}
    assert "lesion" not in found["classes"]

    report.main(["-d", "601", "-o", str(tmp_path / "report.html"), "-patches", "0", "-device", "none", QUIET])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "nnactive_change -d 601 -labels add vessel from organ" in page
    assert "--labels organ lesion" in page, "the command that plans it again has the classes of then"

    with pytest.raises(SystemExit):
        compare.main(["-d", "601", "-o", str(tmp_path / "comparison")])
    text = capsys.readouterr().err
    assert "background" not in text
    assert "organ, lesion, ignore" in text
    assert "organ, tumour, vessel, ignore" in text


@pytest.mark.parametrize("cycle", [0, 1])
def test_a_task_that_is_completed_is_done_again(running, tmp_path, cycle):
    """What was open is labelled in the folder of a new export."""
    running.change("add vessel")
    running.rollout.annotate(f"export -cycle {cycle} -o {tmp_path / 'again'} --blank {QUIET}")
    task = expert.look(tmp_path / "again", running.rollout.label)[0]
    labels = sitk.GetArrayFromImage(task.shown)
    inside = labels[task.box]
    inside[inside == 4] = 3
    task.write(labels)
    running.hand_in(task.label)
    assert CountingAnswers.of(running.ledger).status(task.id) == "done"
    if cycle == 0:
        patch = running.tasks(0)[0].patch
        np.testing.assert_array_equal(running.labels(patch.case)[patch.slices], inside)


def test_mitk_lets_open_voxels_be_painted(running, tmp_path):
    running.change("add vessel")
    running.rollout.annotate(f"export -cycle 0 -o {tmp_path / 'again'} {QUIET}")
    task = expert.look(tmp_path / "again", running.rollout.label)[0]
    header = nrrd.read_header(str(task.folder / "mitk_start.nrrd"))
    groups = json.loads(header["org.mitk.multilabel.segmentation.labelgroups"])
    assert not any(label["locked"] for label in groups[0]["labels"])
