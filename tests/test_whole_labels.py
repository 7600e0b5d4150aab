"""Labels of whole images: what experts said is kept, the rest is predicted, and all lies on the voxels of the users' files."""

from __future__ import annotations

import csv
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from fake_members import FakeEnsemble, fake_tools, fake_train
from printed import understood

from nnactive_ext.cli import export_labels as command
from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.own_file import OwnFile
from nnactive_ext.exchange.whole_labels import Asked, export_labels
from nnactive_ext.experiment.blocks import BLOCKS_FILE, BlockTable
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.plan import Geometry, Plan
from nnactive_ext.experiment.pseudonyms import pseudonyms
from nnactive_ext.files import read_json, write_json
from nnactive_ext.geometry.axes import Turn, align
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.dicom_segmentation import read_segmentation
from nnactive_ext.images.dicom_writing import segmentation_written
from nnactive_ext.images.headers import PLAIN, REORIENTING
from nnactive_ext.images.volumes import Block
from nnactive_ext.loop.cycles import run_cycles

WORDS = "--disable_progress_bar -device cpu"


@pytest.fixture
def trained(planned, monkeypatch) -> Experiment:
    """A simulation with members of cycle 0 that cost nothing; ``opened`` counts how often they were opened."""
    for fold in planned.folds():
        fake_train(planned, fold)

    def opened(experiment, folds, device):
        opened.times += 1
        return FakeEnsemble(experiment)

    opened.times = 0
    monkeypatch.setattr("nnactive_ext.members.ensemble.NnUNetEnsemble", opened)
    planned.__dict__["opened"] = opened
    return planned


def read(file: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))


def geometry(file: Path) -> tuple:
    image = sitk.ReadImage(str(file))
    return image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection()


def typed(line: str) -> None:
    command.main([*line.split(), *WORDS.split()])


def refused(line: str, capsys) -> str:
    with pytest.raises(SystemExit) as ended:
        typed(line)
    assert ended.value.code == 1
    return capsys.readouterr().err


def test_annotated_voxels_are_kept_and_the_others_predicted(trained, tmp_path, capsys):
    typed(f"-d 101 -o {tmp_path}/labels")
    assert f"{len(trained.plan.pool)} images" in capsys.readouterr().out
    rows = {row["case"]: row for row in csv.DictReader((tmp_path / "labels" / "labels.csv").open())}
    assert list(rows) == list(trained.plan.pool)
    seen = 0
    for name in trained.plan.pool:
        case = trained.dataset.cases[name]
        known, predicted = trained.dataset.label_map(name), FakeEnsemble(trained).segment(case)
        file = tmp_path / "labels" / f"{name}.nii.gz"
        assert geometry(file) == geometry(case.images[0]) == geometry(file.parent / "from_expert" / file.name)
        np.testing.assert_array_equal(read(file), np.where(known == 3, predicted, known))
        np.testing.assert_array_equal(read(file.parent / "from_expert" / file.name), known != 3)
        assert int(rows[name]["voxels_from_expert"]) == (known != 3).sum()
        assert int(rows[name]["organ_from_expert"]) == (known == 1).sum()
        assert int(rows[name]["organ_predicted"]) == ((predicted == 1) & (known == 3)).sum()
        seen += (known != 3).sum()
    assert seen, "nothing is annotated"
    described = read_json(tmp_path / "labels" / "dataset.json")
    assert described["labels"] == {"background": 0, "organ": 1, "lesion": 2}
    typed(f"-d 101 -o {tmp_path}/labels")
    assert "0 of them now" in capsys.readouterr().out
    assert trained.opened.times == 1


def test_parts_and_what_was_stopped_come_to_the_same(trained, tmp_path, capsys):
    typed(f"-d 101 -o {tmp_path}/whole")
    for part in (1, 0):
        typed(f"-d 101 -o {tmp_path}/parts -num_parts 2 -part_id {part}")
    assert not (tmp_path / "parts" / "labels.csv").exists()
    (again,) = set(understood(capsys.readouterr().out))
    first = next(iter(trained.plan.pool))
    (tmp_path / "parts" / f"{first}.nii.gz").unlink()  # as when it was killed after the record
    typed(again.partition(" ")[2])
    assert "1 of them now" in capsys.readouterr().out
    files = sorted(file.relative_to(tmp_path / "whole") for file in (tmp_path / "whole").rglob("*") if file.is_file())
    assert files == sorted(file.relative_to(tmp_path / "parts") for file in (tmp_path / "parts").rglob("*") if file.is_file())
    assert len(files) == 3 * len(trained.plan.pool) + 2
    for file in files:
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "parts" / file).read_bytes(), file


