"""Planning reads each image once, shows one bar, and gives the same files however it does so."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnactive_ext.cli import plan
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import Unpacked
from nnactive_ext.images import nifti
from nnactive_ext.images.checks import damage
from nnactive_ext.planning.at_once import copies_folder, shares
from nnactive_ext.planning.create import check_number

WORDS = "-d 100 -o 101 -patch_size 3 4 2 -query_size 4 -starting_budget 9 -cycles 3 -folds 3 --preset cpu"


def made(folders: SimpleNamespace, words: str = "-np 1 --disable_progress_bar") -> dict[str, object]:
    """Plan, and take away what was made: labels, starting budget and fingerprint, and how many files there are."""
    plan.main([*WORDS.split(), *words.split()])
    experiment = Experiment.find(101)
    raw, preprocessed = experiment.raw, experiment.preprocessed.folder
    files = [*(raw / "labelsTr").iterdir(), raw / "loop_000.json", preprocessed / "dataset_fingerprint.json"]
    found: dict[str, object] = {file.name: file.read_bytes() for file in files}
    found["count"] = sorted(file.name for folder in (raw, preprocessed) for file in folder.rglob("*"))
    assert not list(folders.preprocessed.glob(".*"))
    shutil.rmtree(raw)
    shutil.rmtree(preprocessed)
    return found


@pytest.mark.usefixtures("quick_planning")
def test_each_image_is_decompressed_once_and_files_are_the_same_without_room(tiny, nnunet_folders, monkeypatch):
    read, opened = Counter(), Counter()
    read_images, decompressed = SimpleITKIO.read_images, nifti._decompressed

    def reading(self, files, **more):
        read.update(Path(file).name for file in files)
        return read_images(self, files, **more)

    def opening(file, *more):
        opened[file.name] += 1
        return decompressed(file, *more)

    monkeypatch.setattr(SimpleITKIO, "read_images", reading)
    monkeypatch.setattr(nifti, "_decompressed", opening)
    ours = made(nnunet_folders)
    images = {file.name for file in (tiny / "imagesTr").iterdir()}
    assert not images & set(read)  # copies only
    assert {opened[name] for name in images} == {1}
    monkeypatch.setattr("nnactive_ext.planning.at_once.shutil.disk_usage", lambda folder: SimpleNamespace(free=0))
    read.clear()
    assert made(nnunet_folders) == ours
    assert images <= set(read)


@pytest.mark.slow
@pytest.mark.usefixtures("tiny", "quick_planning")
def test_files_are_the_same_with_several_processes(nnunet_folders):
    assert made(nnunet_folders, "-np 2 --disable_progress_bar") == made(nnunet_folders)


@pytest.mark.usefixtures("tiny", "quick_planning")
def test_one_bar_reaches_its_end_and_names_every_step(nnunet_folders, capsys):
    made(nnunet_folders, "-np 1")
    said = capsys.readouterr().err
    last = said.splitlines()[-1].split("\r")[-1]
    assert "100%" in last
    for step in shares(8, 6):
        assert step in said
    assert said.count("\n") < 5  # one line, over and over


@pytest.mark.usefixtures("tiny", "quick_planning")
def test_no_copy_is_left_by_a_planning_that_fails_or_was_killed(nnunet_folders, monkeypatch):
    def fail(*_, **__):
        assert list(copies_folder(101).iterdir())
        raise NnActiveError("no")

    monkeypatch.setattr(sys.modules["nnactive_ext.planning.create"], "prepare", fail)
    with pytest.raises(SystemExit):
        plan.main([*WORDS.split(), "-np", "1", "--disable_progress_bar"])
    assert not list(nnunet_folders.preprocessed.iterdir())
    copies_folder(101).mkdir()
    (copies_folder(101) / "half.part").touch()  # as a kill leaves it
    check_number(101)
    assert not list(nnunet_folders.preprocessed.iterdir())


def test_a_copy_is_read_as_the_file_itself(tiny, tmp_path):
    for file in sorted((tiny / "imagesTr").iterdir())[:2]:
        copies = Unpacked(tmp_path)
        place = copies.place(file)
        assert copies.of(file) == file
        assert damage(file, place) == ""
        assert copies.of(file) == place
        (one, properties), (other, others) = (SimpleITKIO().read_images([str(f)]) for f in (file, place))
        np.testing.assert_array_equal(one, other)
        assert properties == others
    assert Unpacked().of(file) == file
    assert Unpacked(tmp_path).place(tmp_path / "a.mha") is None


def test_a_damaged_file_or_a_full_device_leaves_no_copy(tiny, tmp_path, monkeypatch):
    file = min((tiny / "imagesTr").iterdir())
    place = Unpacked(tmp_path).place(file)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nifti.os, "replace", full)
    assert damage(file, place) == ""
    assert not place.exists()
    monkeypatch.undo()
    file.write_bytes(file.read_bytes()[:-300])
    assert "damaged" in damage(file, place)
    assert not place.exists()
