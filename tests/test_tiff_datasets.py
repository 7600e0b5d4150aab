"""nnU-Net's datasets of TIFF images: the reader that nnU-Net takes, spacing files beside label maps, a whole cycle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from folders import quicken
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO
from PIL import Image

from conftest import PLANNED, tiny_case
from nnactive_ext.cli import plan
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import read_json, write_json
from nnactive_ext.labelling.labels import write_label
from nnactive_ext.nnunet.dataset import Dataset

PLAN = "-d 300 -o 301 -patch_size 5 5 3 -query_size 4 -starting_budget 6 -cycles 2 -folds 2 --preset cpu -np 1"


def write_dataset(folder: Path, ending: str = ".tif", spacing=(2.0, 1.0, 0.5), **more) -> Path:
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for number in range(8):
        image, labels = tiny_case(number)
        tifffile.imwrite(folder / "imagesTr" / f"c.{number}_0000{ending}", image[0])
        tifffile.imwrite(folder / "labelsTr" / f"c.{number}{ending}", labels)
        for part in ("imagesTr", "labelsTr") if spacing else ():
            write_json(folder / part / f"c.{number}.json", {"spacing": list(spacing)})
    names = {"background": 0, "organ": 1, "lesion": 2}
    content = {"channel_names": {"0": "FL"}, "labels": names, "numTraining": 8, "file_ending": ending, **more}
    write_json(folder / "dataset.json", content)
    return folder


@pytest.mark.parametrize("ending", [".tif", ".tiff"])
@pytest.mark.parametrize("named", [{}, {"overwrite_image_reader_writer": "Tiff3DIO"}])
def test_planning_from_a_tiff_dataset(nnunet_folders, planned_template, monkeypatch, ending, named):
    quicken(monkeypatch, planned_template.preprocessed / PLANNED)
    write_dataset(nnunet_folders.raw / "Dataset300_Tif", ending, **named)
    plan.main([*PLAN.split(), "--disable_progress_bar"])
    experiment = Experiment.find(301)
    assert experiment.dataset.json["overwrite_image_reader_writer"] == "Tiff3DIO"
    assert {geometry.spacing for geometry in experiment.plan.pool.values()} == {(2.0, 1.0, 0.5)}
    written = {file.name for file in (experiment.raw / "labelsTr").iterdir()}
    assert written == {f"{case}{end}" for case in experiment.plan.pool for end in (ending, ".json")}
    for case in experiment.dataset.cases.values():
        labels, properties = Tiff3DIO().read_seg(str(case.label))
        assert list(properties["spacing"]) == [2.0, 1.0, 0.5]
        reference = tifffile.imread(nnunet_folders.raw / "Dataset300_Tif" / "labelsTr" / case.label.name)
        shown = labels[0] != 3
        assert (labels[0][shown] == reference[shown]).all()


def test_a_spacing_that_is_not_stated_is_pointed_out(nnunet_folders, planned_template, monkeypatch, capsys):
    quicken(monkeypatch, planned_template.preprocessed / PLANNED)
    write_dataset(nnunet_folders.raw / "Dataset300_Tif", spacing=None)
    plan.main([*PLAN.split(), "--disable_progress_bar"])
    out = " ".join(capsys.readouterr().out.split())
    assert "spacing of 8 cases not known" in out
    assert ".json" in out


def test_a_label_map_that_is_not_written_leaves_nothing(tmp_path, monkeypatch):
    labels, spacing = tiny_case(0)[1], {"spacing": [2, 1, 1]}
    file = tmp_path / "a.b.tif"
    write_label(file, labels, Tiff3DIO(), spacing)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(before) == ["a.b.json", "a.b.tif"]

    class Broken(Tiff3DIO):
        def read_seg(self, name: str):
            return np.zeros((1, *labels.shape)), {}

    with pytest.raises(NnActiveError):
        write_label(file, labels, Broken(), {"spacing": [9, 9, 9]})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_reader_is_the_one_that_reads(tmp_path):
    folder = write_dataset(tmp_path / "Dataset300_Tif")
    assert isinstance(Dataset(folder).reader_writer, Tiff3DIO)
    for file in (folder / "imagesTr").glob("*.tif"):
        tifffile.imwrite(file, np.zeros((12, 10), np.uint8))
    assert isinstance(Dataset(folder).reader_writer, NaturalImage2DIO)
    for file in (folder / "imagesTr").glob("*.tif"):
        tifffile.imwrite(file, np.zeros((2, 3, 12, 10), np.uint8), photometric="minisblack")
    with pytest.raises(NnActiveError, match="overwrite_image_reader_writer") as caught:
        _ = Dataset(folder).reader_writer
    assert "c.0_0000.tif" in str(caught.value)
    assert "dataset.json" in str(caught.value)


@pytest.mark.parametrize("ending", [".png", ".bmp"])
def test_2d_pictures_have_the_reader_they_had(tmp_path, ending):
    folder = tmp_path / "Dataset300_Png"
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    Image.fromarray(np.zeros((12, 10, 3), np.uint8)).save(folder / "imagesTr" / f"a_0000{ending}")
    content = {"channel_names": {"0": "R", "1": "G", "2": "B"}, "labels": {"background": 0, "x": 1}, "file_ending": ending}
    write_json(folder / "dataset.json", content)
    assert isinstance(Dataset(folder).reader_writer, NaturalImage2DIO)


@pytest.mark.slow
def test_two_cycles_on_a_tiff_dataset(nnunet_folders, monkeypatch):
    from nnactive_ext.cli import report, run

    monkeypatch.setenv("nnactive_iterations_per_epoch", "1")
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    write_dataset(nnunet_folders.raw / "Dataset300_Tif")
    plan.main([*PLAN.split(), "-tr", "nnActiveTrainer_1epochs_NoMirroring", "--disable_progress_bar"])
    run.main("-d 301 -device cpu --disable_progress_bar".split())
    experiment = Experiment.find(301)
    assert experiment.last_loop == 1
    results = nnunet_folders.results / "Dataset301_Tif" / "nnactive"
    assert read_json(results / "cycle_001.json")["cycle"] == 1
    report.main(f"-d 301 -device cpu -o {nnunet_folders.results / 'report.html'}".split())
    assert (nnunet_folders.results / "report.html").stat().st_size > 0