def test_a_label_map_that_was_corrected_is_not_written_over(trained, tmp_path, capsys):
    typed(f"-d 101 -o {tmp_path}/labels")
    case = next(iter(trained.plan.pool))
    file = tmp_path / "labels" / f"{case}.nii.gz"
    image = sitk.ReadImage(str(file))
    image[0, 0, 0] = 2
    sitk.WriteImage(image, str(file))
    before = file.read_bytes()
    assert f"{file}: was changed since it was written" in refused(f"-d 101 -o {tmp_path}/labels", capsys)
    assert file.read_bytes() == before
    other = tmp_path / "other"
    other.mkdir()
    (other / f"{case}.nii.gz").write_bytes(before)
    assert "is not of this command" in refused(f"-d 101 -o {other}", capsys)


def test_what_cannot_be_labelled_is_refused(trained, tmp_path, capsys):
    assert "-part_id 2" in refused(f"-d 101 -o {tmp_path}/labels -num_parts 2 -part_id 2", capsys)
    assert "--pseudonyms" in refused(f"-d 101 -o {tmp_path}/labels --pseudonyms -dicom {tmp_path}", capsys)
    (tmp_path / "file").touch()
    assert "a file has the name" in refused(f"-d 101 -o {tmp_path}/file", capsys)
    table = BlockTable({next(iter(trained.plan.pool)): Block(tmp_path / "brain.ome.zarr", (0, 0, 0), (8, 8, 8))})
    write_json(trained.raw / BLOCKS_FILE, table.content())
    message = refused(f"-d 101 -o {tmp_path}/labels", capsys)
    assert understood(message)[0].startswith(f"nnactive_predict_blocks -d 101 -i {tmp_path}/brain.ome.zarr")
    (trained.raw / BLOCKS_FILE).unlink()
    (trained.model_folder / "fold_1" / "checkpoint_final.pth").unlink()
    assert "no trained member" in refused(f"-d 101 -o {tmp_path}/labels", capsys)
    assert not (tmp_path / "labels").exists()


def answered(tasks) -> Experiment:
    from scripted_expert import in_place

    for task in tasks.seen:
        in_place(task)
    tasks.hand_in(more="--accept_unchanged")
    with tasks.experiment.lock():
        run_cycles(tasks.experiment, fake_tools(classes=3), progress=False, say=lambda text: None)
    return tasks.experiment


@pytest.mark.slow
def test_a_rollout_keeps_the_answers_of_now_and_pseudonyms(tasks, tmp_path):
    experiment = answered(tasks)
    folds = experiment.folds()

    def export(folder: str, private: bool = False) -> str:
        asked = Asked(Experiment.find(601), folds, tmp_path / folder, private)
        return export_labels(asked, lambda: FakeEnsemble(experiment), progress=False)

    assert "8 images" in export("labels")
    task = next(task for task in tasks.seen if tasks.counted(task) is not None and (tasks.counted(task) > 0).any())
    patch = tasks.patch(task)
    kept = read(tmp_path / "labels" / "from_expert" / f"{patch.case}.nii.gz")
    assert kept[patch.slices].all()
    file = tmp_path / "labels" / f"{patch.case}.nii.gz"
    np.testing.assert_array_equal(read(file)[patch.slices], tasks.counted(task))
    assert geometry(file) == geometry(tasks.images / f"{patch.case}_T1.nii.gz")
    tasks.annotate(f"withdraw {task.id} -who anna")
    assert "1 of them now" in export("labels")
    assert not read(tmp_path / "labels" / "from_expert" / f"{patch.case}.nii.gz")[patch.slices].all()

    export("private", private=True)
    given = pseudonyms(experiment.annotation)
    for written in (tmp_path / "private").rglob("*"):
        assert "tiny" not in written.name.lower().replace("dataset", "")
        if written.suffix in (".csv", ".json") and written.name != "dataset.json":
            assert not [case for case in given if case in written.read_text()]
    np.testing.assert_array_equal(read(tmp_path / "private" / f"{given[patch.case]}.nii.gz"), read(file))
    with pytest.raises(NnActiveError, match="the names of cases"):
        export("labels", private=True)
    with pytest.raises(NnActiveError, match="pseudonyms"):
        export("private")


def stored_as(folder: Path, code: str) -> tuple[Path, np.ndarray]:
    """An oblique image whose voxels are all different, stored as ``code``."""
    voxels = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)
    image = Space((3, 4, 5), (0.8, 1.2, 2.5), (-50.0, 30.25, 7.0), (1, 0, 0, 0, 0.96, -0.28, 0, 0.28, 0.96)).image(voxels)
    image = sitk.DICOMOrient(image, code)
    sitk.WriteImage(image, str(folder / f"{code}_0000.nii.gz"))
    return folder / f"{code}_0000.nii.gz", sitk.GetArrayFromImage(image)


def holding(nnunet_folders, file: Path, reader: str, turned: dict[str, Turn]) -> Experiment:
    """An experiment that has one image only."""
    raw = nnunet_folders.raw / "Dataset777_One"
    raw.mkdir(exist_ok=True)
    content = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "a": 1, "ignore": 2}, "file_ending": ".nii.gz"}
    content |= {"overwrite_image_reader_writer": reader, "dataset": {"c": {"images": [str(file)], "label": str(file)}}}
    write_json(raw / "dataset.json", content)
    pool = {"c": Geometry((3, 4, 5), (1.0, 1.0, 1.0))}
    plan = Plan("x", raw.name, ".", pool, (), (1.0, 1.0, 1.0), 1, 1, 1, 0, "random", turned=turned)
    return Experiment(raw.name, plan)


@pytest.mark.parametrize("code", ["LPS", "RAS", "PSR", "IAL"])
@pytest.mark.parametrize("reader", [REORIENTING, PLAIN])
def test_what_readers_reorient_and_turned_copies_comes_back(nnunet_folders, tmp_path, code, reader):
    """What the members see of an image, written as labels, is the image again, voxel for voxel and place for place."""
    file, voxels = stored_as(tmp_path, code)
    turns = [None] if reader == REORIENTING else [None, *(Turn(axes, (True, False, True)) for axes in permutations(range(3)))]
    for number, turn in enumerate(turns):
        seen = file
        if turn:
            from nnactive_ext.images.turning import turned_image

            seen = tmp_path / f"{number}_0000.nii.gz"
            sitk.WriteImage(turned_image(sitk.ReadImage(str(file)), turn), str(seen))
        experiment = holding(nnunet_folders, seen, reader, {"c": turn} if turn else {})
        array = experiment.dataset.image("c")[0][0].astype(np.uint8)
        out = tmp_path / f"out_{number}.nii.gz"
        with OwnFile.of(experiment, "c").written(out, array, {}):
            pass
        np.testing.assert_array_equal(read(out), voxels)
        for ours, theirs in zip(geometry(out), geometry(file), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_labels_of_a_dicom_series_are_a_dicom_segmentation(rollout, tmp_path, capsys, monkeypatch):
    pytest.importorskip("highdicom")
    from rollouts import Rollout
    from test_intake_dicom import OBLIQUE, write_series

    from conftest import tiny_case

    spaces = {}
    for number in range(4):
        for channel, plane in zip(("T1", "T2"), tiny_case(number)[0], strict=True):
            folder = tmp_path / "archive" / f"p{number}" / channel
            spaces[f"p{number}"] = write_series(folder, np.rint(plane).astype(int), OBLIQUE[:, [1, 2, 0]])
    experiment = Rollout(tmp_path / "archive", rollout.anatomy).plan()
    monkeypatch.setattr("nnactive_ext.exchange.whole_labels.check_members", lambda experiment, folds: ["a"])
    monkeypatch.setattr("nnactive_ext.members.ensemble.NnUNetEnsemble", lambda *_: FakeEnsemble(experiment))
    typed(f"-d 601 -o {tmp_path}/labels -dicom {tmp_path}/archive -f 0")
    for name in experiment.plan.pool:
        layers, space, header = read_segmentation(tmp_path / "labels" / f"{name}.dcm")
        assert [header[f"Segment{i}_Name"] for i in range(2)] == ["organ", "lesion"]
        case = experiment.dataset.cases[name]
        expected = sitk.GetImageFromArray(FakeEnsemble(experiment).segment(case))
        expected.CopyInformation(sitk.ReadImage(str(case.images[0])))
        found = space.image(layers[0])
        back = sitk.Resample(found, expected, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(expected) == 1)
        assert len(read_segmentation(tmp_path / "labels" / "from_expert" / f"{name}.dcm")[0]) == 1
    (tmp_path / "archive" / "p0").rename(tmp_path / "archive" / "p9")
    (tmp_path / "archive" / "p1").rename(tmp_path / "archive" / "p0")
    (tmp_path / "archive" / "p9").rename(tmp_path / "archive" / "p1")
    message = refused(f"-d 601 -o {tmp_path}/others -dicom {tmp_path}/archive -f 0", capsys)
    assert "is not the series of p0: its grey values are others" in message


def test_a_segmentation_is_of_the_patient_of_its_series(tmp_path):
    pytest.importorskip("highdicom")
    import pydicom
    from test_intake_dicom import OBLIQUE, one_series, write_series

    space = write_series(tmp_path / "series", direction=OBLIQUE)
    labels = np.random.default_rng(0).integers(0, 3, space.shape).astype(np.uint8)
    labels[labels == 2] = 0  # nothing of the second class is there
    with segmentation_written(
        tmp_path / "labels.dcm", labels, space, {"organ": 1, "lesion": 2}, one_series(tmp_path / "series")
    ):
        assert not (tmp_path / "labels.dcm").exists()
    layers, place, header = read_segmentation(tmp_path / "labels.dcm")
    assert [header[f"Segment{i}_Name"] for i in range(2)] == ["organ", "lesion"]
    found = align(space, place)
    assert not layers[1].any()
    inside = np.zeros_like(labels)
    first = Patch("", found.start, layers[0].shape)
    inside[first.slices] = found.turned(layers[0])
    np.testing.assert_array_equal(inside, labels)
    made, source = pydicom.dcmread(tmp_path / "labels.dcm"), pydicom.dcmread(one_series(tmp_path / "series")[0])
    for tag in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert made[tag].value == source[tag].value
